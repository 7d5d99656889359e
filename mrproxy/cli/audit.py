"""Shell. `mrproxy audit`: the log of administrative actions, looked at where it is, with or without a gateway.

Exit status 1: it is not what was written. `mrproxy/storage/audit.py` says what can be found out, and what cannot.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mrproxy.cli.client import Api
from mrproxy.cli.database import database_options, errors_of_databases, location_of, on_database
from mrproxy.cli.gateway import gateway_options, remote_options
from mrproxy.cli.moments import Moment, rfc3339
from mrproxy.cli.options import json_option, load_settings
from mrproxy.cli.output import print_json, print_rows
from mrproxy.clock import utc_now

if TYPE_CHECKING:
    from mrproxy.storage.audit import Head, Verdict
    from mrproxy.storage.database import Database


COLUMNS = ("id", "at_utc", "actor", "action", "entity_kind", "entity", "address", "detail")


@click.group()
def audit() -> None:
    """Look at the audit log: listed through the API, verified here without a gateway or (--url) by it."""


@audit.command("list")
@gateway_options
@click.option("--actor", help="Done by this user, key or program.")
@click.option("--action", help="This: user.create, key.revoke, …")
@click.option("--entity-kind", help="With a user, key, backend, …")
@click.option("--entity", help="With the one of this name.")
@click.option("--since", "since_utc", type=Moment(), help="Then or later: 2026-02-28T12:00, 90m, 7d.")
@click.option("--until", "until_utc", type=Moment(), help="Before then.")
@click.option("--search", help="With this in actor, action, entity or detail.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="How many at most.")
@json_option
def list_entries(
    api: Api, since_utc: float | None, until_utc: float | None, limit: int, as_json: bool, **wanted: Any
) -> None:
    """Print what was administered, the newest first. `--json` has what it was before and after.

    \b
    mrproxy audit list --since 7d --action key.create
    """
    moments = {"since_utc": rfc3339(since_utc), "until_utc": rfc3339(until_utc)}
    print_rows(api.items("/audit", limit, **wanted, **moments), as_json=as_json, columns=COLUMNS)


@audit.command()
@database_options
@remote_options
@click.option(
    "--accept",
    is_flag=True,
    help="Let the log go on from where it ends now, as after a restored backup. It must be whole, and gets an entry.",
)
@json_option
def verify(api: Api | None, accept: bool, as_json: bool, **where: Any) -> None:
    """Read the whole audit log and check that nothing was changed or removed.

    Its end is compared with data_dir/audit-head.json, which the gateway writes. Exit status 1, and the number of the
    first entry that is wrong or missing, if it is not what was written.
    """
    if api is not None:
        verify_there(api, accept, as_json)
        return
    with errors_of_databases():
        location, data_dir = location_of(**where), data_dir_of(**where)
        head = None if accept else known_head(data_dir)
        verdict = on_database(location, lambda database: _verify(database, data_dir, head, accept))
    if as_json:
        print_json(verdict)
    else:
        click.echo(words_of(verdict, head))
    if verdict.first_bad_id is not None:
        raise SystemExit(1)


def verify_there(api: Api, accept: bool, as_json: bool) -> None:
    if accept:
        raise click.UsageError("--accept is for whoever is at the data directory")
    found = api.get("/audit/verify")
    if as_json:
        print_json(found)
    elif found["is_whole"]:
        click.echo(f"audit log: {found['count']} entries, none changed or removed")
    else:
        where = "" if found["first_bad_id"] is None else f"entry {found['first_bad_id']} is the first that is wrong: "
        click.echo(f"audit log: {where}{found['reason']}")
    if not found["is_whole"]:
        raise SystemExit(1)


def words_of(verdict: "Verdict", head: "Head | None") -> str:
    if verdict.first_bad_id is not None:
        return f"audit log: entry {verdict.first_bad_id} is the first that is wrong: {verdict.reason}"
    compared = f"its end goes on from entry {head.id}" if head is not None else "its end was compared with nothing"
    return f"audit log: {verdict.count} entries, none changed or removed; {compared}"


def known_head(data_dir: Path) -> "Head | None":
    """Before the log is read: entries that come meanwhile are behind it."""
    from mrproxy.storage.audit import HeadLost, load_head

    try:
        return load_head(data_dir)
    except HeadLost as exc:
        raise click.ClickException(str(exc)) from exc


def data_dir_of(config_file: Path | None, data_dir: str | None, database_url: str | None) -> Path:
    """Raises ConfigError."""
    settings, _ = load_settings(config_file, {"data_dir": data_dir, "database_url": database_url})
    return Path(settings.data_dir).absolute()


async def _verify(database: "Database", data_dir: Path, head: "Head | None", accept: bool) -> "Verdict":
    from mrproxy.storage.audit import Program, append, read_head_of, save_head, verify

    verdict = await verify(database, head)
    if accept and verdict.first_bad_id is None:
        actor = Program("local", "local", "local")
        await database.transact(append, actor, "audit.accept", "audit", "", None, None, utc_now(), "as it is")
        newest = await database.read(read_head_of)
        assert newest is not None, "one was just written"
        save_head(data_dir, newest)
    return verdict
