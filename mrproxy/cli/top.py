"""Shell. `mrproxy top`: backends, models and who waits, once a second. Read next: `top_view.py`, what is shown."""

import sys
import time

import click

from mrproxy.cli.client import Api, Refused, Unreachable
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.options import json_option
from mrproxy.cli.output import harmless, print_json, print_rows, shown
from mrproxy.cli.top_view import Scene, Section, headline, sections

EVERY = click.FloatRange(min=0.2, max=3600)


@click.command()
@gateway_options
@click.option("--once", is_flag=True, help="Print it once and end, as on a pipe.")
@click.option(
    "--every",
    "every_seconds",
    type=click.FloatRange(min=0.2, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds.",
)
@json_option
def top(api: Api, once: bool, every_seconds: float, as_json: bool) -> None:
    """Watch callers, models, backends and the queue, until Ctrl-C.

    \b
    mrproxy top
    mrproxy top --once --json
    """
    if as_json:
        scene = look(api)
        print_json({"status": scene.status, "queue": scene.queue})
    elif once or not is_terminal():
        print_once(look(api))
    else:
        try:
            watch(api, every_seconds)
        except KeyboardInterrupt:
            return


def is_terminal() -> bool:
    return sys.stdout.isatty()


def look(api: Api) -> Scene:
    """Raises Unreachable. The queue is not for everybody."""
    status = api.get("/status")
    try:
        return Scene(status, api.get("/queue")["workers"], "")
    except Refused as refusal:
        return Scene(status, [], refusal.message.partition("\n")[0])


def print_once(scene: Scene) -> None:
    click.echo(harmless(headline(scene)))
    for section in sections(scene):
        click.echo(f"\n# {section.title}")
        if section.note:
            click.echo(harmless(section.note))
        else:
            print_rows(section.rows, as_json=False, columns=section.columns)


def watch(api: Api, every_seconds: float) -> None:
    """A gateway that does not answer for a while is said, and asked again."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    last: list[object] = []
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            try:
                scene = look(api)
            except Unreachable as exc:
                live.update(Group(Text(harmless(exc.message), style="bold red"), *last), refresh=True)  # type: ignore[arg-type]
            else:
                last = [Text(harmless(headline(scene)), style="bold"), *map(table_of, sections(scene))]
                live.update(Group(*last), refresh=True)  # type: ignore[arg-type]
            time.sleep(every_seconds)


def table_of(section: Section) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(*section.columns, title=section.title, title_justify="left", box=None, header_style="bold")
    for row in section.rows:
        table.add_row(*(Text(harmless(shown(row.get(column)))) for column in section.columns))
    table.caption = section.note or None
    return table
