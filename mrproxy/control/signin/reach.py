"""Shell. The way to the database for signing in: in time, and with every failure of it said as a `Problem`.

Read next: `../api/call.py`, which is the same for handlers.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.api.call import in_time
from mrproxy.control.api.failures import STORAGE_ERRORS, problem_of
from mrproxy.control.api.plane import Store
from mrproxy.control.api.problem import Problem

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DATABASE = frozenset({"database", "no-database"})


@dataclass(frozen=True, slots=True)
class Reach:
    """`store` None: this gateway has no database, and nobody can sign in."""

    store: Store | None

    async def transact(self, function: Callable[[AsyncConnection, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """What `function(connection, *args)` returns, in one transaction that may write. Raises Problem."""
        return await self._cross(self._there().transact, function, args)

    async def read(self, function: Callable[[AsyncConnection, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """The same, without writing."""
        return await self._cross(self._there().read, function, args)

    def _there(self) -> Store:
        if self.store is None:
            raise Problem("no-database", "This gateway runs without a database.", retry_seconds=3600)
        return self.store

    async def _cross(
        self,
        cross: Callable[[Callable[[AsyncConnection], Awaitable[T]]], Awaitable[T]],
        function: Callable[[AsyncConnection, *Ts], Awaitable[T]],
        args: tuple[*Ts],
    ) -> T:
        async def all_of_it(connection: AsyncConnection) -> T:
            return await function(connection, *args)

        try:
            return await in_time(cross, all_of_it)
        except STORAGE_ERRORS as exc:
            raise problem_of(exc, is_conditional=False) from exc


def is_away(problem: Problem) -> bool:
    """Whether it is the database's fault, and says nothing about who asks."""
    return problem.code in DATABASE
