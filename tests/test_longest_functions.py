"""The report of long functions."""

from tests.longest_functions import functions, longest

SOURCE = """
def short(): ...

class Thing:
    async def long(self):
        a = 1
        return a
"""


def test_methods_and_functions_are_measured():
    assert sorted(functions(SOURCE)) == [(1, "short"), (3, "long")]


def test_the_longest_come_first(tmp_path):
    (tmp_path / "mrproxy").mkdir()
    (tmp_path / "mrproxy" / "a.py").write_text(SOURCE)
    assert longest(tmp_path, 1) == [(3, "mrproxy/a.py: long")]
