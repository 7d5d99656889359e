"""Shell. `mrproxy records`: the table of records, read directly and never written, in constant memory.

It works beside a running control plane and without one. What the workers have written and the control plane has not
yet taken over is not in it; `mrproxy journal` shows that.
Read next: `mrproxy/storage/records.py`, the questions; `mrproxy/storage/ingest.py`, where the table comes from.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click
import trio

from mrproxy.cli.client import Api, one
from mrproxy.cli.gateway import remote_options
from mrproxy.cli.moments import Moment, rfc3339
from mrproxy.cli.options import Function, data_dir_options, errors_for_people, json_option, load_settings
from mrproxy.cli.output import harmless, print_json, print_rows, shown
from mrproxy.config import ConfigError
from mrproxy.storage.export import CSV_HEAD, FIELDS, Value, encode_csv, encode_jsonl

if TYPE_CHECKING:  # workers start through this package: SQLAlchemy is imported where it is needed
    from mrproxy.storage.database import Database
    from mrproxy.storage.urls import Location

Row = Sequence[Value]
T = TypeVar("T")

PAGE_RECORDS = 1000
MOST_OF_ONE_ID = 100

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
_STATUS = re.compile(r"([1-5])(\d\d|xx)")


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
            click.option("--key-id", metavar="ID", help="By this key: its id, never the key itself."),
            click.option("--model", help="For this model."),
            click.option("--backend", help="Served by this backend."),
            click.option("--status", "statuses", type=Statuses(), help="With this status: 404, or 4xx."),
            click.option("--group", help="Of users of this group."),
            click.option("--code", help="With this error code: rate_limited, client_departed, …"),
            click.option("--dialect", help="Asked in this dialect: openai, ollama, anthropic, responses."),
            click.option("--operation", help="Of this kind: chat, completions, embeddings, …"),
            click.option("--request-id", help="With this id (X-Request-Id)."),
        )
    ):
        function = option(function)
    return function


database_url_option = click.option(
    "--database-url", default=None, help="The database here [SQLite in the data directory]."
)


@click.group()
def records() -> None:
    """Read the table of records: one row per finished request. Here it is read directly, elsewhere (--url) by the API.

    \b
    mrproxy records list --since 1h --status 5xx
    mrproxy records export --since 30d --format jsonl --output records.jsonl
    """


@records.command("list")
@data_dir_options
@database_url_option
@remote_options
@filter_options
@click.option("--text", default="", help="With this in a request id, model, user or code.")
@click.option("--bodies", is_flag=True, help="Look for the text in prompts and answers, too.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@json_option
def list_records(
    config_file: Path | None,
    data_dir: str | None,
    database_url: str | None,
    api: Api | None,
    text: str,
    bodies: bool,
    limit: int,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Print the newest records, newest first. `--json` prints every field."""
    if api is not None:
        there = api.items("/records", limit, text=text, bodies=bodies or None, **query_of(wanted))
        print_rows(there, as_json=as_json, columns=LIST_COLUMNS)
        return
    with errors_for_people():
        location = location_of(config_file, data_dir, database_url)
        found = asked(location, _search, wanted, text, bodies, limit)
    rows = [dict(zip(FIELDS, row, strict=True)) for row in found]
    print_rows(rows if as_json else map(readable, rows), as_json=as_json, columns=LIST_COLUMNS)


@records.command()
@data_dir_options
@database_url_option
@remote_options
@click.argument("request_id")
@json_option
def show(
    config_file: Path | None,
    data_dir: str | None,
    database_url: str | None,
    api: Api | None,
    request_id: str,
    as_json: bool,
) -> None:
    """Print one request: every field, and what was asked and answered where that was kept.

    Of several with one id, because their callers said so, all are printed, the newest first.
    """
    if api is not None:
        found = found_there(api, request_id)
    else:
        with errors_for_people():
            location = location_of(config_file, data_dir, database_url)
            found = [readable(each) for each in asked(location, _find, request_id)]
    if not found:
        raise click.ClickException(f"there is no record of {request_id!r}")
    if as_json:
        print_json(found)
        return
    for each in found:
        for name, value in each.items():
            click.echo(f"{name}\t{harmless(shown(value))}")


@records.command()
@data_dir_options
@database_url_option
@remote_options
@filter_options
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True, help="Of the file."
)
@click.option("--output", type=click.File("wb", lazy=True), default="-", help="A file instead of standard output.")
def export(
    config_file: Path | None,
    data_dir: str | None,
    database_url: str | None,
    api: Api | None,
    form: str,
    output: BinaryIO,
    **wanted: Any,
) -> None:
    """Write all records that are wanted, oldest first, with every field. Any number of them: it holds one page.

    In CSV, texts that a spreadsheet would take for formulas get a quotation mark in front; JSON lines are exact.
    """
    if api is not None:
        with errors_for_people():
            output.writelines(api.pieces("/records/export", format=form, **query_of(wanted)))
            output.flush()
        return
    encode = encode_csv if form == "csv" else encode_jsonl
    with errors_for_people():
        location = location_of(config_file, data_dir, database_url)
        if form == "csv":
            output.write(CSV_HEAD)
        asked(location, _export, wanted, lambda rows: output.write(encode(rows)))
        output.flush()


def query_of(wanted: Mapping[str, Any]) -> dict[str, object]:
    """A filter in the API's words."""
    query = {
        name: value for name, value in wanted.items() if name not in ("since_utc", "until_utc", "key_id", "statuses")
    }
    query |= {"since": rfc3339(wanted["since_utc"]), "until": rfc3339(wanted["until_utc"]), "key": wanted["key_id"]}
    if wanted["statuses"] is not None:
        low, high = wanted["statuses"]
        query["status"] = str(low) if high == low + 1 else f"{low // 100}xx"
    return query


def found_there(api: Api, request_id: str) -> list[dict[str, Any]]:
    """As they are found here: with their bodies among the fields."""
    details = api.get(one("/records", request_id))
    bodies = details["bodies"] or {}
    first = details["record"] | {name: bodies[name]["text"] for name in ("request", "answer") if name in bodies}
    return [first, *details["others"]]


def location_of(config_file: Path | None, data_dir: str | None, database_url: str | None) -> "Location":
    """Raises ConfigError, also where there is no file: a mistyped path must not look like an empty table."""
    from mrproxy.storage.urls import locate

    settings, _ = load_settings(config_file, {"data_dir": data_dir, "database_url": database_url})
    location = locate(settings.database_url, Path(settings.data_dir))
    if location.file is not None and not location.file.exists():
        raise ConfigError(f"there is no database {location.file}; name it with --data-dir or --database-url")
    return location


def asked(location: "Location", function: Callable[..., Awaitable[T]], *args: object) -> T:
    """What `function(database, *args)` returns. Raises ClickException in the database's own words."""
    from mrproxy.storage.failures import DatabaseError

    try:
        return trio.run(_with_database, location, function, *args)
    except DatabaseError as exc:
        raise click.ClickException(str(exc)) from exc


async def _with_database(location: "Location", function: Callable[..., Awaitable[T]], *args: object) -> T:
    from mrproxy.storage.bridge import open_bridge
    from mrproxy.storage.database import open_database

    async with open_bridge() as bridge, open_database(location, bridge) as database:
        return await function(database, *args)


async def _search(database: "Database", wanted: Mapping[str, Any], text: str, in_bodies: bool, limit: int) -> list[Row]:
    from mrproxy.storage.records import RecordFilter
    from mrproxy.storage.search import search_page

    found: list[Row] = []
    behind = None
    while len(found) < limit:
        size = min(PAGE_RECORDS, limit - len(found))
        page = await database.read(search_page, RecordFilter(**wanted), text, in_bodies, behind, size)
        found += page.rows
        behind = page.following
        if behind is None:
            break
    return found


async def _find(database: "Database", request_id: str) -> list[dict[str, Any]]:
    from mrproxy.storage.bodies import Place, read_bodies, text_of
    from mrproxy.storage.records import RecordFilter, read_page

    page = await database.read(read_page, RecordFilter(request_id=request_id), None, MOST_OF_ONE_ID, True)
    found: list[dict[str, Any]] = [dict(zip(FIELDS, row, strict=True)) for row in page.rows]
    for each in found:
        bodies = await database.read(read_bodies, Place(request_id, each["started_utc"]))
        if bodies is not None:
            each |= {"request": text_of(bodies.request)[0], "answer": text_of(bodies.answer)[0]}
    return found


async def _export(database: "Database", wanted: Mapping[str, Any], take: Callable[[Sequence[Row]], object]) -> None:
    from mrproxy.storage.records import RecordFilter, each_page

    await each_page(database, RecordFilter(**wanted), take)


def readable(row: Mapping[str, object]) -> dict[str, object]:
    """For people: moments as such."""
    started_utc = row["started_utc"]
    assert isinstance(started_utc, float)
    return {**row, "started_utc": datetime.fromtimestamp(started_utc, UTC).isoformat(timespec="milliseconds")}
