"""Shell. What may go: segments of the journal that stand wholly in the table, and rows that nobody wants any more.

Rules for segments:
1. Never one whose records the database has not confirmed, never one that a living process writes, never the newest of
   its worker: the next one is numbered after it.
2. Budgets are sums over the journal. So first a checkpoint that covers the segment is on disk (`ledger/spent.py`).
3. Not before it is old enough: until then a database that was restored from a backup can be filled up from the journal.

Rows go in small batches, each a transaction of its own, with a pause in which ingestion gets the lock. Prompts and
answers are kept no longer than is said, wherever they are: files that a database which is away has not taken, too.
The audit log stays. Read next: `ingest.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import trio
from sqlalchemy import ColumnElement, Table, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.ledger.spent import read_spent
from mrproxy.link.capture import remove_older
from mrproxy.link.journal import Position, segments
from mrproxy.link.segments import Segment, is_being_written
from mrproxy.storage.database import Database
from mrproxy.storage.outage import Outage, StorageLog, sweep_for_ever
from mrproxy.storage.schema import records, schema_control, schema_people
from mrproxy.storage.usage import day_of

SWEEP_SECONDS = 600.0
BATCH_ROWS = 1000
PAUSE_SECONDS = 0.1
DAY_SECONDS = 86_400.0
# What has ended by itself is shown as ended for a while. An idempotency key is of use while a client tries again.
SESSION_DAYS = 1.0
IDEMPOTENCY_DAYS = 1.0
INVITATION_DAYS = 30.0


class Ingested(Protocol):
    """How far the records are in the table; `Ingestion` knows."""

    positions: dict[str, Position]

    @property
    def is_failing(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Keep:
    """For how long; 0 days are for ever."""

    journal_seconds: float
    records_days: float = 0.0
    bodies_days: float = 0.0
    usage_days: float = 0.0


class Retention:
    """Sweeps one journal and one database."""

    def __init__(
        self, directory: Path, ingested: Ingested, database: Database, keep: Keep, clock: Clock, log: StorageLog
    ) -> None:
        self._directory = directory
        self._ingested = ingested
        self._database = database
        self._keep = keep
        self._clock = clock
        self._log = log
        self._outage = Outage(log, "what is old cannot be removed")

    async def run(self) -> None:
        """For ever."""
        await sweep_for_ever(self.sweep, self._outage, SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Raises one of FAILURES."""
        if not self._ingested.is_failing:
            removed = await trio.to_thread.run_sync(self.remove_segments, dict(self._ingested.positions))
            if removed:
                self._log.info("segments of the journal removed", segments=removed)
        if self._keep.bodies_days:
            before_utc = self._clock() - self._keep.bodies_days * DAY_SECONDS
            lost = await trio.to_thread.run_sync(remove_older, self._directory, before_utc)
            if lost:
                self._log.error("captured bodies were too old before the database took them", segments=lost)
        for table, is_old in doomed(self._keep, self._clock()):
            deleted = await self.delete_rows(table, is_old)
            if deleted:
                self._log.info("old rows deleted", table=table.name, rows=deleted)

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

    async def delete_rows(self, table: Table, is_old: ColumnElement[bool]) -> int:
        deleted = 0
        while True:
            count = await self._database.transact(delete_some, table, is_old, BATCH_ROWS)
            deleted += count
            if count < BATCH_ROWS:
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


def doomed(keep: Keep, now_utc: float) -> list[tuple[Table, ColumnElement[bool]]]:
    """Which rows of which tables."""
    control, people = schema_control, schema_people
    bodies, usage, idempotency = control.bodies, control.usage_daily, control.idempotency
    sessions, invitations = people.sessions, people.invitations
    last_day = day_of((now_utc - keep.usage_days * DAY_SECONDS) // DAY_SECONDS)
    found = [
        (keep.records_days, records, records.c.started_utc < now_utc - keep.records_days * DAY_SECONDS),
        (keep.bodies_days, bodies, bodies.c.started_utc < now_utc - keep.bodies_days * DAY_SECONDS),
        (keep.usage_days, usage, usage.c.day < last_day),
        (SESSION_DAYS, sessions, sessions.c.expires_utc < now_utc - SESSION_DAYS * DAY_SECONDS),
        (IDEMPOTENCY_DAYS, idempotency, idempotency.c.created_utc < now_utc - IDEMPOTENCY_DAYS * DAY_SECONDS),
        (
            INVITATION_DAYS,
            invitations,
            (invitations.c.expires_utc < now_utc - INVITATION_DAYS * DAY_SECONDS) & invitations.c.used_utc.is_(None),
        ),
    ]
    return [(table, is_old) for days, table, is_old in found if days]


async def delete_some(connection: AsyncConnection, table: Table, is_old: ColumnElement[bool], limit: int) -> int:
    keys = list(table.primary_key.columns)
    key = keys[0] if len(keys) == 1 else tuple_(*keys)
    some = select(*keys).where(is_old).limit(limit)
    return (await connection.execute(delete(table).where(key.in_(some)))).rowcount
