"""Shell. SQLAlchemy's engines, set up for the two databases: how connections are made, and how transactions begin.

SQLite, by https://www.sqlite.org/wal.html and https://docs.sqlalchemy.org/en/21/dialects/sqlite.html (2026-02):
1. The driver's own transactions are switched off, so that BEGIN is ours and a migration's DDL is part of it.
2. The one writer begins with BEGIN IMMEDIATE: a transaction that reads first and cannot get the lock afterwards would
   fail half-way, and no waiting could help it.
3. A file that was replaced (`mrproxy db restore`) or deleted is noticed: connections to the old one are not used again.
4. Never open the file beside SQLite in this process: closing it would drop SQLite's locks (howtocorrupt.html §2.2).

PostgreSQL: the driver begins a transaction with the first statement that SQLAlchemy sends. Ours is SET LOCAL, so that
what goes to the driver directly (COPY) is inside, too.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from mrproxy.storage.urls import Location, asyncpg_url, connect_arguments

SQLITE_READERS = 4
POSTGRES_CONNECTIONS = 8
# An interrupt does not reach a statement that waits for another process's lock: shorter than bridge.CLEANUP_SECONDS.
SQLITE_LOCK_MILLISECONDS = 2_000
POSTGRES_LOCK_MILLISECONDS = 10_000

SQLITE_BOTH = (
    f"PRAGMA busy_timeout = {SQLITE_LOCK_MILLISECONDS}",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -8192",  # KiB; the default of 2 MiB is less than the pages of the indexes that are written
)
SQLITE_WRITER = (
    *SQLITE_BOTH,
    "PRAGMA journal_mode = WAL",
    # With WAL a power cut may take the last transactions and damages nothing. The positions in the journal are lost
    # together with the records that they stand for, so those are read again.
    "PRAGMA synchronous = NORMAL",
)
SQLITE_READER = (*SQLITE_BOTH, "PRAGMA query_only = ON")


@dataclass(frozen=True, slots=True)
class Engines:
    """Both of one database, and how many connections each has. PostgreSQL's reader has those of the writer."""

    writer: AsyncEngine
    reader: AsyncEngine
    writers: int
    readers: int


def open_engines(location: Location) -> Engines:
    """Connects to nothing yet."""
    if location.file is None:
        engine = postgres_engine(location)
        reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return Engines(engine, reader, POSTGRES_CONNECTIONS, 0)
    return Engines(
        sqlite_engine(location.file, location, 1, SQLITE_WRITER, "BEGIN IMMEDIATE"),
        sqlite_engine(location.file, location, SQLITE_READERS, SQLITE_READER, "BEGIN"),
        1,
        SQLITE_READERS,
    )


def postgres_engine(location: Location) -> AsyncEngine:
    engine = create_async_engine(
        asyncpg_url(location.url),
        connect_args=connect_arguments(location.url),
        hide_parameters=True,  # they are people's data, and an error's text ends in a log
        max_overflow=0,
        pool_pre_ping=True,  # after a restart of the server: a round trip now instead of an error then
        pool_size=POSTGRES_CONNECTIONS,
    )

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {POSTGRES_LOCK_MILLISECONDS}")

    return engine


def sqlite_engine(
    file: Path, location: Location, connections: int, pragmas: tuple[str, ...], begin_with: str
) -> AsyncEngine:
    engine = create_async_engine(location.url, hide_parameters=True, max_overflow=0, pool_size=connections)

    @event.listens_for(engine.sync_engine, "do_connect")
    def before_connect(*_: object) -> None:
        make_private(file)

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()
        entry.info["file"] = identity_of(file)

    @event.listens_for(engine.sync_engine, "checkout")
    def taken(_: DBAPIConnection, entry: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
        if entry.info.get("file") != identity_of(file):
            raise DisconnectionError("the database file is another one now")  # the pool connects anew

    @event.listens_for(engine.sync_engine, "invalidate")
    def given_up(connection: DBAPIConnection, *_: object) -> None:
        # Cancelled. Closing would do the same, but late: as long as Python holds a cursor, SQLite holds the lock.
        connection.rollback()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin_with)

    return engine


def make_private(file: Path) -> None:
    """Create the file for us alone; SQLite would take the umask. Its -wal and -shm inherit the mode."""
    if not file.exists():
        with suppress(FileExistsError):  # somebody was quicker
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def identity_of(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
