"""Shell. Lists for people and for programs: a table on a terminal, tab-separated text on a pipe, JSON on request."""

import sys
from collections.abc import Iterable, Mapping, Sequence

import click
import msgspec


def print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_rows(rows: Iterable[Mapping[str, object]], *, as_json: bool, columns: Sequence[str]) -> None:
    """`columns` are the keys shown, in order; JSON has all of a row's keys. On a pipe rows pass one by one."""
    if as_json:
        print_json(list(rows))
    elif sys.stdout.isatty():
        print_table(rows, columns)
    else:
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(shown(row.get(column)) for column in columns))


def print_table(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    from rich.console import Console  # imported here: workers start through this package and need none of it
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(shown(row.get(column))) for column in columns))
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
