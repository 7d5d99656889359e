"""What drivers raise, in our three words; what says nothing about the database passes."""

import sqlite3

import asyncpg
import pytest
from sqlalchemy import exc as sa

from mrproxy.storage.failures import (
    DRIVER_ERRORS,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    failure_of,
)


def sqlite_error(code, text="the driver's words"):
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def wrapped(orig):
    """As SQLAlchemy hands it on: with the statement and its parameters below."""
    return sa.OperationalError("INSERT INTO secrets VALUES (?)", ("hush",), orig)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, DatabaseUnavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, DatabaseUnavailable),
        (sqlite3.SQLITE_CANTOPEN, DatabaseUnavailable),
        (sqlite3.SQLITE_READONLY_DBMOVED, DatabaseUnavailable),
        (sqlite3.SQLITE_IOERR_WRITE, DatabaseUnavailable),
        (sqlite3.SQLITE_IOERR_SHMSIZE, DatabaseFull),
        (sqlite3.SQLITE_FULL, DatabaseFull),
        (sqlite3.SQLITE_CORRUPT_INDEX, DatabaseCorrupt),
        (sqlite3.SQLITE_NOTADB, DatabaseCorrupt),
    ],
)
def test_sqlite(code, kind):
    for error in (sqlite_error(code), wrapped(sqlite_error(code))):
        failure = failure_of(error)
        assert type(failure) is kind
        assert "(the driver's words)" in str(failure)
        assert "hush" not in str(failure)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.DiskFullError, DatabaseFull),
        (asyncpg.TooManyConnectionsError, DatabaseUnavailable),
        (asyncpg.AdminShutdownError, DatabaseUnavailable),
        (asyncpg.CannotConnectNowError, DatabaseUnavailable),
        (asyncpg.ConnectionDoesNotExistError, DatabaseUnavailable),
        (asyncpg.InvalidPasswordError, DatabaseUnavailable),
        (asyncpg.InvalidCatalogNameError, DatabaseUnavailable),
        (asyncpg.DeadlockDetectedError, DatabaseUnavailable),
        (asyncpg.LockNotAvailableError, DatabaseUnavailable),
        (asyncpg.ReadOnlySQLTransactionError, DatabaseUnavailable),
        (asyncpg.DataCorruptedError, DatabaseCorrupt),
        (asyncpg.IndexCorruptedError, DatabaseCorrupt),
    ],
)
def test_postgresql(error, kind):
    failure = failure_of(error("the server's words\nDETAIL: hush"))
    assert type(failure) is kind
    assert "(the server's words)" in str(failure)
    assert "hush" not in str(failure)


def test_missing_tables_say_what_to_do():
    for error in (
        sqlite_error(sqlite3.SQLITE_ERROR, "no such table: records"),
        sqlite_error(sqlite3.SQLITE_ERROR, "table records has no column named colour"),
        asyncpg.UndefinedTableError("relation does not exist"),
        asyncpg.UndefinedColumnError("column does not exist"),
    ):
        assert "mrproxy migrate" in str(failure_of(error))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "cannot be reached: Connection refused"),
        (TimeoutError(), "does not answer"),
        (OSError("Multiple exceptions: …"), "cannot be reached: Multiple exceptions"),
        (sa.TimeoutError("QueuePool limit"), "all connections to the database are in use"),
        (asyncpg.InterfaceError("connection is closed"), "broke: connection is closed"),
    ],
)
def test_a_database_that_is_away(error, text):
    failure = failure_of(error)
    assert isinstance(failure, DatabaseUnavailable)
    assert text in str(failure)


def test_a_connection_that_broke_in_a_way_nobody_foresaw_is_away():
    error = sa.DBAPIError("SELECT 1", (), Exception("something"), connection_invalidated=True)
    assert isinstance(failure_of(error), DatabaseUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("ours"),
        sqlite_error(sqlite3.SQLITE_ERROR, 'near "SELEKT": syntax error'),
        sqlite_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE),
        sqlite3.ProgrammingError("Incorrect number of bindings supplied"),
        asyncpg.UniqueViolationError("duplicate key"),
        asyncpg.PostgresSyntaxError("syntax error"),
        asyncpg.InterfaceError("the server expects 2 arguments, 1 was passed"),
        sa.ArgumentError("ours"),
    ],
)
def test_what_is_our_own_fault_passes(error):
    assert failure_of(error) is None


def test_what_is_mapped_already_stays():
    failure = DatabaseFull("x")
    assert failure_of(failure) is failure


def test_every_kind_of_error_that_is_mapped_is_caught():
    for kind in (sa.DBAPIError, sa.TimeoutError, sqlite3.Error, asyncpg.PostgresError, TimeoutError, OSError):
        assert issubclass(kind, DRIVER_ERRORS)
    assert not issubclass(DatabaseError, DRIVER_ERRORS)
