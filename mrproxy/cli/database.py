"""Shell. `mrproxy migrate` and `mrproxy db`: the database of the control plane, with or without a gateway that runs.

The storage is imported inside the commands: SQLAlchemy and Alembic take 0.4 s, and workers start through this package.
Exit status 1: it failed, or a check found something; 2: wrong usage.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import trio

from mrproxy.cli.options import Function, config_option, errors_for_people, json_option, load_settings
from mrproxy.cli.output import print_json, shown
from mrproxy.clock import utc_now
from mrproxy.config import ConfigError
from mrproxy.provision import DataDirectory, supervisor_pid

if TYPE_CHECKING:
    from mrproxy.storage.database import Database
    from mrproxy.storage.migrate import Revision
    from mrproxy.storage.urls import Location

T = TypeVar("T")

FILE = click.Path(path_type=Path)


def database_options(function: Function) -> Function:
    """Where the database is, as for `serve`."""
    function = click.option("--data-dir", default=None, help="The data directory [./mrproxy-data].")(function)
    function = click.option(
        "--database-url",
        default=None,
        help="Another database than data_dir/mrproxy.db. With a password better in MRPROXY_DATABASE_URL: "
        "arguments are there for everybody to read.",
    )(function)
    return config_option(function)


@click.command()
@database_options
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit status 1 if there is something to do.")
@json_option
def migrate(only_check: bool, as_json: bool, **where: Any) -> None:
    """Bring the database's tables to this version.

    A running gateway is not disturbed, nor one of the version before. The embedded database is migrated by `serve`
    itself. A database that a newer version has migrated is left alone, and works.
    """
    from mrproxy.storage.migrate import migrate as migrate_database
    from mrproxy.storage.migrate import read_revision

    with errors_of_databases():
        location = location_of(**where)
        if only_check:
            before = after = on_database(location, read_revision)
        else:
            before, after = on_database(location, migrate_database)
    if as_json:
        print_json(
            {"database": location.name, "was": before.found, "is": after.found, "newest": after.newest}
            | {"state": after.state.value}
        )
    else:
        click.echo(f"{location.name}: {words_of(before, after)}")
    if not after.is_usable:
        raise SystemExit(1)


@click.group()
def db() -> None:
    """Back up, restore and check the database."""


@db.command()
@database_options
@click.argument("file", type=FILE)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
def backup(file: Path, overwrite: bool, **where: Any) -> None:
    """Write a backup to FILE. The gateway may run.

    FILE is an SQLite database, or for PostgreSQL what pg_dump writes. It is the database as it was at one moment.
    """
    from mrproxy.storage.backup import back_up

    with errors_of_databases():
        size = back_up(location_of(**where), file, overwrite=overwrite)
    click.echo(f"{file}: {size:,} bytes")


@db.command()
@database_options
@click.argument("file", type=FILE)
@click.confirmation_option("--yes", prompt="This replaces the database. Go on?", help="Do not ask.")
def restore(file: Path, **where: Any) -> None:
    """Replace the database by the backup in FILE. The gateway must be stopped.

    What the journal has and the backup lacks is read from the journal again when the gateway starts.
    """
    from mrproxy.storage.backup import restore as restore_database
    from mrproxy.storage.migrate import State, migrate, read_revision

    with errors_of_databases():
        location = location_of(**where)
        refuse_while_running(**where)
        if location.file is None and on_database(location, read_revision).state is State.NEWER:
            raise ConfigError("a newer version has migrated this database: restore with that version")
        kept = restore_database(location, file, utc_now)
        _, after = on_database(location, migrate)
    click.echo(f"{location.name}: restored from {file}, {words_of(after, after)}")
    if kept is not None:
        click.echo(f"The database as it was is kept in {kept}")


@db.command()
@database_options
@json_option
def check(as_json: bool, **where: Any) -> None:
    """Read all of the database and look for damage. Exit status 1 if there is any, or if tables are missing."""
    from mrproxy.storage.backup import problems_of
    from mrproxy.storage.migrate import count_rows, read_revision

    with errors_of_databases():
        location = location_of(**where)
        problems = problems_of(location)
        revision = on_database(location, read_revision)
        rows = {} if problems or not revision.is_usable else on_database(location, count_rows)
    report = {"database": location.name, "tables": words_of(revision, revision), "rows": rows, "problems": problems}
    if as_json:
        print_json(report)
    else:
        for name, value in report.items():
            click.echo(f"{name}: {shown(value)}")
    if problems or not revision.is_usable:
        raise SystemExit(1)


def words_of(before: "Revision", after: "Revision") -> str:
    from mrproxy.storage.migrate import State

    match after.state:
        case State.EMPTY:
            return f"no tables yet; `mrproxy migrate` makes them ({after.newest})"
        case State.BEHIND:
            return f"at {after.found}; `mrproxy migrate` brings it to {after.newest}"
        case State.NEWER:
            return f"at {after.found}, newer than this version knows ({after.newest}); left alone, usable"
        case State.CURRENT if before.found != after.found:
            return f"migrated from {before.found or 'nothing'} to {after.found}"
        case State.CURRENT:
            return f"up to date ({after.found})"


def location_of(config_file: Path | None, data_dir: str | None, database_url: str | None) -> "Location":
    """Raises ConfigError, also where the data directory of an embedded database is missing: see `data_directory`."""
    from mrproxy.storage.urls import locate

    settings, _ = load_settings(config_file, {"data_dir": data_dir, "database_url": database_url})
    location = locate(settings.database_url, Path(settings.data_dir).absolute())
    if location.is_embedded and not Path(settings.data_dir).is_dir():
        raise ConfigError(f"there is no data directory {settings.data_dir}; name it with --data-dir")
    return location


def refuse_while_running(config_file: Path | None, data_dir: str | None, database_url: str | None) -> None:
    """Of the gateways on PostgreSQL only the one in this data directory can be seen."""
    settings, _ = load_settings(config_file, {"data_dir": data_dir, "database_url": database_url})
    pid = supervisor_pid(DataDirectory(Path(settings.data_dir).absolute()))
    if pid is not None:
        raise ConfigError(f"a gateway runs on {settings.data_dir} (process {pid}); stop it first")


def on_database(location: "Location", function: "Callable[[Database], Awaitable[T]]") -> T:
    """Run `function(database)` on an event loop for it alone."""
    from mrproxy.storage.bridge import open_bridge
    from mrproxy.storage.database import open_database

    async def run() -> T:
        async with open_bridge() as bridge, open_database(location, bridge) as database:
            return await function(database)

    return trio.run(run)


@contextmanager
def errors_of_databases() -> Iterator[None]:
    """One line, as for every error that is not a bug."""
    from mrproxy.storage.failures import DatabaseError

    with errors_for_people():
        try:
            yield
        except DatabaseError as exc:
            raise click.ClickException(str(exc)) from exc
