"""What is said of an exception: enough to find it, and no more of its text than a line takes."""

from mrproxy.telemetry.unexpected import describe


def fail(text: str) -> None:
    raise KeyError(text)


def caught(text: str) -> Exception:
    try:
        fail(text)
    except KeyError as exc:
        return exc
    raise AssertionError


def test_the_way_leads_to_the_line():
    error = caught("x" * 1000)
    kind, reason, line, way = describe(error)
    outer, inner = way.split(" > ")
    assert (kind, len(reason), line) == ("KeyError", 300, inner)
    assert outer == f"test_unexpected.py:{error.__traceback__.tb_lineno}"
    assert inner == f"test_unexpected.py:{fail.__code__.co_firstlineno + 1}"


def test_of_a_group_the_first_error_is_described():
    error = caught("x")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [error]), ValueError()])
    assert describe(group) == describe(error)


def test_an_error_that_was_never_raised_has_no_line():
    assert describe(OSError("no descriptors")) == ("OSError", "no descriptors", "", "")
