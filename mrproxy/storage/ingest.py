"""Shell. The journal into the table `records`: each record exactly once, whatever is killed when.

Theory of operation:
1. A batch of records and the positions behind it are one transaction. What this process believes to know of the
   positions is forgotten with every failure: a commit may have succeeded although its answer was lost.
2. The transaction moves the positions first, and only from where the batch began (compare and set). Two processes that
   ingest one journal therefore hinder each other, but count nothing twice.
3. Workers' names are the same everywhere, and a journal may be thrown away while the database is kept. So positions
   belong to a journal with an identity of its own, the file `journal.id` beside the segments.
4. The database may be slow, gone, full or damaged: the journal keeps everything. One error is logged when it begins,
   one line when it is over, and in between it is tried again after 1 s, 2 s, … 30 s.
5. Nothing that a client or an engine says can make a record that the database refuses: `storable`.

Read next: `mrproxy/link/journal.py` (`Tail`); `retention.py`, which removes what is here.
"""

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Protocol

import trio
from asyncpg import InterfaceError, PostgresError
from msgspec.structs import astuple
from sqlalchemy import and_, bindparam, insert, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.link.journal import JournalRecord, Position, Tail, segments
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseCorrupt, DatabaseError, DatabaseFull
from mrproxy.storage.schema import ingest_positions, records

Value = str | int | float | bool | None
Row = tuple[Value, ...]

POLL_SECONDS = 0.25
BATCH_RECORDS = 2000
# A batch takes 0.1 to 0.4 s; a database that needs so long for one is as good as gone, and is asked again.
ANSWER_SECONDS = 30.0
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0
# Without traffic nobody would notice that the database is gone.
IDLE_CHECK_SECONDS = 5.0

COLUMNS = (*JournalRecord.__struct_fields__, "ingested_utc", "cost")
ID_NAME = "journal.id"
_INT64_MAX = 2**63 - 1
_LOOKUP_ROWS = 500
SQLITE = sqlite.dialect(paramstyle="qmark")
# Mean size of a record on disk until the first batch has shown what it is here.
_USUAL_RECORD_BYTES = 250.0


class PositionMoved(Exception):
    """Another process ingests this journal, or an answer was lost and the batch is in the table already."""


# Beside what is known of databases: a statement that one of them refuses would be a bug of ours, but ingestion that
# waits loses nothing, and a control process that ends over and over would take its pages with it.
FAILURES = (DatabaseError, SQLAlchemyError, PostgresError, InterfaceError, OSError, trio.TooSlowError)


class IngestLog(Protocol):
    def info(self, event: str, **fields: Value) -> None: ...
    def error(self, event: str, **fields: Value) -> None: ...


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

    `is_doubtful`: the positions were lost, so some of it may stand in the table already.
    """

    rows: list[Row]
    before: Mapping[str, Position]
    after: Mapping[str, Position]
    read_bytes: int = 0
    torn_segments: int = 0
    damaged_records: int = 0
    is_doubtful: bool = False

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
        log: IngestLog,
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
        self._problem = ""
        self._records = self._torn_segments = self._damaged_records = 0
        self._record_bytes = _USUAL_RECORD_BYTES
        self._caught_up_at = trio.current_time()
        self._reading = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """For ever. Cancelled leaves nothing half done."""
        delay_seconds = 0.0
        while True:
            try:
                is_more = await self.ingest_batch()
            except PositionMoved:
                self._are_positions_known = False
                await trio.sleep(POLL_SECONDS)
            except FAILURES as exc:
                self._fail(exc)
                delay_seconds = min(2 * delay_seconds or FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
                await trio.sleep(delay_seconds)
            else:
                delay_seconds = 0.0
                self._succeed()
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
        return bool(self._problem) or not self._are_positions_known

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
            self._problem,
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
            rows, self._stored, tail.positions, read_bytes, tail.torn_segments, tail.damaged_records, self._is_doubtful
        )

    def _take_over(self, batch: Batch, began_at: float) -> None:
        if batch.rows:
            self._record_bytes = batch.read_bytes / len(batch.rows) or self._record_bytes
        self.positions = self._stored = dict(batch.after)
        self._are_positions_known = True
        self._records += len(batch.rows)
        self._torn_segments += batch.torn_segments
        self._damaged_records += batch.damaged_records
        if len(batch.rows) < BATCH_RECORDS:
            self._is_doubtful = False
            self._caught_up_at = began_at

    def _fail(self, exc: BaseException) -> None:
        self._are_positions_known = False
        self._must_prepare = True  # somebody may have put another file or server in its place
        if self._problem != kind_of(exc):
            self._log.error("records are not stored", problem=kind_of(exc), reason=reason_of(exc))
        self._problem = kind_of(exc)

    def _succeed(self) -> None:
        if self._problem:
            self._log.info("records are stored again", after=self._problem)
        self._problem = ""


def kind_of(exc: BaseException) -> str:
    """One word that may be shown to strangers; the reason names users and hosts, and is for the log."""
    match exc:
        case DatabaseFull():
            return "full"
        case DatabaseCorrupt():
            return "corrupt"
        case DatabaseError() | trio.TooSlowError():
            return "unavailable"
        case _:
            return "failing"


def reason_of(exc: BaseException) -> str:
    """One line. What a statement's parameters were stands in the lines below, and is nobody's business."""
    if isinstance(exc, trio.TooSlowError):
        return f"no answer within {ANSWER_SECONDS:g} s"
    return (str(exc).splitlines() or [""])[0]


def bytes_between(before: Mapping[str, Position], after: Mapping[str, Position]) -> int:
    """How much was read; 0 where that cannot be told, since a segment ended in between."""
    starts = {worker: before.get(worker, Position(position.sequence, 0)) for worker, position in after.items()}
    if any(starts[worker].sequence != position.sequence for worker, position in after.items()):
        return 0
    return sum(position.offset - starts[worker].offset for worker, position in after.items())


def read_journal_id(directory: Path) -> str:
    """The journal's identity, made at the first call. Raises OSError."""
    path = directory / ID_NAME
    try:
        found = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        found = ""
    if found.isalnum():
        return found
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made, temporary = secrets.token_hex(8), path.with_name(f".{ID_NAME}")
    temporary.write_text(f"{made}\n")
    temporary.replace(path)
    return made


def row_of(record: JournalRecord, ingested_utc: float) -> Row:
    """In the order of COLUMNS."""
    return (*[storable(value) for value in astuple(record)], ingested_utc, None)


def storable(value: Value) -> Value:
    """The value, or what comes nearest of what both databases can hold.

    PostgreSQL has no NUL in texts, neither has integers of 64 bits without a sign, and SQLite takes NaN for NULL.
    """
    if type(value) is str:
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in value else value
    if type(value) is int:
        return max(-_INT64_MAX, min(value, _INT64_MAX))
    if type(value) is float and not isfinite(value):
        return 0.0
    return value


INSERT_ROW = str(insert(records).values({name: bindparam(name) for name in COLUMNS}).compile(dialect=SQLITE))


# What follows runs on the asyncio side, in one transaction.


async def load_positions(connection: AsyncConnection, journal_id: str) -> dict[str, Position]:
    table = ingest_positions.c
    chosen = select(table.worker, table.sequence, table.byte_offset).where(table.worker.startswith(f"{journal_id}/"))
    found = await connection.execute(chosen)
    return {worker.partition("/")[2]: Position(sequence, offset) for worker, sequence, offset in found}


async def store(connection: AsyncConnection, batch: Batch, journal_id: str) -> None:
    """Raises PositionMoved, and then nothing is written."""
    counts = Counter(row[COLUMNS.index("worker")] for row in batch.rows)
    for worker in batch.moved:
        before, after = batch.before.get(worker), batch.after[worker]
        await move_position(connection, f"{journal_id}/{worker}", before, after, counts[worker])
    rows = await missing(connection, batch.rows) if batch.is_doubtful else batch.rows
    if rows:
        await insert_rows(connection, rows)


async def move_position(
    connection: AsyncConnection, key: str, before: Position | None, after: Position, count: int
) -> None:
    """Before anything else: it takes the lock, and it begins the transaction that COPY joins."""
    table = ingest_positions.c
    values = {"sequence": after.sequence, "byte_offset": after.offset}
    if before is None:
        try:
            await connection.execute(insert(ingest_positions).values(worker=key, records=count, **values))
        except IntegrityError as exc:
            raise PositionMoved(key) from exc
        return
    is_where_it_was = and_(table.worker == key, table.sequence == before.sequence, table.byte_offset == before.offset)
    move = update(ingest_positions).where(is_where_it_was).values(records=table.records + count, **values)
    if (await connection.execute(move)).rowcount != 1:
        raise PositionMoved(key)


async def insert_rows(connection: AsyncConnection, rows: list[Row]) -> None:
    if connection.dialect.name == "postgresql":
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.copy_records_to_table(records.name, records=rows, columns=COLUMNS)
    else:
        await connection.exec_driver_sql(INSERT_ROW, rows)


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
