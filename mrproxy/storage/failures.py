"""Shell. What can be wrong with a database, in three words, whichever database it is.

    DatabaseError
    ├── DatabaseUnavailable   gone, refused, locked, too slow, not what was expected: try again later
    ├── DatabaseFull          it takes no more until somebody makes room
    └── DatabaseCorrupt       the file or a page is damaged: somebody must restore a backup

Everything that a driver raises is mapped here, once. What is not in this tree is a bug of ours (a wrong statement, a
violated constraint that the caller should have expected) and passes as it is. Messages never hold a password: they
are made from the server's own words, never from the URL.
Source: https://www.sqlite.org/rescode.html, https://www.postgresql.org/docs/15/errcodes-appendix.html (2026-02).
"""

import re
import sqlite3

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import exc as sa

# What a driver, or SQLAlchemy about a driver, may raise: the candidates for `failure_of`.
DRIVER_ERRORS = (sa.SQLAlchemyError, sqlite3.Error, PostgresError, InterfaceError, OSError)


class DatabaseError(Exception):
    """The message is one line for an administrator."""


class DatabaseUnavailable(DatabaseError):
    """Nobody answers, or not now. What was asked may be tried again."""


class DatabaseFull(DatabaseError):
    """There is no room to write. Reading may still work."""


class DatabaseCorrupt(DatabaseError):
    """The content cannot be believed."""


# Primary result codes: the lower byte of an extended one.
SQLITE_FAILURES: dict[int, tuple[type[DatabaseError], str]] = {
    sqlite3.SQLITE_BUSY: (DatabaseUnavailable, "another process holds the database locked"),
    sqlite3.SQLITE_LOCKED: (DatabaseUnavailable, "the database is locked"),
    sqlite3.SQLITE_INTERRUPT: (DatabaseUnavailable, "the statement was interrupted"),
    sqlite3.SQLITE_PERM: (DatabaseUnavailable, "access to the database file is denied"),
    sqlite3.SQLITE_AUTH: (DatabaseUnavailable, "access to the database file is denied"),
    sqlite3.SQLITE_READONLY: (DatabaseUnavailable, "the database file cannot be written"),
    sqlite3.SQLITE_CANTOPEN: (DatabaseUnavailable, "the database file cannot be opened"),
    sqlite3.SQLITE_PROTOCOL: (DatabaseUnavailable, "the database's locks do not work here (a network file system?)"),
    sqlite3.SQLITE_IOERR: (DatabaseUnavailable, "the disk of the database reports an error"),
    sqlite3.SQLITE_FULL: (DatabaseFull, "the disk of the database is full"),
    sqlite3.SQLITE_CORRUPT: (DatabaseCorrupt, "the database file is damaged"),
    sqlite3.SQLITE_NOTADB: (DatabaseCorrupt, "the database file is not a database"),
}

# The WAL's index needs room of its own; it is the first thing that does not fit on a full disk.
SQLITE_NO_ROOM = {sqlite3.SQLITE_IOERR_SHMSIZE}

# SQLSTATE, the longest prefix that fits.
POSTGRES_FAILURES: dict[str, tuple[type[DatabaseError], str]] = {
    "08": (DatabaseUnavailable, "the connection to the database failed"),
    "25006": (DatabaseUnavailable, "the database is read-only (a standby?)"),
    "28": (DatabaseUnavailable, "the database refused the login"),
    "3D000": (DatabaseUnavailable, "the server has no such database"),
    "40": (DatabaseUnavailable, "the transaction lost against another one"),
    "42501": (DatabaseUnavailable, "the database user lacks a privilege"),
    "42P01": (DatabaseUnavailable, "a table is missing; run `mrproxy migrate`"),
    "42703": (DatabaseUnavailable, "a column is missing; run `mrproxy migrate`"),
    "53": (DatabaseUnavailable, "the database server has no resources left"),
    "53100": (DatabaseFull, "the disk of the database is full"),
    "54": (DatabaseUnavailable, "a limit of the database server is exceeded"),
    "55P03": (DatabaseUnavailable, "another process holds the database locked"),
    "57": (DatabaseUnavailable, "the database server interrupted us"),
    "58": (DatabaseUnavailable, "the disk of the database reports an error"),
    "XX001": (DatabaseCorrupt, "the database is damaged"),
    "XX002": (DatabaseCorrupt, "an index of the database is damaged"),
}

_MISSING = re.compile(r"no such (table|column)|has no column named")


def failure_of(exc: BaseException) -> DatabaseError | None:
    """What a driver's error means; None if it says nothing about the database but something about us."""
    match exc:
        case DatabaseError():
            return exc
        case sa.TimeoutError():
            return DatabaseUnavailable("all connections to the database are in use")
        case sa.DBAPIError() if exc.orig is not None:
            found = failure_of(exc.orig) or (failure_of(exc.orig.__cause__) if exc.orig.__cause__ else None)
            if found is None and exc.connection_invalidated:
                return DatabaseUnavailable(f"the connection to the database broke: {first_line(exc.orig)}")
            return found
        case sqlite3.Error():
            return sqlite_failure(exc)
        case PostgresError():
            return postgres_failure(exc)
        case InterfaceError() if "connection" in str(exc):  # otherwise we held it wrong
            return DatabaseUnavailable(f"the connection to the database broke: {first_line(exc)}")
        case TimeoutError():
            return DatabaseUnavailable("the database does not answer")
        case OSError():
            return DatabaseUnavailable(f"the database cannot be reached: {exc.strerror or first_line(exc)}")
        case _:
            return None


def sqlite_failure(exc: sqlite3.Error) -> DatabaseError | None:
    code = getattr(exc, "sqlite_errorcode", None)
    if code is None:
        return None
    if code == sqlite3.SQLITE_ERROR and _MISSING.search(str(exc)):
        return DatabaseUnavailable(f"{first_line(exc)}; run `mrproxy migrate`")
    known = SQLITE_FAILURES.get(sqlite3.SQLITE_FULL if code in SQLITE_NO_ROOM else code & 0xFF)
    return known and known[0](f"{known[1]} ({first_line(exc)})")


def postgres_failure(exc: PostgresError) -> DatabaseError | None:
    state = exc.sqlstate or ""
    for prefix in (state, state[:2]):
        if known := POSTGRES_FAILURES.get(prefix):
            return known[0](f"{known[1]} ({first_line(exc)})")
    return None


def first_line(exc: BaseException) -> str:
    """A driver's own words; the lines below them are statements and parameters, which may hold what is secret."""
    lines = str(exc).splitlines()
    return lines[0] if lines else type(exc).__name__
