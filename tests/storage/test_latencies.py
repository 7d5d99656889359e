"""Latencies in buckets: each record is counted once, however often one asks."""

from collections import Counter

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.records import JournalRecord
from mrproxy.storage.database import Database
from mrproxy.storage.latencies import LatencyPage, sum_latencies
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record

BOUNDS = (0.1, 1.0)


def made(number: int, **fields: object) -> JournalRecord:
    plain = {"backend": "cloud", "status": 200, "stream": False, "total_seconds": 0.5, "started_utc": 100.0 + number}
    return a_record(request_id=f"r{number}", **plain | fields)


async def fill(connection: AsyncConnection, made: list[JournalRecord]) -> None:
    await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in made])


async def ask(database: Database, behind: int | None = None, *backends: str) -> LatencyPage:
    return await database.read(sum_latencies, backends or ("cloud",), BOUNDS, 100.0, behind)


async def test_without_records_there_is_nowhere_to_go_on(database: Database):
    assert await ask(database) == ([], None)


async def test_a_latency_is_in_the_bucket_of_the_first_bound_that_it_keeps(database: Database):
    whole = [made(0, total_seconds=0.1), made(1, total_seconds=0.5), made(2, total_seconds=5.0)]
    streams = [made(3, stream=True, first_byte_seconds=0.05), made(4, stream=True, first_byte_seconds=None)]
    others = [made(5, backend="here"), made(6, started_utc=99.0), made(7, status=503)]
    await database.transact(fill, [*whole, *streams, *others])
    page = await ask(database)
    assert Counter({(each.status, each.bucket): each.requests for each in page.sums}) == {
        (200, 0): 2,
        (200, 1): 2,
        (200, 2): 1,
        (503, 1): 1,
    }
    assert sum(each.seconds for each in page.sums) == pytest.approx(0.1 + 0.5 + 5.0 + 0.05 + 0.5 + 0.5)
    assert {each.backend for each in (await ask(database, None, "cloud", "here")).sums} == {"cloud", "here"}


async def test_what_was_counted_is_not_counted_again(database: Database):
    await database.transact(fill, [made(0)])
    first = await ask(database)
    assert await ask(database, first.last_number) == ([], first.last_number)
    await database.transact(fill, [made(1), made(2)])
    second = await ask(database, first.last_number)
    assert [each.requests for each in second.sums] == [2]
    assert await ask(database, second.last_number) == ([], second.last_number)
