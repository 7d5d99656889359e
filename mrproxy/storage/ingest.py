"""Shell. The journal into the table `records`: each record exactly once, whatever is killed when.

Theory of operation:
1. A batch of records and the positions behind it are one transaction. What this process believes to know of the
   positions is forgotten with every failure: a commit may have succeeded although its answer was lost.
2. The transaction moves the positions first, and only from where the batch began (compare and set). Two processes that
   ingest one journal therefore hinder each other, but count nothing twice.
3. The database may be slow, gone, full or damaged: the journal keeps everything. One error is logged when it begins,
   one line when it is over, and in between it is tried again after 1 s, 2 s, … 30 s.
4. Nothing that a client or an engine says can make a record that the database refuses: `rows.py`.
5. Sums and costs are written with the records that they are of (`usage.py`), and when keys were last used.

Read next: `mrproxy/link/journal.py` (`Tail`); `positions.py`; `retention.py`, which removes what is here.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trio
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.link.journal import Position, Tail, segments
from mrproxy.storage.bulk_insert import BulkInsert
from mrproxy.storage.database import Database
from mrproxy.storage.outage import ANSWER_SECONDS, FAILURES, Outage, StorageLog
from mrproxy.storage.people.keys import touch_last_used
from mrproxy.storage.positions import PositionMoved, load_positions, move_position, read_journal_id
from mrproxy.storage.rows import COLUMNS, Row, Value, row_of
from mrproxy.storage.schema import records
from mrproxy.storage.usage import add_sums, load_prices, priced, sums_of

POLL_SECONDS = 0.25
BATCH_RECORDS = 2000
# Without traffic nobody would notice that the database is gone.
IDLE_CHECK_SECONDS = 5.0

# How exactly it is known when a key was last used.
TOUCH_SECONDS = 60.0

_LOOKUP_ROWS = 500
_KEY_ID, _STARTED = COLUMNS.index("key_id"), COLUMNS.index("started_utc")
# Mean size of a record on disk until the first batch has shown what it is here.
_USUAL_RECORD_BYTES = 250.0


@dataclass(frozen=True, slots=True)
class IngestStatistics:
    """`lag_records` is an estimate from the size of the last records; `problem` is one word, or empty."""

    records: int
    lag_bytes: int
    lag_records: int
    lag_seconds: float
    torn_segments: int
    damaged_records: int
    problem: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction takes over, and from where to where it brings the positions.

    `is_doubtful`: the positions were lost, so some of it may stand in the table already. `touched`: keys and when they
    were last used, of those of which it is worth saying.
    """

    rows: list[Row]
    before: Mapping[str, Position]
    after: Mapping[str, Position]
    read_bytes: int = 0
    torn_segments: int = 0
    damaged_records: int = 0
    is_doubtful: bool = False
    touched: Mapping[str, float] = field(default_factory=dict)

    @property
    def moved(self) -> list[str]:
        return [worker for worker, position in self.after.items() if self.before.get(worker) != position]


class Ingestion:
    """One journal's way into one database. `prepare` runs first, and after each failure: tables must exist."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        clock: Clock,
        log: StorageLog,
        prepare: Callable[[], Awaitable[object]],
    ) -> None:
        self.positions: dict[str, Position] = {}  # up to here the records are in the table
        self._stored: dict[str, Position] = {}  # what the table of positions says
        self._directory = directory
        self._database = database
        self._clock = clock
        self._log = log
        self._prepare = prepare
        self._must_prepare = True
        self._are_positions_known = False
        self._is_doubtful = False
        self._check_at = 0.0
        self._journal_id = ""
        self._outage = Outage(log, "records are not stored", "records are stored again")
        self._records = self._torn_segments = self._damaged_records = 0
        self._record_bytes = _USUAL_RECORD_BYTES
        self._touched: dict[str, float] = {}
        self._caught_up_at = trio.current_time()
        self._reading = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """For ever. Cancelled leaves nothing half done."""
        while True:
            try:
                is_more = await self.ingest_batch()
            except PositionMoved:
                self._are_positions_known = False
                await trio.sleep(POLL_SECONDS)
            except FAILURES as exc:
                self._fail(exc)
                await trio.sleep(self._outage.delay_seconds)
            else:
                self._outage.succeed()
                await trio.sleep(0 if is_more else POLL_SECONDS)

    async def ingest_to_end(self) -> None:
        """What is there now, when nobody runs any more; gives up at the first failure, for the next start to do."""
        try:
            while await self.ingest_batch():
                pass
        except (PositionMoved, *FAILURES) as exc:
            self._fail(exc)

    async def ingest_batch(self) -> bool:
        """Take over at most BATCH_RECORDS; whether there may be more at once. Raises one of FAILURES, PositionMoved."""
        began_at = trio.current_time()
        with trio.fail_after(ANSWER_SECONDS):
            if not self._are_positions_known or began_at >= self._check_at:
                await self._find_positions()
            batch = await trio.to_thread.run_sync(self._read, limiter=self._reading)
            if batch.moved:
                self._are_positions_known = False  # until the database has said yes
                await self._database.transact(store, batch, self._journal_id)
                self._check_at = began_at + IDLE_CHECK_SECONDS
        self._take_over(batch, began_at)
        return len(batch.rows) == BATCH_RECORDS

    @property
    def is_failing(self) -> bool:
        return bool(self._outage.problem) or not self._are_positions_known

    def statistics(self, now: float) -> IngestStatistics:
        try:
            lag_bytes = Tail(self._directory, self.positions).lag_bytes()
        except OSError:  # the disk does not answer, which is said by whoever reads
            lag_bytes = 0
        return IngestStatistics(
            self._records,
            lag_bytes,
            round(lag_bytes / self._record_bytes),
            max(0.0, now - self._caught_up_at) if lag_bytes else 0.0,
            self._torn_segments,
            self._damaged_records,
            self._outage.problem,
        )

    async def _find_positions(self) -> None:
        if not self._journal_id:
            self._journal_id = read_journal_id(self._directory)
        if self._must_prepare:
            await self._prepare()
            self._must_prepare = False
        self._stored = await self._database.read(load_positions, self._journal_id)
        self.positions = await trio.to_thread.run_sync(self._believable, self._stored, limiter=self._reading)
        self._are_positions_known = True
        self._check_at = trio.current_time() + IDLE_CHECK_SECONDS

    def _believable(self, stored: dict[str, Position]) -> dict[str, Position]:
        """Positions beyond the journal's end are of segments that are gone: what is there now was numbered anew.

        That happens when somebody removes a worker's newest segment, restores an older data directory, or when a power
        cut took what the disk had not yet.
        """
        newest = {segment.worker: segment for segment in segments(self._directory)}
        believed = dict(stored)
        for worker, position in stored.items():
            segment = newest.get(worker)
            end = Position(segment.sequence, segment.path.stat().st_size) if segment is not None else Position(0, 0)
            if position > end:
                believed[worker] = Position(0, 0)
        lost = sorted(worker for worker in stored if believed[worker] != stored[worker])
        if lost:
            self._is_doubtful = True
            self._log.error("the journal is shorter than what was read of it", workers=", ".join(lost))
        return believed

    def _read(self) -> Batch:
        """In a thread: reading files blocks, and decoding takes some milliseconds."""
        tail = Tail(self._directory, self.positions)
        now_utc = self._clock()
        rows = [row_of(record, now_utc) for record in tail.poll(BATCH_RECORDS)]
        read_bytes = bytes_between(self.positions, tail.positions)
        return Batch(
            rows,
            self._stored,
            tail.positions,
            read_bytes,
            tail.torn_segments,
            tail.damaged_records,
            self._is_doubtful,
            last_used(rows, self._touched),
        )

    def _take_over(self, batch: Batch, began_at: float) -> None:
        if batch.rows:
            self._record_bytes = batch.read_bytes / len(batch.rows) or self._record_bytes
        self.positions = self._stored = dict(batch.after)
        self._are_positions_known = True
        self._touched.update(batch.touched)
        self._records += len(batch.rows)
        self._torn_segments += batch.torn_segments
        self._damaged_records += batch.damaged_records
        if len(batch.rows) < BATCH_RECORDS:
            self._is_doubtful = False
            self._caught_up_at = began_at

    def _fail(self, exc: BaseException) -> None:
        self._are_positions_known = False
        self._must_prepare = True  # somebody may have put another file or server in its place
        self._outage.fail(exc)


def bytes_between(before: Mapping[str, Position], after: Mapping[str, Position]) -> int:
    """How much was read; 0 where that cannot be told, since a segment ended in between."""
    starts = {worker: before.get(worker, Position(position.sequence, 0)) for worker, position in after.items()}
    if any(starts[worker].sequence != position.sequence for worker, position in after.items()):
        return 0
    return sum(position.offset - starts[worker].offset for worker, position in after.items())


def last_used(rows: list[Row], touched: Mapping[str, float]) -> dict[str, float]:
    """When each key was used last, where that is TOUCH_SECONDS later than what the table of keys says already."""
    found: dict[str, float] = {}
    for row in rows:
        key_id, started_utc = row[_KEY_ID], row[_STARTED]
        assert isinstance(key_id, str)
        assert isinstance(started_utc, float)
        if started_utc >= found.get(key_id, touched.get(key_id, -TOUCH_SECONDS) + TOUCH_SECONDS):
            found[key_id] = started_utc
    return found


insert_rows = BulkInsert(records, COLUMNS).insert


# What follows runs on the asyncio side, in one transaction.


async def store(connection: AsyncConnection, batch: Batch, journal_id: str) -> None:
    """Raises PositionMoved, and then nothing is written."""
    counts = Counter(row[COLUMNS.index("worker")] for row in batch.rows)
    for worker in batch.moved:
        before, after = batch.before.get(worker), batch.after[worker]
        await move_position(connection, f"{journal_id}/{worker}", before, after, counts[worker])
    rows = await missing(connection, batch.rows) if batch.is_doubtful else batch.rows
    if batch.touched:
        await touch_last_used(connection, batch.touched)
    if rows:
        rows = priced(rows, await load_prices(connection))
        await insert_rows(connection, rows)
        await add_sums(connection, sums_of(rows))


async def missing(connection: AsyncConnection, rows: list[Row]) -> list[Row]:
    """Those that do not stand in the table."""
    request_id, started_utc = COLUMNS.index("request_id"), COLUMNS.index("started_utc")
    chosen = select(records.c.request_id, records.c.started_utc).where(
        records.c.request_id.in_(bindparam("ids", expanding=True))
    )
    there: set[tuple[Value, Value]] = set()
    for start in range(0, len(rows), _LOOKUP_ROWS):
        ids = [row[request_id] for row in rows[start : start + _LOOKUP_ROWS]]
        there.update((found[0], found[1]) for found in await connection.execute(chosen, {"ids": ids}))
    return [row for row in rows if (row[request_id], row[started_utc]) not in there]
