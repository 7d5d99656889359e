"""Shell. Brings the tables of a database to what this version of the program knows.

All steps are one transaction, on both databases, and exclude each other: whatever interrupts one (`kill -9`, a full
disk) leaves the tables as they were, and the next run does it all again. A database whose revision this version does
not know was migrated by a newer one. It is left alone and used: migrations only add (`schema.py`).
Read next: `migrations/__init__.py`.
"""

import enum
from dataclasses import dataclass
from functools import cache

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.database import Database
from mrproxy.storage.schema import metadata

PACKAGE = "mrproxy.storage:migrations"
# Any number that nobody else takes in the same database; PostgreSQL knows advisory locks by number only.
MIGRATION_LOCK = 0x6D72_7072_6F78_7900


class State(enum.Enum):
    """How a database's tables relate to this version of the program."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class Revision:
    """`found` is None where there are no tables yet; `newest` is what this version migrates to."""

    found: str | None
    newest: str

    @property
    def state(self) -> State:
        if self.found is None:
            return State.EMPTY
        if self.found == self.newest:
            return State.CURRENT
        return State.BEHIND if self.found in known_revisions() else State.NEWER

    @property
    def is_usable(self) -> bool:
        return self.state in (State.CURRENT, State.NEWER)


async def migrate(database: Database) -> tuple[Revision, Revision]:
    """Bring it to the newest revision; what it was, and what it is now. Raises DatabaseError."""
    return await database.transact(_migrate)


async def read_revision(database: Database) -> Revision:
    """Without changing anything, not even creating the file. Raises DatabaseError."""
    if database.location.file is not None and not database.location.file.exists():
        return Revision(None, newest_revision())
    return await database.read(_revision)


async def prepare(database: Database) -> Revision:
    """At the start of a control plane: the embedded database is migrated, one that somebody runs only looked at.

    Several control planes and administrators share the latter; it is theirs to say when (`mrproxy migrate`).
    """
    if database.location.is_embedded:
        return (await migrate(database))[1]
    return await read_revision(database)


async def count_rows(database: Database) -> dict[str, int]:
    """Of each table of ours; every row is read, so a page that cannot be is found. Raises DatabaseError."""
    return await database.read(_count_rows)


@cache
def newest_revision() -> str:
    """Read once: later there may be no descriptor left to read it with."""
    newest = _scripts().get_current_head()
    assert newest is not None, "there is a first revision"
    return newest


@cache
def known_revisions() -> frozenset[str]:
    return frozenset(each.revision for each in _scripts().walk_revisions())


async def _revision(connection: AsyncConnection) -> Revision:
    return Revision(await connection.run_sync(_found), newest_revision())


async def _migrate(connection: AsyncConnection) -> tuple[Revision, Revision]:
    if connection.dialect.name == "postgresql":  # SQLite's writer is alone already
        await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
    before = await _revision(connection)
    if not before.is_usable:
        await connection.run_sync(_upgrade)
    return before, await _revision(connection)


async def _count_rows(connection: AsyncConnection) -> dict[str, int]:
    counts = {}
    for table in metadata.sorted_tables:
        counts[table.name] = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    return counts


def _found(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", PACKAGE)
    return config
