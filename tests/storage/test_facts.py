"""The turn, and the counter of changes."""

import pytest
import trio

from mrproxy.storage.database import Database
from mrproxy.storage.facts import begin_change, count_changes, read_fact, take_turn, write_fact


async def test_changes_that_overlap_are_all_counted(database: Database):
    assert await database.read(count_changes) == 0
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(database.transact, begin_change)
    assert await database.read(count_changes) == 5


async def test_what_is_rolled_back_is_not_counted(database: Database):
    async def change_and_fail(connection):
        await begin_change(connection)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await database.transact(change_and_fail)
    assert await database.read(count_changes) == 0


async def test_a_turn_may_be_taken_twice_in_a_transaction(database: Database):
    async def twice(connection):
        await take_turn(connection)
        await take_turn(connection)

    await database.transact(twice)


async def test_a_fact_is_what_was_written_last(database: Database):
    async def write(connection, value):
        await write_fact(connection, "colour", value)

    assert await database.read(read_fact, "colour") is None
    for value in ("red", "blue"):
        await database.transact(write, value)
    assert await database.read(read_fact, "colour") == "blue"
