"""Shell. Lists for people and for programs."""

import sys

import pytest

from mrproxy.cli.output import print_one, print_rows, shown

ROWS = [{"name": "[red]x[/red]", "share": 0.5, "hidden": 1}]


def test_a_pipe_gets_tabs(capsys):
    print_rows(ROWS, as_json=False, columns=("name", "share", "none"))
    assert capsys.readouterr().out == "name\tshare\tnone\n[red]x[/red]\t0.5\t-\n"


def test_a_terminal_gets_a_table_that_interprets_nothing(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_rows(ROWS, as_json=False, columns=("name", "share"))
    assert "[red]x[/red]" in capsys.readouterr().out


ENTITY = {"name": "x\x1b[2J", "limits": {"token_budget": None, "budget_period": "monthly", "tokens_per_minute": 5}}


def test_one_entity_is_a_line_for_each_field_and_shows_the_limits_that_are_set(capsys, monkeypatch):
    print_one(ENTITY, as_json=False)
    assert capsys.readouterr().out == "name\tx\N{REPLACEMENT CHARACTER}[2J\nlimits\ttokens_per_minute=5\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_one(ENTITY, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "field" in lines[0]
    assert "value" in lines[0]
    assert not any("\x1b[2J" in line for line in lines)


def test_rows_that_cannot_be_had_have_no_head(capsys):
    def refused():
        raise LookupError
        yield

    with pytest.raises(LookupError):
        print_rows(refused(), as_json=False, columns=("name",))
    assert capsys.readouterr().out == ""


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
