"""Spools into the tables: each event once, whatever fails when, and whoever waits for them knows."""

from pathlib import Path

import pytest
import trio
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.dialects.responses.states import encode_state
from mrproxy.dialects.responses.store import StoredResponse, Turn
from mrproxy.link.spool import ItemsAppended, ResponseDeleted, ResponseStored, SpoolWriter, spool_segments
from mrproxy.link.state import Conversation, Item
from mrproxy.storage import spooled
from mrproxy.storage.conversations import create_conversation, delete_item, read_items
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.positions import PositionMoved
from mrproxy.storage.responses import responses
from mrproxy.storage.schema import ingest_positions
from mrproxy.storage.spooled import SpoolIngestion
from tests.fakes.log import MemoryLog

ADA = "user:ada"
STATE = encode_state(StoredResponse("x", b"{}", (), Turn(())), [])


def stored(name: str) -> ResponseStored:
    return ResponseStored(name, ADA, None, None, 1.0, 2.0, STATE)


def deleted(name: str) -> ResponseDeleted:
    return ResponseDeleted(name, ADA, 1.5, 2.0)


def appended(*names: str) -> ItemsAppended:
    return ItemsAppended("conv", ADA, 1.0, tuple(Item(name, "{}") for name in names))


def write(directory: Path, *events: object, worker: str = "w1", segment_bytes: int = 1 << 30) -> None:
    """By a worker that is dead by now."""
    writer = SpoolWriter(directory, worker, segment_bytes)
    for event in events:
        assert writer.append(event)
    writer.close()


async def owners(connection: AsyncConnection) -> dict[str, str]:
    found = await connection.execute(select(responses.c.id, responses.c.owner))
    return {row.id: row.owner for row in found}


async def forget_positions(connection: AsyncConnection) -> None:
    await connection.execute(delete(ingest_positions))


async def items(database: Database) -> list[str]:
    return [item.id for item in (await database.read(read_items, "conv", 1 << 20)).items]


async def test_events_are_taken_once_and_in_order(database: Database, tmp_path: Path) -> None:
    write(tmp_path, stored("a"), stored("b"), deleted("a"))
    ingestion = SpoolIngestion(tmp_path, database, MemoryLog())
    await ingestion.take_to_end()
    write(tmp_path, stored("c"), worker="w2")
    await ingestion.take_to_end()
    assert await database.read(owners) == {"a": "", "b": ADA, "c": ADA}
    assert ingestion.events == 4


async def test_a_directory_without_spools_asks_no_database(tmp_path: Path) -> None:
    ingestion = SpoolIngestion(tmp_path, None, MemoryLog())  # type: ignore[arg-type]
    assert not await ingestion.take_batch()


async def test_small_batches_take_everything(database: Database, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(spooled, "BATCH_BYTES", 1)
    write(tmp_path, *(stored(f"r{number}") for number in range(5)), segment_bytes=200)
    await SpoolIngestion(tmp_path, database, MemoryLog()).take_to_end()
    assert len(await database.read(owners)) == 5


async def test_items_go_to_their_conversation_while_there_is_one(database: Database, tmp_path: Path) -> None:
    await database.transact(create_conversation, ADA, Conversation("conv", 1.0, "{}"))
    write(tmp_path, appended("a", "b"), appended("b", "c"), ItemsAppended("gone", ADA, 1.0, (Item("x", "{}"),)),
          ItemsAppended("conv", "user:bob", 1.0, (Item("x", "{}"),)))  # fmt: skip
    await SpoolIngestion(tmp_path, database, MemoryLog()).take_to_end()
    assert await items(database) == ["a", "b", "c"]


async def test_a_new_process_goes_on_where_the_old_one_was(database: Database, tmp_path: Path) -> None:
    await database.transact(create_conversation, ADA, Conversation("conv", 1.0, "{}"))
    write(tmp_path, appended("a", "b"))
    await SpoolIngestion(tmp_path, database, MemoryLog()).take_to_end()
    await database.transact(delete_item, "conv", "a")
    await SpoolIngestion(tmp_path, database, MemoryLog()).take_to_end()
    assert await items(database) == ["b"]  # what was taken is not taken again


async def test_lost_positions_store_nothing_twice(database: Database, tmp_path: Path) -> None:
    write(tmp_path, stored("a"), deleted("a"), stored("b"))
    await SpoolIngestion(tmp_path, database, MemoryLog()).take_to_end()
    await database.transact(forget_positions)
    await SpoolIngestion(tmp_path, database, MemoryLog()).take_to_end()
    assert await database.read(owners) == {"a": "", "b": ADA}


async def test_a_spool_that_began_anew_is_read_from_its_beginning(database: Database, tmp_path: Path) -> None:
    write(tmp_path, stored("a"), stored("b"))
    await SpoolIngestion(tmp_path, database, MemoryLog()).take_to_end()
    for segment in spool_segments(tmp_path):
        segment.path.unlink()
    write(tmp_path, stored("c"))
    await SpoolIngestion(tmp_path, database, MemoryLog()).take_to_end()
    assert set(await database.read(owners)) == {"a", "b", "c"}


async def test_two_that_take_the_same_spool_hinder_each_other_and_store_nothing_twice(
    database: Database, tmp_path: Path
) -> None:
    first, second = (SpoolIngestion(tmp_path, database, MemoryLog()) for _ in range(2))
    write(tmp_path, stored("a"))
    await first.take_to_end()
    await second.take_to_end()
    write(tmp_path, stored("b"))
    await first.take_to_end()
    with pytest.raises(PositionMoved):
        await second.take_batch()
    assert len(await database.read(owners)) == 2


async def test_what_is_taken_is_removed_but_for_the_newest_and_what_is_being_written(
    database: Database, tmp_path: Path
) -> None:
    ingestion = SpoolIngestion(tmp_path, database, MemoryLog())
    write(tmp_path, stored("a"), stored("b"), stored("c"), segment_bytes=1)
    await ingestion.take_to_end()
    assert [segment.sequence for segment in spool_segments(tmp_path)] == [3]
    living = SpoolWriter(tmp_path, "w1", 1 << 30)
    living.append(stored("d"))
    write(tmp_path, stored("e"))
    await ingestion.take_to_end()
    assert [segment.sequence for segment in spool_segments(tmp_path)] == [4, 5]
    living.close()
    await ingestion.take_to_end()
    assert [segment.sequence for segment in spool_segments(tmp_path)] == [5]
    assert len(await database.read(owners)) == 5


async def test_damage_is_said_once(database: Database, tmp_path: Path) -> None:
    write(tmp_path, stored("a"), stored("b"), segment_bytes=1)
    spool_segments(tmp_path)[0].path.write_bytes(b"\xff" * 40)
    log = MemoryLog()
    ingestion = SpoolIngestion(tmp_path, database, log)
    await ingestion.take_to_end()
    await ingestion.take_to_end()
    assert len(log.events("stored responses cannot be read")) == 1
    assert set(await database.read(owners)) == {"b"}


# Who waits


async def test_who_waits_finds_what_was_written_before(database: Database, tmp_path: Path) -> None:
    ingestion = SpoolIngestion(tmp_path, database, MemoryLog())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingestion.run)
        for number in range(3):
            write(tmp_path, stored(f"r{number}"))
            with trio.fail_after(10):
                await ingestion.wait_current()
            assert f"r{number}" in await database.read(owners)
        nursery.cancel_scope.cancel()


class Trouble:
    """A database that is away until it is not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_away = True

    async def read(self, *args):
        return await self._call(self._database.read, *args)

    async def transact(self, *args):
        return await self._call(self._database.transact, *args)

    async def _call(self, function, *args):
        if self.is_away:
            raise DatabaseUnavailable("nobody answers")
        return await function(*args)


async def test_who_waits_while_the_database_is_away_is_told_and_nothing_is_lost(
    database: Database, tmp_path: Path
) -> None:
    trouble, log = Trouble(database), MemoryLog()
    ingestion = SpoolIngestion(tmp_path, trouble, log)  # type: ignore[arg-type]
    write(tmp_path, stored("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingestion.run)
        with trio.fail_after(10):
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable):
                    await ingestion.wait_current()
            trouble.is_away = False
            await ingestion.wait_current()
        nursery.cancel_scope.cancel()
    assert set(await database.read(owners)) == {"a"}
    assert len(log.events("responses are not stored")) == len(log.events("responses are stored again")) == 1
