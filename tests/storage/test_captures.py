"""Captured bodies out of files into the table: each once, whatever fails; real files, real databases."""

from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import select

from mrproxy.canonical.capture import Body
from mrproxy.link.capture import CaptureWriter, capture_segments, captured_bodies
from mrproxy.storage import captures
from mrproxy.storage.bodies import bodies
from mrproxy.storage.captures import CaptureIngestion
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseFull, DatabaseUnavailable
from mrproxy.storage.positions import PositionMoved
from tests.fakes.log import MemoryLog
from tests.link.journal_examples import a_record
from tests.storage.test_ingest import Faulty


@pytest.fixture
def writer(tmp_path: Path) -> CaptureWriter:
    return CaptureWriter(tmp_path, "w1", 1000)


def capture(writer: CaptureWriter, *numbers: int) -> None:
    for number in numbers:
        body = Body(1000)
        body.receive_data(b"\xff" * number)
        writer.append(captured_bodies(a_record(request_id=f"r{number:03}"), body, body))


def ingestion_of(tmp_path: Path, database: Any, log: MemoryLog | None = None) -> CaptureIngestion:
    return CaptureIngestion(tmp_path, database, log or MemoryLog())


async def ids(database: Database) -> list[int]:
    found = await database.read(lambda connection: connection.execute(select(bodies.c.request_id).order_by("id")))
    return [int(request_id[1:]) for request_id in found.scalars()]


def left(tmp_path: Path) -> list[bool]:
    return [path.stat().st_size > 0 for path in capture_segments(tmp_path)]


async def test_bodies_are_in_the_table_once_and_no_longer_on_disk(tmp_path, database, writer):
    ingestion = ingestion_of(tmp_path, database)
    for start in range(0, 30, 10):
        capture(writer, *range(start, start + 10))
        await ingestion.take_to_end()
        await ingestion_of(tmp_path, database).take_to_end()
    writer.close()
    await ingestion.take_to_end()
    assert await ids(database) == list(range(30))
    assert left(tmp_path) == [False]
    assert ingestion.stored == 30


async def test_batches_are_bounded(tmp_path, database, writer, monkeypatch):
    monkeypatch.setattr(captures, "BATCH_BODIES", 4)
    capture(writer, *range(9))
    ingestion = ingestion_of(tmp_path, database)
    assert [await ingestion.take_batch() for _ in range(4)] == [True, True, True, False]
    assert await ids(database) == list(range(9))


async def test_a_commit_whose_answer_was_lost_is_not_repeated_and_nothing_is_removed_before(tmp_path, database, writer):
    faulty = Faulty(database)
    ingestion = ingestion_of(tmp_path, faulty)
    capture(writer, 1, 2)
    writer.close()
    faulty.after = DatabaseUnavailable("the connection broke")
    await ingestion.take_to_end()
    assert left(tmp_path) == [True]
    faulty.after = None
    capture(writer, 3)
    await ingestion.take_to_end()
    assert await ids(database) == [1, 2, 3]


async def test_a_database_that_is_full_leaves_the_files_and_it_is_said_once(tmp_path, database, writer):
    faulty, log = Faulty(database), MemoryLog()
    ingestion = ingestion_of(tmp_path, faulty, log)
    capture(writer, 1)
    writer.close()
    faulty.before = DatabaseFull("no room")
    for _ in range(3):
        await ingestion.take_to_end()
    assert log.events("captured bodies are not stored") == [{"problem": "full", "reason": "no room"}]
    assert left(tmp_path) == [True]
    faulty.before = None
    await ingestion.take_to_end()
    assert (await ids(database), left(tmp_path)) == ([1], [False])


async def test_of_two_processes_that_read_the_same_only_one_writes_it(tmp_path, database, writer):
    capture(writer, 1)
    first, second = (ingestion_of(tmp_path, database) for _ in range(2))
    batches = []
    for each in (first, second):
        each._key = "bodies:j"
        batches.append(each._read({}))
    await database.transact(captures.store_bodies, batches[0], "bodies:j")
    with pytest.raises(PositionMoved):
        await database.transact(captures.store_bodies, batches[1], "bodies:j")
    assert await ids(database) == [1]


async def test_numbers_that_begin_anew_lose_nothing_and_double_nothing(tmp_path, database, writer):
    capture(writer, *range(20))
    writer.close()
    await ingestion_of(tmp_path, database).take_to_end()
    for path in capture_segments(tmp_path):
        path.unlink()
    again = CaptureWriter(tmp_path, "w1", 1000)
    capture(again, 19, 20)
    await ingestion_of(tmp_path, database).take_to_end()
    assert await ids(database) == list(range(21))
    capture(again, 21)
    await ingestion_of(tmp_path, database).take_to_end()
    assert await ids(database) == list(range(22))


async def test_what_cannot_be_read_is_said_and_stepped_over(tmp_path, database, writer):
    log = MemoryLog()
    capture(writer, 1)
    with writer.path.open("ab") as file:
        file.write(b"{}\n")
    capture(writer, 2)
    await ingestion_of(tmp_path, database, log).take_to_end()
    assert await ids(database) == [1, 2]
    assert log.events("captured bodies cannot be read") == [{"lines": 1}]


async def test_where_nothing_was_captured_the_database_is_left_alone(tmp_path):
    assert not await ingestion_of(tmp_path, None).take_batch()
    assert not await ingestion_of(tmp_path / "nowhere", None).take_batch()


async def test_it_goes_on_after_every_kind_of_failure(tmp_path, database, writer, nursery, monkeypatch):
    faulty, log, naps = Faulty(database), MemoryLog(), []
    over = trio.Event()

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        faulty.before = {1: PositionMoved("w1"), 2: DatabaseUnavailable("gone")}.get(len(naps))
        if len(naps) > 5:
            over.set()
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(captures.trio, "sleep", nap)
    faulty.before = DatabaseFull("no room")
    capture(writer, 1)
    nursery.start_soon(ingestion_of(tmp_path, faulty, log).run)
    with trio.fail_after(10):
        await over.wait()
    nursery.cancel_scope.cancel()
    assert naps == [1, 1, 2, 0, 1, 1]
    assert len(log.events("captured bodies are stored again")) == 1
    with trio.CancelScope(shield=True):
        assert await ids(database) == [1]
