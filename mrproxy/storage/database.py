"""Shell. One database, SQLite or PostgreSQL, and the only way to it: a function that runs in one transaction.

Theory of operation:
1. `transact(function)` may write, `read(function)` looks at one consistent state. The function runs on the asyncio
   side, with a connection that is in a transaction: it commits when the function returns and rolls back when it raises
   or is cancelled. It touches nothing but the connection, and does not commit by itself.
2. Opening connects to nothing: a control plane starts, and a worker serves, while the database is away. Each call finds
   out by itself, and says so in the words of `failures.py`.
3. SQLite has one writer at a time, so there is one connection for writing (`engines.py`). Readers have their own and,
   thanks to the write-ahead log, wait for nobody.
4. A cancelled statement is really stopped: SQLite's is interrupted here, PostgreSQL's is cancelled by the driver.
5. Who waits for a connection waits here, in trio. SQLAlchemy's pool wakes nobody when a connection could not be made:
   whoever waited there beside one that failed would wait for 30 s more.

No deadlines here: callers open scopes. Read next: `bridge.py`; `schema.py`, for what is in it.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar, TypeVarTuple

import aiosqlite
import trio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mrproxy.storage.bridge import CLEANUP_SECONDS, Bridge, BridgeClosed, interruptible
from mrproxy.storage.engines import open_engines
from mrproxy.storage.failures import DRIVER_ERRORS, DatabaseUnavailable, failure_of
from mrproxy.storage.urls import Location

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Database:
    """Made by `open_database`, used in trio's thread."""

    def __init__(self, location: Location, bridge: Bridge) -> None:
        self.location = location
        self._bridge = bridge
        self._engines = open_engines(location)
        self._writing = trio.Semaphore(self._engines.writers)
        self._reading = trio.Semaphore(self._engines.readers) if self._engines.readers else self._writing

    @property
    def is_sqlite(self) -> bool:
        return self.location.file is not None

    async def transact(self, function: Callable[[AsyncConnection, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """What `function(connection, *args)` returns, run in one transaction that may write. Raises DatabaseError.

        Cancelled means that nothing was written; a commit that was quicker returns as if nobody had cancelled. After
        DatabaseUnavailable it can be either, where the connection broke during the commit.
        """
        return await self._cross(self._engines.writer, self._writing, function, args)

    async def read(self, function: Callable[[AsyncConnection, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """The same without writing: all statements see the database as it was at the first. Raises DatabaseError."""
        return await self._cross(self._engines.reader, self._reading, function, args)

    async def close(self) -> None:
        """Close all connections; those in use when they come back."""
        await self._bridge.run(self._engines.writer.dispose)
        await self._bridge.run(self._engines.reader.dispose)

    async def _cross(
        self,
        engine: AsyncEngine,
        slots: trio.Semaphore,
        function: Callable[[AsyncConnection, *Ts], Awaitable[T]],
        args: tuple[*Ts],
    ) -> T:
        try:
            async with slots:
                return await self._bridge.run(carry_out, engine, function, args)
        except BridgeClosed as exc:
            raise DatabaseUnavailable(str(exc)) from exc


@asynccontextmanager
async def open_database(location: Location, bridge: Bridge) -> AsyncIterator[Database]:
    """The database for the block. It need not be there: see above."""
    database = Database(location, bridge)
    try:
        yield database
    finally:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True), suppress(BridgeClosed):
            await database.close()


# From here on: on the asyncio side.


async def carry_out(
    engine: AsyncEngine,
    function: Callable[[AsyncConnection, *Ts], Awaitable[T]],
    args: tuple[*Ts],
) -> T:
    """Connect, begin, call, commit. Every failure of the database leaves as a DatabaseError."""
    try:
        async with engine.connect() as connection:
            work = in_transaction(connection, function, args)
            if engine.dialect.name == "sqlite":
                return await interruptible(work, await interrupt_of(connection))
            return await work
    except DRIVER_ERRORS as exc:
        failure = failure_of(exc)
        if failure is None:
            raise
        raise failure from exc


async def in_transaction(
    connection: AsyncConnection,
    function: Callable[[AsyncConnection, *Ts], Awaitable[T]],
    args: tuple[*Ts],
) -> T:
    async with connection.begin():
        return await function(connection, *args)


async def interrupt_of(connection: AsyncConnection) -> Callable[[], Awaitable[None]]:
    """What stops the statement that runs in the thread of SQLite's driver."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)

    async def interrupt() -> None:
        with suppress(ValueError, sqlite3.ProgrammingError):  # aiosqlite, or SQLite, has closed it already
            await driver.interrupt()

    return interrupt
