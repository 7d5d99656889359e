"""Shell. The workers' spools into the tables of responses and conversations: each event once, and soon.

As with records (`ingest.py`): a batch and the positions behind it are one transaction, moved from where it began and
from nowhere else. Who asks for a response or a conversation waits for what was written before (`wait_current`): so a
caller finds what it was just answered, whichever worker it asks next.
What the database has is removed from disk (`remove_taken`), but for each worker's newest segment: the next is numbered
after it.
Read next: `mrproxy/link/spool.py`, the files; `responses.py`, `conversations.py`, the tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.journal import Position
from mrproxy.link.segments import is_being_written
from mrproxy.link.spool import Event, ItemsAppended, ResponseDeleted, ResponseStored, SpoolTail, spool_segments
from mrproxy.storage.conversations import append_items, touch_conversation
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.outage import ANSWER_SECONDS, FAILURES, Outage, StorageLog
from mrproxy.storage.positions import PositionMoved, load_positions, move_position, read_journal_id
from mrproxy.storage.responses import delete_response, pack, store_responses

POLL_SECONDS = 0.25
BATCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What one transaction takes over."""

    events: Sequence[Event]
    before: Mapping[str, Position]
    after: Mapping[str, Position]
    damaged: int

    @property
    def moved(self) -> list[str]:
        return [worker for worker, position in self.after.items() if self.before.get(worker) != position]


class SpoolIngestion:
    """One directory's spools on their way into one database."""

    def __init__(self, directory: Path, database: Database, log: StorageLog) -> None:
        self.events = 0
        self._directory = directory
        self._database = database
        self._log = log
        self._key = ""
        self._positions: dict[str, Position] | None = None  # as the table has them; None: not known
        self._outage = Outage(log, "responses are not stored", "responses are stored again")
        self._reading = trio.CapacityLimiter(1)
        self._wanted = trio.Event()  # somebody waits for the next pass
        self._passed = trio.Event()  # the pass that began last, or the next one, has ended
        self._passes_begun = self._passes_ended = 0
        self._has_failed = False

    async def run(self) -> None:
        """For ever. Cancelled leaves nothing half done."""
        while True:
            delay_seconds = await self._pass()
            with trio.move_on_after(delay_seconds):
                await self._wanted.wait()

    async def wait_current(self) -> None:
        """Until what is in the spools now is in the tables. Raises DatabaseUnavailable if that fails."""
        wanted = self._passes_begun + 1
        self._wanted.set()
        while self._passes_ended < wanted:
            await self._passed.wait()
        if self._has_failed:
            raise DatabaseUnavailable("responses are not stored at the moment")

    async def take_to_end(self) -> None:
        """What is there now, when nobody runs any more; gives up at the first failure, for the next start to do."""
        await self._pass()

    async def _pass(self) -> float:
        """Take over all that is there; the seconds until it should be tried again."""
        self._passes_begun += 1
        self._wanted = trio.Event()
        try:
            while await self.take_batch():
                pass
        except PositionMoved:
            self._positions, self._has_failed = None, True
        except FAILURES as exc:
            self._positions, self._has_failed = None, True
            self._outage.fail(exc)
        else:
            self._has_failed = False
            self._outage.succeed()
        self._passes_ended = self._passes_begun
        self._passed.set()
        self._passed = trio.Event()
        return max(POLL_SECONDS, self._outage.delay_seconds)

    async def take_batch(self) -> bool:
        """Take some over; whether there may be more at once. Raises one of FAILURES, PositionMoved."""
        if not await trio.to_thread.run_sync(spool_segments, self._directory, limiter=self._reading):
            return False  # nothing was ever stored here: the database is not asked for nothing
        with trio.fail_after(ANSWER_SECONDS):
            if self._positions is None:
                self._key = f"responses:{read_journal_id(self._directory)}"
                self._positions = await self._database.read(load_positions, self._key)
            batch = await trio.to_thread.run_sync(self._read, self._positions, limiter=self._reading)
            if batch.moved:
                self._positions = None  # until the database has said yes
                await self._database.transact(store_events, batch, self._key)
        self._positions = dict(batch.after)
        self.events += len(batch.events)
        if batch.damaged:
            self._log.error("stored responses cannot be read", events=batch.damaged)
        if batch.moved:
            await trio.to_thread.run_sync(remove_taken, self._directory, self._positions, limiter=self._reading)
        return bool(batch.events)

    def _read(self, stored: dict[str, Position]) -> EventBatch:
        """In a thread: it reads files and compresses."""
        tail = SpoolTail(self._directory, believable(self._directory, stored))
        events = [pack(each) if isinstance(each, ResponseStored) else each for each in tail.poll(BATCH_BYTES)]
        return EventBatch(events, stored, tail.positions, tail.damaged)


def believable(directory: Path, stored: Mapping[str, Position]) -> dict[str, Position]:
    """Positions beyond a spool's end are of segments that are gone: what is there now was numbered anew."""
    newest = {segment.worker: segment for segment in spool_segments(directory)}
    believed = dict(stored)
    for worker, segment in newest.items():
        end = Position(segment.sequence, segment.path.stat().st_size)
        if believed.get(worker, end) > end:
            believed[worker] = Position(0, 0)
    return believed


def remove_taken(directory: Path, positions: Mapping[str, Position]) -> None:
    """Segments that are behind us and that nobody writes. Raises OSError."""
    found = spool_segments(directory)
    for segment, following in pairwise(found):
        position = positions.get(segment.worker)
        if following.worker != segment.worker or position is None or segment.sequence >= position.sequence:
            continue
        if not is_being_written(segment.path):
            segment.path.unlink(missing_ok=True)


# What follows runs on the asyncio side, in one transaction.


async def store_events(connection: AsyncConnection, batch: EventBatch, key: str) -> None:
    """Raises PositionMoved, and then nothing is written."""
    for worker in batch.moved:
        await move_position(connection, f"{key}/{worker}", batch.before.get(worker), batch.after[worker], 0)
    for kind, events in groupby(batch.events, type):
        if kind is ResponseStored:
            await store_responses(connection, [each for each in events if isinstance(each, ResponseStored)])
            continue
        for event in events:
            if isinstance(event, ResponseDeleted):
                await delete_response(connection, event)
            elif isinstance(event, ItemsAppended):
                await add_items(connection, event)


async def add_items(connection: AsyncConnection, event: ItemsAppended) -> None:
    """A conversation that was deleted meanwhile takes no more."""
    conversation_id = event.conversation_id
    if await touch_conversation(connection, event.owner, conversation_id, event.created_utc):
        await append_items(connection, conversation_id, event.items, event.created_utc, skips_known=True)
