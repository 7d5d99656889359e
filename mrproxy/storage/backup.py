"""Shell. A copy of the database for bad days, and the way back. For the command line: it blocks, and it may take long.

Rules:
1. A backup is taken while the gateway runs, and is the database as it was at one moment. It appears under its name
   when it is whole and has been looked at, or not at all; readable by nobody else, since it names people.
2. A restore happens in one step: before it there is the old database, after it the new one. SQLite's old file is kept.
3. Where the journal is still there, nothing is lost by going back: positions and records are one transaction, so what
   the journal has and the backup lacks is read again, once.

Here is SQLite (https://www.sqlite.org/backup.html, 2026-02), by its own means; `postgres_tools.py` is the other half.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from mrproxy.clock import Clock
from mrproxy.storage import postgres_tools
from mrproxy.storage.failures import DRIVER_ERRORS, DatabaseCorrupt, DatabaseError, failure_of
from mrproxy.storage.urls import Location

LOCK_SECONDS = 10.0
PROBLEMS = 20  # the first ones tell what to do; there can be millions
SIDE_FILES = ("-wal", "-shm")


class BackupFailed(DatabaseError):
    """There is no backup, or it was not restored; the database is as it was."""


def back_up(location: Location, target: Path, *, overwrite: bool = False) -> int:
    """Write a backup to `target`; its size in bytes. Raises DatabaseError, OSError."""
    if target.is_dir():
        raise BackupFailed(f"{target} is a directory; name a file in it")
    if target.exists() and not overwrite:
        raise BackupFailed(f"{target} exists already")
    with whole_or_nothing(target) as temporary:
        if location.file is None:
            postgres_tools.dump(location.url, temporary)
        else:
            copy_sqlite(existing(location.file), temporary)
    return target.stat().st_size


def restore(location: Location, source: Path, clock: Clock) -> Path | None:
    """Put the backup in the database's place; returns where the old file is now, if there was one.

    Raises DatabaseError, OSError. Nobody may write meanwhile; the caller has made sure that no gateway runs.
    """
    if not source.is_file():
        raise BackupFailed(f"there is no file {source}")
    if location.file is None:
        postgres_tools.load(location.url, source)
        return None
    return restore_sqlite(location.file, source, clock)


def restore_sqlite(file: Path, source: Path, clock: Clock) -> Path | None:
    with open_sqlite(source, "ro") as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            raise BackupFailed(f"{source} is no backup of mrproxy's database")
        refuse_cut(source, connection)
    kept = None
    with whole_or_nothing(file) as temporary:
        copy_sqlite(source, temporary)
        if file.exists():
            kept = put_aside(file, clock)
    return kept


def refuse_cut(source: Path, connection: sqlite3.Connection) -> None:
    """SQLite reads what is missing of the last page as zeros, and such a page may look sound to it."""
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if source.stat().st_size % page_bytes or source.stat().st_size < pages * page_bytes:
        raise DatabaseCorrupt(f"{source} was cut off")


def put_aside(file: Path, clock: Clock) -> Path:
    """The old database under another name, with what stands beside it: a write-ahead log that is left behind would be
    taken for the new one's."""
    with suppress(*DRIVER_ERRORS), closing(connect(file, "rw")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # damaged or not: that is why it goes
    moment = datetime.fromtimestamp(clock(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = file.with_name(f"{file.name}.until-{moment}")
    for suffix in (*SIDE_FILES, ""):
        with suppress(FileNotFoundError):
            file.with_name(file.name + suffix).rename(kept.with_name(kept.name + suffix))
    return kept


def problems_of(location: Location) -> list[str]:
    """What SQLite itself finds in the file; nothing for PostgreSQL, whose pages only its server can look at."""
    if location.file is None:
        return []
    try:
        with open_sqlite(existing(location.file), "rw") as connection:
            return list(sqlite_problems(connection))
    except DatabaseCorrupt as exc:  # too damaged to be looked through
        return [str(exc)]


def sqlite_problems(connection: sqlite3.Connection) -> Iterator[str]:
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({PROBLEMS})")]
    if found != ["ok"]:
        yield from found
    for table, row_id, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(PROBLEMS):
        yield f"row {row_id} of {table} refers to a row of {parent} that is missing"


def copy_sqlite(source: Path, target: Path) -> None:
    """One read transaction: with a write-ahead log nobody waits for it. The copy is one file, and sound."""
    with open_sqlite(source, "rw") as old, open_sqlite(target, "rw") as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")
        if problems := list(sqlite_problems(new)):
            raise DatabaseCorrupt(f"{source} is damaged: {problems[0]}")


def existing(file: Path) -> Path:
    """SQLite would make an empty database where there is none."""
    if not file.exists():
        raise BackupFailed(f"there is no database {file}")
    return file


@contextmanager
def open_sqlite(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection, closed at the end; whatever SQLite raises leaves as a DatabaseError that names the file."""
    try:
        with closing(connect(file, mode)) as connection:
            yield connection
    except sqlite3.Error as exc:
        failure = failure_of(exc)
        if failure is None:
            raise
        raise type(failure)(f"{file}: {failure}") from exc


def connect(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(file.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=LOCK_SECONDS)


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """A temporary file beside `target` that takes its place at the end of the block, on the disk, or is removed."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        yield temporary
        sync(temporary, os.O_RDONLY)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(target.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)


def sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
