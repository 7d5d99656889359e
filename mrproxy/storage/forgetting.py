"""Shell. What nobody may have any more is forgotten: responses that are deleted or too old.

In small batches, each a transaction of its own, with a pause in which others get the lock. Read next: `responses.py`.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.storage.database import Database
from mrproxy.storage.outage import Outage, StorageLog, sweep_for_ever
from mrproxy.storage.responses import GRACE_SECONDS, delete_expired, empty_deleted

SWEEP_SECONDS = 600.0
BATCH_RESPONSES = 500
PAUSE_SECONDS = 0.1

Sweep: TypeAlias = Callable[[AsyncConnection, float, int], Awaitable[int]]


class Forgetting:
    """Sweeps the tables of responses."""

    def __init__(self, database: Database, clock: Clock, log: StorageLog) -> None:
        self._database = database
        self._clock = clock
        self._outage = Outage(log, "old responses cannot be removed")

    async def run(self) -> None:
        """For ever."""
        await sweep_for_ever(self.sweep, self._outage, SWEEP_SECONDS)

    async def sweep(self) -> tuple[int, int]:
        """How many responses were emptied, and how many are gone. Raises one of FAILURES."""
        now_utc = self._clock()
        emptied = await self._until_none(empty_deleted, now_utc - GRACE_SECONDS)
        return emptied, await self._until_none(delete_expired, now_utc)

    async def _until_none(self, function: Sweep, before_utc: float) -> int:
        done = 0
        # A chain goes from its end, one response after the other: less than a batch is not yet all.
        while count := await self._database.transact(function, before_utc, BATCH_RESPONSES):
            done += count
            await trio.sleep(PAUSE_SECONDS)
        return done
