"""Shell. Lists for people and for programs."""

import sys

import pytest

from mrproxy.cli.output import print_rows, shown

ROWS = [{"name": "[red]x[/red]", "share": 0.5, "hidden": 1}]


def test_a_pipe_gets_tabs(capsys):
    print_rows(ROWS, as_json=False, columns=("name", "share", "none"))
    assert capsys.readouterr().out == "name\tshare\tnone\n[red]x[/red]\t0.5\t-\n"


def test_a_terminal_gets_a_table_that_interprets_nothing(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_rows(ROWS, as_json=False, columns=("name", "share"))
    assert "[red]x[/red]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (1.5, "1.5"),
        ([], "-"),
        (("a", 1), "a, 1"),
        ({"a": 1}, "a=1"),
        ("a\tb\n", "a b "),
    ],
)
def test_values_fit_into_one_cell(value, text):
    assert shown(value) == text
