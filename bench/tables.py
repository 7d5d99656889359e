"""Shell. Tables: rich on a terminal, aligned plain text on a pipe."""

import sys

import click
from rich.console import Console
from rich.table import Table


def print_table(title: str, columns: list[str], lines: list[list[str]]) -> None:
    if sys.stdout.isatty():
        table = Table(title=title, title_justify="left")
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for line in lines:
            table.add_row(*line)
        Console().print(table)
        return
    click.echo(title)
    widths = [max(len(column), *(len(line[index]) for line in lines)) for index, column in enumerate(columns)]
    for line in [columns, *lines]:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        click.echo("  ".join(cells).rstrip())
    click.echo("")
