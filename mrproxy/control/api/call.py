"""Shell. What a handler gets: who asks for what, and the way to the database.

A handler raises `Problem`, or lets what storage raises pass: `failures.py` says what that means to the caller.
Read next: `serving.py`, which makes calls; `plane.py`, for what a control plane has.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, TypeVarTuple

import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.api.actor import Actor
from mrproxy.control.api.plane import Plane, Store
from mrproxy.control.api.problem import Problem

Body = TypeVar("Body")
Query = TypeVar("Query")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A statement of an administrator takes milliseconds. SQLite's own wait for a lock is 5 s (engines.py).
DATABASE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Body, Query]):
    """`request` and `query` are the endpoint's structs, `path` its arguments, as text. `headers` in lower case;
    `url` is path and query as they were asked for.

    `version` is what `If-Match` names: changes are refused if it is another one by now. `in_transaction` is run at the
    end of each transaction that writes; the framework keeps idempotency keys by it.
    """

    actor: Actor
    plane: Plane
    request: Body
    query: Query
    path: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    version: int | None = None
    in_transaction: Callable[[AsyncConnection], Awaitable[None]] | None = None

    @property
    def now_utc(self) -> float:
        return self.plane.clock()

    @property
    def user_id(self) -> int:
        """The caller's own row. Raises Problem for callers that are no user of the database."""
        if self.actor.user_id is None:
            raise Problem("forbidden", f"{self.actor.name or 'whoever you are'} is no user of the database")
        return self.actor.user_id

    async def transact(self, function: Callable[[AsyncConnection, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """What `function(connection, *args)` returns, in one transaction that may write, on the asyncio side."""

        async def all_of_it(connection: AsyncConnection) -> T:
            value = await function(connection, *args)
            if self.in_transaction is not None:
                await self.in_transaction(connection)
            return value

        return await in_time(self._store().transact, all_of_it)

    async def read(self, function: Callable[[AsyncConnection, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """The same, without writing."""

        async def all_of_it(connection: AsyncConnection) -> T:
            return await function(connection, *args)

        return await in_time(self._store().read, all_of_it)

    def _store(self) -> Store:
        if self.plane.store is None:
            raise Problem("no-database", "this gateway runs without a database (`records = false`)", retry_seconds=3600)
        return self.plane.store


async def in_time(
    cross: Callable[[Callable[[AsyncConnection], Awaitable[T]]], Awaitable[T]],
    function: Callable[[AsyncConnection], Awaitable[T]],
) -> T:
    """Raises Problem when the database does not answer, and whatever storage raises."""
    try:
        with trio.fail_after(DATABASE_SECONDS):
            return await cross(function)
    except trio.TooSlowError as exc:
        raise Problem("database", "the database does not answer", retry_seconds=5) from exc
