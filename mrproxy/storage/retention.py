"""Shell. What may go: segments of the journal that stand wholly in the table, and records that nobody wants any more.

Rules for segments:
1. Never one whose records the database has not confirmed, never one that a living process writes, never the newest of
   its worker: the next one is numbered after it.
2. Budgets are sums over the journal. So first a checkpoint that covers the segment is on disk (`ledger/spent.py`).
3. Not before it is old enough: until then a database that was restored from a backup can be filled up from the journal.

Records go in small batches, each a transaction of its own, with a pause in which ingestion gets the lock.
Read next: `ingest.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import trio
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.ledger.spent import read_spent
from mrproxy.link.journal import Position, segments
from mrproxy.link.segments import Segment, is_being_written
from mrproxy.storage.database import Database
from mrproxy.storage.outage import FAILURES, StorageLog, kind_of, reason_of
from mrproxy.storage.schema import records

SWEEP_SECONDS = 600.0
BATCH_RECORDS = 1000
PAUSE_SECONDS = 0.1
DAY_SECONDS = 86_400.0


class Ingested(Protocol):
    """How far the records are in the table; `Ingestion` knows."""

    positions: dict[str, Position]

    @property
    def is_failing(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Keep:
    """For how long; `records_days` 0 is for ever."""

    journal_seconds: float
    records_days: float


class Retention:
    """Sweeps one journal and one table."""

    def __init__(
        self, directory: Path, ingested: Ingested, database: Database, keep: Keep, clock: Clock, log: StorageLog
    ) -> None:
        self._directory = directory
        self._ingested = ingested
        self._database = database
        self._keep = keep
        self._clock = clock
        self._log = log
        self._problem = ""

    async def run(self) -> None:
        """For ever. What fails is tried again at the next sweep, and said once."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except FAILURES as exc:
                if kind_of(exc) != self._problem:
                    self._log.error("what is old cannot be removed", problem=kind_of(exc), reason=reason_of(exc))
                self._problem = kind_of(exc)
            else:
                self._problem = ""

    async def sweep(self) -> None:
        """Raises one of FAILURES."""
        if not self._ingested.is_failing:
            removed = await trio.to_thread.run_sync(self.remove_segments, dict(self._ingested.positions))
            if removed:
                self._log.info("segments of the journal removed", segments=removed)
        if self._keep.records_days:
            deleted = await self.delete_records()
            if deleted:
                self._log.info("old records deleted", records=deleted)

    def remove_segments(self, positions: Mapping[str, Position]) -> int:
        """How many. Reads the journal up to its end, so it blocks for as long. Raises OSError."""
        candidates = [segment for segment in older_ones(segments(self._directory)) if self._may_go(segment, positions)]
        if not candidates:
            return 0
        spent = read_spent(self._directory)
        if not spent.save():
            return 0  # a worker that starts was quicker: its checkpoint counts, and the next sweep comes
        covered = [segment for segment in candidates if is_behind(segment, spent.positions)]
        for segment in covered:
            segment.path.unlink(missing_ok=True)
        return len(covered)

    async def delete_records(self) -> int:
        before_utc = self._clock() - self._keep.records_days * DAY_SECONDS
        deleted = 0
        while True:
            count = await self._database.transact(delete_older, before_utc, BATCH_RECORDS)
            deleted += count
            if count < BATCH_RECORDS:
                return deleted
            await trio.sleep(PAUSE_SECONDS)

    def _may_go(self, segment: Segment, positions: Mapping[str, Position]) -> bool:
        if not is_behind(segment, positions) or is_being_written(segment.path):
            return False
        return self._clock() - segment.path.stat().st_mtime > self._keep.journal_seconds


def older_ones(found: list[Segment]) -> list[Segment]:
    """All but the newest of each worker."""
    return [segment for segment, following in pairwise(found) if segment.worker == following.worker]


def is_behind(segment: Segment, positions: Mapping[str, Position]) -> bool:
    position = positions.get(segment.worker)
    return position is not None and segment.sequence < position.sequence


async def delete_older(connection: AsyncConnection, before_utc: float, limit: int) -> int:
    old = select(records.c.id).where(records.c.started_utc < before_utc).order_by(records.c.started_utc).limit(limit)
    return (await connection.execute(delete(records).where(records.c.id.in_(old)))).rowcount
