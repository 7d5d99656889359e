"""Shell. `mrproxy log`: what the gateway's processes logged, through the API, or from the files where none answers."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from mrproxy.cli.client import Api, Unreachable
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.moments import Moment
from mrproxy.cli.options import json_option
from mrproxy.cli.output import harmless, print_json, shown
from mrproxy.telemetry.log_file import SEVERITIES, LogFilter, read_log

MAX_ENTRIES = 1000
POLL_SECONDS = 1.0
HEAD = ("at", "level", "component", "event")

Entry = Mapping[str, Any]
Fetch = Callable[[str | None], list[Entry]]


@click.command()
@gateway_options
@click.option("--level", type=click.Choice(SEVERITIES), default="info", show_default=True, help="The least severe.")
@click.option("--component", help="Of this process: supervisor, control, worker w1.")
@click.option("--since", "since_utc", type=Moment(), help="Written then or later: 2026-02-28T12:00, 90m.")
@click.option("--text", help="With this somewhere, in any case.")
@click.option("--limit", type=click.IntRange(1, MAX_ENTRIES), default=200, show_default=True, help="The newest.")
@click.option("--follow", "-f", is_flag=True, help="Go on as it is written, until Ctrl-C.")
@json_option
def log(api: Api, since_utc: float | None, limit: int, follow: bool, as_json: bool, **wanted: Any) -> None:
    """Print the log, oldest first; requests are in `mrproxy records`.

    Without a running gateway it is read from the data directory. With --follow, `--json` is one object per line.

    \b
    mrproxy log --level error --since 1d
    mrproxy log -f --component "worker w1"
    """
    since = None if since_utc is None else datetime.fromtimestamp(since_utc, UTC).isoformat()

    def fetch(since: str | None) -> list[Entry]:
        return entries(api, since, limit, **wanted)

    if not follow:
        found = fetch(since)
        if as_json:
            print_json(found)
        else:
            for entry in found:
                click.echo(line_of(entry))
        return
    try:
        for entry in followed(fetch, since, time.sleep):
            click.echo(msgspec.json.encode(entry).decode() if as_json else line_of(entry))
    except KeyboardInterrupt:
        return


def entries(
    api: Api, since: str | None, limit: int, level: str, component: str | None, text: str | None
) -> list[Entry]:
    """Of the API; of the files, where no gateway runs here."""
    try:
        found: list[Entry] = api.get("/logs", limit=limit, level=level, component=component, since=since, text=text)[
            "entries"
        ]
    except Unreachable:
        if api.place.directory is None:
            raise
        plain = None if since is None else datetime.fromisoformat(since).astimezone(UTC).isoformat()[:23]
        found = list(read_log(api.place.directory.logs, LogFilter(level, component, plain, text), limit))
    return found


def followed(fetch: Fetch, since: str | None, sleep: Callable[[float], None]) -> Iterator[Entry]:
    """Each entry once. Of the newest moment it is known which were there: others may come in the same millisecond."""
    newest: list[Entry] = []
    is_away = False
    while True:
        try:
            found = fetch(since)
        except Unreachable as exc:
            if not is_away:
                click.echo(f"{exc.message}; trying again", err=True)
            is_away = True
        else:
            is_away = False
            yield from (entry for entry in found if entry not in newest)
            if found:
                since = str(found[-1].get("at"))
                newest = [entry for entry in found if str(entry.get("at")) == since]
        sleep(POLL_SECONDS)


def line_of(entry: Entry) -> str:
    """Moment, level, who, what; then what it is about."""
    head = " ".join(shown(entry.get(name, "")) for name in HEAD)
    about = "".join(f" {name}={shown(value)}" for name, value in entry.items() if name not in HEAD)
    return harmless(head + about)
