"""Shell. Captured bodies out of the workers' files into the table `bodies`: each exactly once, and then gone from disk.

As with records (`ingest.py`): a batch and the positions behind it are one transaction, moved from where it began and
from nowhere else. What was taken over whole is removed only behind the commit: until then it can be read again. A
database that is away leaves the files where they are; the disk is their limit, and `bodies_keep_days` (retention.py).
Read next: `mrproxy/link/capture.py`, the files; `bodies.py`, the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.capture import CaptureTail, believable, capture_segments, remove_taken
from mrproxy.link.journal import Position
from mrproxy.storage.bodies import BodyRow, insert_bodies, missing_bodies, row_of
from mrproxy.storage.database import Database
from mrproxy.storage.outage import ANSWER_SECONDS, FAILURES, Outage, StorageLog
from mrproxy.storage.positions import PositionMoved, load_positions, move_position, of_bodies, read_journal_id

POLL_SECONDS = 1.0
BATCH_BODIES = 200
# Of lines, as they are on disk. One line may be longer.
BATCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class BodyBatch:
    """What one transaction takes over. `is_doubtful`: the positions were lost, so some of it may be there already."""

    rows: list[BodyRow]
    before: Mapping[str, Position]
    after: Mapping[str, Position]
    damaged_lines: int
    is_doubtful: bool

    @property
    def moved(self) -> list[str]:
        return [worker for worker, position in self.after.items() if self.before.get(worker) != position]


class CaptureIngestion:
    """One journal directory's captures on their way into one database."""

    def __init__(self, directory: Path, database: Database, log: StorageLog) -> None:
        self.stored = 0
        self._directory = directory
        self._database = database
        self._log = log
        self._key = ""
        self._positions: dict[str, Position] | None = None  # as the table has them; None: not known
        self._is_doubtful = False
        self._outage = Outage(log, "captured bodies are not stored", "captured bodies are stored again")
        self._reading = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """For ever. Cancelled leaves nothing half done."""
        while True:
            try:
                is_more = await self.take_batch()
            except PositionMoved:
                self._positions = None
                await trio.sleep(POLL_SECONDS)
            except FAILURES as exc:
                self._positions = None
                self._outage.fail(exc)
                await trio.sleep(self._outage.delay_seconds)
            else:
                self._outage.succeed()
                await trio.sleep(0 if is_more else POLL_SECONDS)

    async def take_to_end(self) -> None:
        """What is there now, when nobody captures any more; gives up at the first failure, for the next start to do."""
        try:
            while await self.take_batch():
                pass
        except (PositionMoved, *FAILURES) as exc:
            self._positions = None
            self._outage.fail(exc)

    async def take_batch(self) -> bool:
        """Take some over; whether there may be more at once. Raises one of FAILURES, PositionMoved."""
        if not await trio.to_thread.run_sync(capture_segments, self._directory, limiter=self._reading):
            return False  # nothing was ever captured here: the database is not asked for nothing
        with trio.fail_after(ANSWER_SECONDS):
            if self._positions is None:
                self._key = of_bodies(read_journal_id(self._directory))
                self._positions = await self._database.read(load_positions, self._key)
            batch = await trio.to_thread.run_sync(self._read, self._positions, limiter=self._reading)
            if batch.moved:
                self._positions = None  # until the database has said yes
                await self._database.transact(store_bodies, batch, self._key)
        self._positions = dict(batch.after)
        self._is_doubtful = self._is_doubtful and bool(batch.rows)
        self.stored += len(batch.rows)
        if batch.damaged_lines:
            self._log.error("captured bodies cannot be read", lines=batch.damaged_lines)
        await trio.to_thread.run_sync(remove_taken, self._directory, self._positions, limiter=self._reading)
        return bool(batch.rows)

    def _read(self, stored: dict[str, Position]) -> BodyBatch:
        """In a thread: it reads files and compresses."""
        believed = believable(self._directory, stored)
        if believed != stored:
            self._is_doubtful = True
        tail = CaptureTail(self._directory, believed)
        rows = [row_of(captured) for captured in tail.poll(BATCH_BODIES, BATCH_BYTES)]
        return BodyBatch(rows, stored, tail.positions, tail.damaged_lines, self._is_doubtful)


async def store_bodies(connection: AsyncConnection, batch: BodyBatch, key: str) -> None:
    """On the asyncio side. Raises PositionMoved, and then nothing is written."""
    for worker in batch.moved:
        await move_position(connection, f"{key}/{worker}", batch.before.get(worker), batch.after[worker], 0)
    rows = await missing_bodies(connection, batch.rows) if batch.is_doubtful else batch.rows
    if rows:
        await insert_bodies(connection, rows)
