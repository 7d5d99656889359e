"""Shell. Lists for people and for programs: a table on a terminal, tab-separated text on a pipe, JSON on request."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import click
import msgspec

# C0 without newline and tab, DEL, C1, and what turns the direction of writing.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_rows(rows: Iterable[Mapping[str, object]], *, as_json: bool, columns: Sequence[str]) -> None:
    """`columns` are the keys shown, in order; JSON has all of a row's keys. On a pipe rows pass one by one."""
    if as_json:
        print_json(list(rows))
    elif sys.stdout.isatty():
        print_table(rows, columns)
    else:
        one_by_one = iter(rows)
        first = next(one_by_one, None)  # before the head: what cannot be had has none
        click.echo("\t".join(columns))
        for row in () if first is None else chain((first,), one_by_one):
            click.echo("\t".join(harmless(shown(row.get(column))) for column in columns))


def print_one(entity: Mapping[str, object], *, as_json: bool) -> None:
    """A line for each field."""
    if as_json:
        print_json(entity)
        return
    fields = readable(entity)
    if sys.stdout.isatty():
        print_table(({"field": name, "value": value} for name, value in fields.items()), ("field", "value"))
        return
    for name, value in fields.items():
        click.echo(f"{name}\t{harmless(shown(value))}")


def readable(entity: Mapping[str, object]) -> dict[str, object]:
    """What is set of its limits, instead of all that there are."""
    pots = {name: pot for name in ("limits", "shared") if isinstance(pot := entity.get(name), dict)}
    return {**entity, **{name: set_in(pot) for name, pot in pots.items()}}


def set_in(limits: Mapping[str, object]) -> dict[str, object]:
    named = {name: value for name, value in limits.items() if value is not None}
    if "token_budget" not in named:
        named.pop("budget_period", None)
    return named


def harmless(text: str) -> str:
    """Strangers wrote it: nothing in it may steer the terminal."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def print_table(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    from rich.console import Console  # imported here: workers start through this package and need none of it
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(harmless(shown(row.get(column)))) for column in columns))
    Console().print(table)


def shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.12g}"
        case list() | tuple():
            return ", ".join(shown(each) for each in value) or "-"
        case dict():
            return ", ".join(f"{name}={shown(each)}" for name, each in value.items()) or "-"
        case _:
            return str(value).replace("\t", " ").replace("\n", " ")
