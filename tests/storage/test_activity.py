"""What goes on now, and who was there on each day, on both databases."""

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.activity import LOOKED_BACK_SECONDS, Ended, count_users_by_day, sum_ended
from mrproxy.storage.database import Database
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from mrproxy.storage.usage import add_sums, sums_of
from tests.link.journal_examples import a_record

DAY = 86_400.0
NOW = 100.5 * DAY
MADE = [
    a_record(started_utc=NOW - 20, total_seconds=15.0, user="ada", prompt_tokens=5, completion_tokens=6),
    a_record(started_utc=NOW - 20, total_seconds=5.0, user="bob", prompt_tokens=100),
    a_record(started_utc=NOW - 1, total_seconds=1.0, user="", key_id="k", prompt_tokens=None, queue_seconds=3.0),
    a_record(started_utc=NOW - LOOKED_BACK_SECONDS - 1, total_seconds=LOOKED_BACK_SECONDS, user="ada"),
    a_record(started_utc=NOW - DAY, user="bob"),
    a_record(started_utc=NOW - DAY, user="bob", key_id="k-2"),
]


async def fill(connection: AsyncConnection) -> None:
    rows = [row_of(each, 0.0) for each in MADE]
    await connection.execute(insert(records), [dict(zip(COLUMNS, row, strict=True)) for row in rows])
    await add_sums(connection, sums_of(rows))


@pytest.fixture
async def database(database: Database) -> Database:
    await database.transact(fill)
    return database


async def test_what_ended_just_now_is_summed(database: Database):
    assert await database.read(sum_ended, NOW - 10, NOW) == Ended(2, 5 + 6 + 64, 1.5)
    assert await database.read(sum_ended, NOW + 1, NOW) == Ended(0, 0, 0.0)


async def test_users_of_each_day_count_once_and_keys_without_one_too(database: Database):
    found = await database.read(count_users_by_day, "1970-04-11")
    assert found == [("1970-04-11", 3)]
    assert [count for _, count in await database.read(count_users_by_day, "1970-01-01")] == [1, 3]
