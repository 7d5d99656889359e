"""Each record once, whatever the database does and whoever is killed; real segments, real databases."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.journal import Position, Writer, segments
from mrproxy.link.records import JournalRecord
from mrproxy.storage import ingest
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseCorrupt, DatabaseFull, DatabaseUnavailable
from mrproxy.storage.ingest import COLUMNS, ID_NAME, Ingestion, PositionMoved, load_positions, row_of, storable
from mrproxy.storage.schema import ingest_positions, records
from mrproxy.storage.urls import Location
from tests.fakes.log import MemoryLog
from tests.link.journal_examples import a_record, journal_records
from tests.storage.tables import opened_with_tables

NOW_UTC = 1_800_000_000.5


def numbered(count: int, start: int = 0) -> list[JournalRecord]:
    return [a_record(request_id=f"req-{number:04}", worker="w0") for number in range(start, start + count)]


async def stored(database: Database) -> list[JournalRecord]:
    """The table as records, in the order of insertion."""

    async def all_rows(connection: AsyncConnection) -> list[JournalRecord]:
        fields = [records.c[name] for name in JournalRecord.__struct_fields__]
        return [JournalRecord(*row) for row in await connection.execute(select(*fields).order_by(records.c.id))]

    return await database.read(all_rows)


async def ids(database: Database) -> list[str]:
    return [record.request_id for record in await stored(database)]


def ids_of(count: int, start: int = 0) -> list[str]:
    return [record.request_id for record in numbered(count, start)]


class Faulty:
    """A database whose transactions fail, before or after their commit."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.before: BaseException | None = None
        self.after: BaseException | None = None

    async def read(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        if self.before is not None:
            raise self.before
        return await self.database.read(function, *args)

    async def transact(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        if self.before is not None:
            raise self.before
        result = await self.database.transact(function, *args)
        if self.after is not None:
            raise self.after
        return result


@pytest.fixture
async def database(location: Location) -> AsyncIterator[Database]:
    async with opened_with_tables(location) as opened:
        yield opened


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    (tmp_path / "journal").mkdir()
    return tmp_path / "journal"


@pytest.fixture
async def writer(journal: Path) -> AsyncIterator[Writer]:
    made = Writer(journal, "w0", 2000)
    yield made
    made.close()


def ingestion_of(journal: Path, database: Any, log: MemoryLog | None = None) -> Ingestion:
    return Ingestion(journal, database, lambda: NOW_UTC, log or MemoryLog(), nothing_to_prepare)


async def nothing_to_prepare() -> None:
    pass


async def test_every_field_of_every_record_is_in_the_table_once(journal, writer, database):
    writer.append_all(numbered(30))
    await ingestion_of(journal, database).ingest_to_end()
    assert await stored(database) == numbered(30)
    await ingestion_of(journal, database).ingest_to_end()
    assert await stored(database) == numbered(30)


async def test_batches_are_bounded_and_follow_each_other_at_once(journal, writer, database, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH_RECORDS", 4)
    writer.append_all(numbered(9))
    ingestion = ingestion_of(journal, database)
    assert [await ingestion.ingest_batch() for _ in range(3)] == [True, True, False]
    assert await ids(database) == ids_of(9)


async def test_a_new_process_goes_on_where_the_last_one_stopped(journal, writer, database):
    for start in range(0, 30, 5):
        writer.append_all(numbered(5, start))
        await ingestion_of(journal, database).ingest_to_end()
    assert await ids(database) == ids_of(30)


async def test_a_commit_whose_answer_was_lost_is_not_repeated(journal, writer, database):
    faulty = Faulty(database)
    ingestion = ingestion_of(journal, faulty)
    writer.append_all(numbered(3))
    faulty.after = DatabaseUnavailable("the connection broke")
    await ingestion.ingest_to_end()
    assert ingestion.is_failing
    faulty.after = None
    writer.append_all(numbered(2, start=3))
    await ingestion.ingest_to_end()
    assert await ids(database) == ids_of(5)


async def test_a_transaction_that_failed_half_way_is_done_again_whole(journal, writer, database, monkeypatch):
    ingestion = ingestion_of(journal, database)
    writer.append_all(numbered(3))

    async def broken(connection: AsyncConnection, rows: object) -> None:
        await connection.exec_driver_sql("SELECT 1")
        raise DatabaseFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "insert_rows", broken)
        with pytest.raises(DatabaseFull):
            await ingestion.ingest_batch()
    assert await ids(database) == []
    await ingestion.ingest_to_end()
    assert await ids(database) == ids_of(3)


async def test_of_two_processes_that_read_the_same_only_one_writes_it(journal, writer, database):
    first, second = (ingestion_of(journal, database) for _ in range(2))
    for start in (0, 5):
        writer.append_all(numbered(5, start))
        batches = [await read_only(each) for each in (first, second)]
        await database.transact(ingest.store, batches[0], first._journal_id)
        with pytest.raises(PositionMoved):
            await database.transact(ingest.store, batches[1], second._journal_id)
    assert await ids(database) == ids_of(10)


async def read_only(ingestion: Ingestion) -> ingest.Batch:
    await ingestion._find_positions()
    return ingestion._read()


async def test_two_journals_with_workers_of_one_name_share_a_database(tmp_path, database):
    for name, start in (("one", 0), ("two", 3)):
        (tmp_path / name).mkdir()
        writer = Writer(tmp_path / name, "w0", 1 << 20)
        writer.append_all(numbered(3, start))
        writer.close()
        await ingestion_of(tmp_path / name, database).ingest_to_end()
    assert await ids(database) == ids_of(6)


async def test_a_journal_that_begins_anew_beside_an_old_database_is_read_whole(journal, writer, database):
    for start in range(0, 30, 10):
        writer.append_all(numbered(10, start))
    await ingestion_of(journal, database).ingest_to_end()
    writer.close()
    for path in journal.iterdir():
        path.unlink()
    again = Writer(journal, "w0", 1 << 20)
    again.append_all(numbered(3, start=30))
    again.close()
    await ingestion_of(journal, database).ingest_to_end()
    assert await ids(database) == ids_of(33)


@pytest.mark.parametrize("kept", [0, 3])
async def test_segments_that_went_back_in_time_are_said_and_what_is_new_in_them_is_taken(
    journal, writer, database, kept
):
    """As after restoring an older data directory: the same identity, lower numbers, some of it known already."""
    for start in range(0, 30, 10):
        writer.append_all(numbered(10, start))
    await ingestion_of(journal, database).ingest_to_end()
    writer.close()
    assert len(segments(journal)) > 1
    for segment in segments(journal):
        segment.path.unlink()
    again, log = Writer(journal, "w0", 1 << 20), MemoryLog()
    again.append_all([*numbered(kept), *numbered(5, start=30)])
    ingestion = ingestion_of(journal, database, log)
    await ingestion.ingest_to_end()
    assert await ids(database) == ids_of(35)
    assert len(log.events("the journal is shorter than what was read of it")) == 1
    again.append_all(numbered(2, start=35))
    again.close()
    await ingestion.ingest_to_end()
    assert await ids(database) == ids_of(37)


async def test_a_journal_without_segments_forgets_its_positions_and_stands_still(journal, writer, database):
    writer.append_all(numbered(3))
    await ingestion_of(journal, database).ingest_to_end()
    writer.close()
    for segment in segments(journal):
        segment.path.unlink()
    ingestion = ingestion_of(journal, database)
    await ingestion.ingest_to_end()
    assert ingestion.positions == {"w0": Position(0, 0)}
    assert not ingestion.is_failing


async def test_positions_count_their_records(journal, writer, database):
    async def counts(connection: AsyncConnection) -> list[int]:
        return list((await connection.execute(select(ingest_positions.c.records))).scalars())

    ingestion = ingestion_of(journal, database)
    for start in (0, 3):
        writer.append_all(numbered(3, start))
        await ingestion.ingest_to_end()
    assert await database.read(counts) == [6]
    assert ingestion.statistics(trio.current_time()).records == 6


async def test_an_outage_is_said_once_waits_longer_each_time_and_loses_nothing(
    journal, writer, database, nursery, monkeypatch
):
    faulty, log, naps = Faulty(database), MemoryLog(), []
    ingestion = ingestion_of(journal, faulty, log)
    faulty.before = DatabaseUnavailable("nobody answers")
    over = trio.Event()

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 8:
            faulty.before = DatabaseFull("no room")
        elif len(naps) == 10:
            faulty.before = None
        elif not ingestion.is_failing and naps[-1] == ingest.POLL_SECONDS:
            over.set()
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(ingest.trio, "sleep", nap)
    writer.append_all(numbered(3))
    nursery.start_soon(ingestion.run)
    with trio.fail_after(10):
        await over.wait()
    nursery.cancel_scope.cancel()
    assert naps[:10] == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    problems = [(fields["problem"], fields["reason"]) for fields in log.events("records are not stored")]
    assert problems == [("unavailable", "nobody answers"), ("full", "no room")]
    assert len(log.events("records are stored again")) == 1
    with trio.CancelScope(shield=True):
        assert await ids(database) == ids_of(3)


async def test_a_database_that_does_not_answer_is_given_up(journal, writer, autojump_clock):
    class Mute:
        async def read(self, *args: object) -> dict[str, Position]:
            await trio.sleep_forever()
            raise AssertionError

    log = MemoryLog()
    ingestion = ingestion_of(journal, Mute(), log)
    with pytest.raises(trio.TooSlowError):
        await ingestion.ingest_batch()
    await ingestion.ingest_to_end()
    assert log.events("records are not stored") == [{"problem": "unavailable", "reason": "no answer within 30 s"}]


async def test_the_lag_is_what_is_written_and_not_in_the_table(journal, writer, database):
    faulty = Faulty(database)
    ingestion = ingestion_of(journal, faulty)
    size = sum(writer.append(record) for record in numbered(4))
    assert ingestion.statistics(trio.current_time()).lag_bytes == size
    await ingestion.ingest_to_end()
    seen = ingestion.statistics(trio.current_time() + 5)
    assert (seen.lag_bytes, seen.lag_records, seen.lag_seconds, seen.problem) == (0, 0, 0.0, "")
    faulty.before = DatabaseUnavailable("gone")
    size = sum(writer.append(record) for record in numbered(3, start=4))
    await ingestion.ingest_to_end()
    seen = ingestion.statistics(ingestion._caught_up_at + 7)
    assert (seen.lag_bytes, seen.lag_records, seen.lag_seconds) == (size, 3, 7.0)
    assert seen.problem == "unavailable"


async def test_without_traffic_an_outage_is_noticed_too(journal, writer, database, mock_clock):
    faulty = Faulty(database)
    ingestion = ingestion_of(journal, faulty)
    await ingestion.ingest_batch()
    faulty.before = DatabaseUnavailable("gone")
    await ingestion.ingest_batch()
    mock_clock.jump(ingest.IDLE_CHECK_SECONDS)
    with pytest.raises(DatabaseUnavailable):
        await ingestion.ingest_batch()


async def test_tables_are_prepared_before_the_first_batch_and_until_it_worked(journal, writer, database):
    calls = []

    async def prepare() -> None:
        calls.append("prepare")
        if len(calls) == 1:
            raise DatabaseUnavailable("not yet")

    ingestion = Ingestion(journal, database, lambda: NOW_UTC, MemoryLog(), prepare)
    for _ in range(3):
        await ingestion.ingest_to_end()
    assert calls == ["prepare"] * 2


async def test_torn_and_damaged_records_are_counted_once(journal, writer, database):
    path = writer.path
    writer.append_all(numbered(3))
    writer.close()
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(bytes(content[:-3]))
    Writer(journal, "w0", 2000).close()
    ingestion = ingestion_of(journal, database)
    for _ in range(2):
        await ingestion.ingest_to_end()
    seen = ingestion.statistics(trio.current_time())
    assert (seen.records, seen.torn_segments, seen.damaged_records) == (1, 1, 1)


async def test_the_identity_of_a_journal_is_made_once_and_mended(journal):
    made = ingest.read_journal_id(journal)
    assert ingest.read_journal_id(journal) == made
    (journal / ID_NAME).write_bytes(b"\xff\n")
    assert ingest.read_journal_id(journal) not in ("", made)


async def test_positions_of_others_are_not_ours(journal, writer, database):
    writer.append_all(numbered(1))
    ingestion = ingestion_of(journal, database)
    await ingestion.ingest_to_end()
    assert await database.read(load_positions, ingestion._journal_id) == ingestion.positions
    assert await database.read(load_positions, "other") == {}


def test_the_statement_for_sqlite_names_the_columns_in_their_order():
    names = ingest.INSERT_ROW.partition("(")[2].partition(")")[0].replace('"', "").split(", ")
    assert tuple(names) == COLUMNS
    assert set(COLUMNS) | {"id"} == set(records.c.keys())


STRANGE = {
    "model": "a\0b",
    "user": "\0",
    "prompt_tokens": 2**64 - 1,
    "completion_tokens": 2**63,
    "started_utc": float("inf"),
    "queue_seconds": float("nan"),
    "client_address": "\u202e'; DROP TABLE records; --",
}


async def test_no_record_is_refused_whatever_strangers_put_into_it(journal, writer, database):
    writer.append_all([a_record(**{name: value}) for name, value in STRANGE.items()])
    await ingestion_of(journal, database).ingest_to_end()
    found = await stored(database)
    assert [getattr(record, name) for record, name in zip(found, STRANGE, strict=True)] == [
        "a\ufffdb",
        "\ufffd",
        2**63 - 1,
        2**63 - 1,
        0.0,
        0.0,
        STRANGE["client_address"],
    ]


@given(st.lists(journal_records, max_size=5))
@settings(max_examples=30)
def test_what_is_plain_is_stored_as_it_is(found):
    for record in found:
        *values, ingested_utc, cost = row_of(record, NOW_UTC)
        assert values == [without_nul(value) for value in astuple(record)]
        assert (ingested_utc, cost) == (NOW_UTC, None)


def without_nul(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (DatabaseFull("x"), "full"),
        (DatabaseCorrupt("x"), "corrupt"),
        (DatabaseUnavailable("x"), "unavailable"),
        (trio.TooSlowError(), "unavailable"),
        (OSError(5, "x"), "failing"),
    ],
)
def test_strangers_learn_one_word(failure, word):
    assert ingest.kind_of(failure) == word


@pytest.mark.parametrize("value", [True, None, 0, -5, 1.5, "text", ""])
def test_values_that_databases_have_stay_what_they_are(value):
    assert storable(value) is value
