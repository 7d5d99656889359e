"""Each record once, whatever the database does and whoever is killed; real segments, real databases."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.journal import Position, Writer, segments
from mrproxy.link.records import JournalRecord
from mrproxy.storage import ingest
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseFull, DatabaseUnavailable
from mrproxy.storage.ingest import Ingestion
from mrproxy.storage.positions import PositionMoved
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import ingest_positions, records
from mrproxy.storage.schema_people import api_keys
from mrproxy.storage.usage import KEYS, SUMS, models, sums_of, usage_daily
from tests.fakes.log import MemoryLog
from tests.link.journal_examples import a_record

NOW_UTC = 1_800_000_000.5


def numbered(count: int, start: int = 0) -> list[JournalRecord]:
    return [a_record(request_id=f"req-{number:04}", worker="w0") for number in range(start, start + count)]


async def stored(database: Database) -> list[JournalRecord]:
    """The table as records, in the order of insertion."""

    async def all_rows(connection: AsyncConnection) -> list[JournalRecord]:
        fields = [records.c[name] for name in JournalRecord.__struct_fields__]
        return [JournalRecord(*row) for row in await connection.execute(select(*fields).order_by(records.c.id))]

    return await database.read(all_rows)


async def summed(database: Database) -> list[tuple[Any, ...]]:
    """The table of sums, sorted by its keys."""

    async def all_sums(connection: AsyncConnection) -> list[tuple[Any, ...]]:
        found = await connection.execute(select(*(usage_daily.c[name] for name in (*KEYS, *SUMS))))
        return sorted(tuple(row) for row in found)

    return await database.read(all_sums)


async def sums_of_table(database: Database) -> list[tuple[Any, ...]]:
    """What they should be: the rows of the table of records, added up."""

    async def all_rows(connection: AsyncConnection) -> list[tuple[Any, ...]]:
        found = await connection.execute(select(*(records.c[name] for name in COLUMNS)))
        return [tuple(row) for row in found]

    return sums_of(await database.read(all_rows))


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


STRANGE = {
    "model": "a\0b",
    "user": "\0",
    "prompt_tokens": 2**64 - 1,
    "completion_tokens": 2**63,
    "started_utc": float("inf"),
    "queue_seconds": float("nan"),
    "request_id": "\N{SNOWMAN}\0" * 9000,
    "client_address": "\u202e'; DROP TABLE records; --",
}


async def test_no_record_is_refused_whatever_strangers_put_into_it(journal, writer, database):
    writer.append_all([a_record(**{name: value}) for name, value in STRANGE.items()])
    await ingestion_of(journal, database).ingest_to_end()
    found = await stored(database)
    assert [getattr(record, name) for record, name in zip(found, STRANGE, strict=True)] == [
        "a\ufffdb",
        "\ufffd",
        10**12,
        10**12,
        0.0,
        0.0,
        "\N{SNOWMAN}\ufffd" * 66 + "\N{SNOWMAN}",
        STRANGE["client_address"],
    ]


LONG = "".join(f"{number:x}" for number in range(16_000))  # which no compression makes short


async def test_names_of_any_length_fit_into_every_index(journal, writer, database):
    names = dict.fromkeys(("user", "key_id", "group", "model", "backend", "request_id"), LONG)
    writer.append(a_record(**names))
    writer.append_all(numbered(1))
    await ingestion_of(journal, database).ingest_to_end()
    assert [record.model[:4] for record in await stored(database)] == [LONG[:4], "llam"]


async def test_sums_are_those_of_the_records_whatever_fails_in_between(journal, writer, database, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH_RECORDS", 4)
    faulty = Faulty(database)
    ingestion = ingestion_of(journal, faulty)
    for start in range(0, 30, 6):
        made = numbered(6, start)
        writer.append_all([replace(record, model=f"m{start % 4}", status=200 + start * 8) for record in made])
        faulty.after = DatabaseUnavailable("the connection broke") if start % 12 == 0 else None
        await ingestion.ingest_to_end()
    faulty.after = None
    await ingestion.ingest_to_end()
    assert await ids(database) == ids_of(30)
    assert await summed(database) == await sums_of_table(database)
    assert sum(row[KEYS_AND_SUMS.index("requests")] for row in await summed(database)) == 30


KEYS_AND_SUMS = (*KEYS, *SUMS)


async def test_sums_that_cannot_be_written_keep_the_records_out_too(journal, writer, database, monkeypatch):
    async def broken(connection: AsyncConnection, sums: object) -> None:
        raise DatabaseFull("no room")

    writer.append_all(numbered(3))
    ingestion = ingestion_of(journal, database)
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "add_sums", broken)
        await ingestion.ingest_to_end()
    assert (await ids(database), await summed(database)) == ([], [])
    await ingestion.ingest_to_end()
    assert (await ids(database), await summed(database)) == (ids_of(3), await sums_of_table(database))


async def test_what_stands_in_the_table_already_is_not_summed_again(journal, writer, database):
    writer.append_all(numbered(10))
    await ingestion_of(journal, database).ingest_to_end()
    writer.close()
    for segment in segments(journal):
        segment.path.unlink()
    again = Writer(journal, "w0", 1 << 20)
    again.append_all([*numbered(3), *numbered(2, start=10)])
    again.close()
    await ingestion_of(journal, database).ingest_to_end()
    assert await ids(database) == ids_of(12)
    assert await summed(database) == await sums_of_table(database)


async def test_costs_stand_in_records_and_sums_and_follow_the_price_of_the_moment(journal, writer, database):
    async def set_price(connection: AsyncConnection, price: int) -> None:
        await connection.execute(delete(models))
        made = {"name": "llama3.2:3b", "prompt_price": price, "created_utc": 0.0, "updated_utc": 0.0}
        await connection.execute(insert(models).values(made))

    async def costs(connection: AsyncConnection) -> list[int | None]:
        return list((await connection.execute(select(records.c.cost).order_by(records.c.id))).scalars())

    ingestion = ingestion_of(journal, database)
    for price in (None, 2_500_000, 0):
        if price is not None:
            await database.transact(set_price, price)
        writer.append_all(numbered(1))
        await ingestion.ingest_to_end()
    assert await database.read(costs) == [None, 300, 0]
    assert await summed(database) == await sums_of_table(database)


async def test_a_keys_last_use_is_known_to_the_minute(journal, writer, database):
    async def make_key(connection: AsyncConnection) -> None:
        made = {"key_id": "k-1", "digest": "d", "prefix": "mr_", "name": "n", "created_utc": 0.0, "updated_utc": 0.0}
        await connection.execute(insert(api_keys).values(made))

    async def seen(connection: AsyncConnection) -> float | None:
        return (await connection.execute(select(api_keys.c.last_used_utc))).scalar_one()

    await database.transact(make_key)
    ingestion = ingestion_of(journal, database)
    found = []
    for moments in ([1000.0, 1010.0, 1005.0], [1050.0], [1069.0], [1070.0], [1200.0, 1100.0], [5.0]):
        writer.append_all([a_record(started_utc=moment) for moment in moments])
        writer.append(a_record(started_utc=1.0, key_id="configured"))
        await ingestion.ingest_to_end()
        found.append(await database.read(seen))
    assert found == [1010.0, 1010.0, 1010.0, 1070.0, 1200.0, 1200.0]


def test_a_key_is_touched_once_a_batch_and_only_when_a_minute_has_passed():
    rows = [row_of(a_record(key_id=key, started_utc=at), 0.0) for key, at in (("a", 5.0), ("a", 90.0), ("b", 59.9))]
    assert ingest.last_used(rows, {}) == {"a": 90.0, "b": 59.9}
    assert ingest.last_used(rows, {"a": 30.0, "b": 0.0}) == {"a": 90.0}
    assert ingest.last_used(rows, {"a": 30.1, "b": 0.0}) == {}
