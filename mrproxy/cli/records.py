"""Shell. `mrproxy records`: the table of records, read directly and never written, in constant memory.

It works beside a running control plane and without one. What the workers have written and the control plane has not
yet taken over is not in it; `mrproxy journal` shows that.
Read next: `mrproxy/storage/records.py`, the questions; `mrproxy/storage/ingest.py`, where the table comes from.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import trio

from mrproxy.cli.options import Function, data_dir_options, errors_for_people, json_option, load_settings
from mrproxy.cli.output import print_rows
from mrproxy.clock import utc_now
from mrproxy.config import ConfigError
from mrproxy.storage.export import CSV_HEAD, FIELDS, Value, encode_csv, encode_jsonl

if TYPE_CHECKING:  # workers start through this package: SQLAlchemy is imported where it is needed
    from mrproxy.storage.records import RecordFilter
    from mrproxy.storage.urls import Location

Row = Sequence[Value]

LIST_COLUMNS = (
    "started_utc",
    "request_id",
    "user",
    "key_id",
    "model",
    "backend",
    "status",
    "code",
    "prompt_tokens",
    "completion_tokens",
    "total_seconds",
)
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_STATUS = re.compile(r"([1-5])(\d\d|xx)")


class Moment(click.ParamType[float]):
    """Seconds since 1970: a date, a date and time (UTC unless it names a zone), or how long ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if ago := _AGO.fullmatch(value):
            return utc_now() - float(ago[1]) * UNITS[ago[2]]
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a date (2026-02-28, 2026-02-28T12:00Z) nor a time ago (90m, 12h, 7d)")
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


class Statuses(click.ParamType[tuple[int, int]]):
    """One status or a class of them: 404, 4xx."""

    name = "status"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = _STATUS.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is neither a status (404) nor a class of them (4xx)")
        if found[2] == "xx":
            return int(found[1]) * 100, int(found[1]) * 100 + 100
        return int(value), int(value) + 1


def filter_options(function: Function) -> Function:
    """The command gets `wanted`, a RecordFilter."""
    for option in reversed(
        (
            click.option("--since", "since_utc", type=Moment(), help="Begun then or later: 2026-02-28T12:00, 90m, 7d."),
            click.option("--until", "until_utc", type=Moment(), help="Begun before then."),
            click.option("--user", help="Of this user."),
            click.option("--key", "key_id", metavar="ID", help="By this key: its id, never the key itself."),
            click.option("--model", help="For this model."),
            click.option("--backend", help="Served by this backend."),
            click.option("--status", "statuses", type=Statuses(), help="With this status: 404, or 4xx."),
        )
    ):
        function = option(function)
    return function


@click.group()
def records() -> None:
    """Read the table of records: one row per finished request."""


@records.command("list")
@data_dir_options
@click.option("--database-url", default=None, help="The database [SQLite in the data directory].")
@filter_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@json_option
def list_records(
    config_file: Path | None, data_dir: str | None, database_url: str | None, limit: int, as_json: bool, **wanted: Any
) -> None:
    """Print the newest records, newest first. `--json` prints every field."""
    rows: list[Mapping[str, object]] = []

    def take(page: Sequence[Row]) -> None:
        rows.extend(dict(zip(FIELDS, row, strict=True)) for row in page)

    with errors_for_people():
        read(location_of(config_file, data_dir, database_url), wanted, take, limit)
    print_rows(rows if as_json else map(readable, rows), as_json=as_json, columns=LIST_COLUMNS)


@records.command()
@data_dir_options
@click.option("--database-url", default=None, help="The database [SQLite in the data directory].")
@filter_options
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--output", type=click.File("wb", lazy=True), default="-", help="A file instead of standard output.")
def export(
    config_file: Path | None,
    data_dir: str | None,
    database_url: str | None,
    form: str,
    output: BinaryIO,
    **wanted: Any,
) -> None:
    """Write all records that are wanted, oldest first, with every field. Any number of them: it holds one page.

    In CSV, texts that a spreadsheet would take for formulas get a quotation mark in front; JSON lines are exact.
    """
    encode = encode_csv if form == "csv" else encode_jsonl
    with errors_for_people():
        location = location_of(config_file, data_dir, database_url)
        if form == "csv":
            output.write(CSV_HEAD)
        read(location, wanted, lambda rows: output.write(encode(rows)))
        output.flush()


def location_of(config_file: Path | None, data_dir: str | None, database_url: str | None) -> "Location":
    """Raises ConfigError, also where there is no file: a mistyped path must not look like an empty table."""
    from mrproxy.storage.urls import locate

    settings, _ = load_settings(config_file, {"data_dir": data_dir, "database_url": database_url})
    location = locate(settings.database_url, Path(settings.data_dir))
    if location.file is not None and not location.file.exists():
        raise ConfigError(f"there is no database {location.file}; name it with --data-dir or --database-url")
    return location


def read(
    location: "Location", wanted: Mapping[str, Any], take: Callable[[Sequence[Row]], object], limit: int | None = None
) -> None:
    """Raises ClickException in the database's own words."""
    from mrproxy.storage.failures import DatabaseError
    from mrproxy.storage.records import RecordFilter

    try:
        trio.run(_read, location, RecordFilter(**wanted), take, limit)
    except DatabaseError as exc:
        raise click.ClickException(str(exc)) from exc


async def _read(
    location: "Location", wanted: "RecordFilter", take: Callable[[Sequence[Row]], object], limit: int | None
) -> None:
    from mrproxy.storage.bridge import open_bridge
    from mrproxy.storage.database import open_database
    from mrproxy.storage.records import each_page

    async with open_bridge() as bridge, open_database(location, bridge) as database:
        await each_page(database, wanted, take, limit=limit)


def readable(row: Mapping[str, object]) -> dict[str, object]:
    """For people: moments as such."""
    started_utc = row["started_utc"]
    assert isinstance(started_utc, float)
    return {**row, "started_utc": datetime.fromtimestamp(started_utc, UTC).isoformat(timespec="milliseconds")}
