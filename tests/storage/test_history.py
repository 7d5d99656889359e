"""Numbered pages of records, on both databases."""

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage import history
from mrproxy.storage.database import Database
from mrproxy.storage.export import FIELDS
from mrproxy.storage.history import HistoryFilter, read_numbered_page
from mrproxy.storage.outcomes import count_records
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record

MADE = [
    a_record(
        request_id=f"r{number}",
        started_utc=float(number),
        model=("Llama-3.2", "100%_model")[number % 2],
        client_address=f"192.0.2.{number % 3}",
        status=(200, 200, 500, 200)[number % 4],
        code=("", "", "", "client_departed")[number % 4],
    )
    for number in range(24)
]

AFTER_5 = {each.request_id for each in MADE[5:] if each.status < 400 and not each.code}


async def fill(connection: AsyncConnection) -> None:
    await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in MADE])


@pytest.fixture
async def database(database: Database) -> Database:
    await database.transact(fill)
    return database


async def ids(database: Database, wanted: HistoryFilter, skip: int = 0, limit: int = 100) -> list[str]:
    found = await database.read(read_numbered_page, wanted, skip, limit)
    assert all(len(row) == len(FIELDS) for row in found)
    return [str(row[FIELDS.index("request_id")]) for row in found]


async def test_a_page_skips_what_the_ones_before_it_had(database: Database):
    newest_first = [each.request_id for each in reversed(MADE)]
    assert await ids(database, HistoryFilter()) == newest_first
    assert await ids(database, HistoryFilter(), 10, 5) == newest_first[10:15]
    assert await ids(database, HistoryFilter(), 24, 5) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (HistoryFilter(model_part="LLAMA"), lambda each: each.model == "Llama-3.2"),
        (HistoryFilter(model_part="0%_"), lambda each: each.model == "100%_model"),
        (HistoryFilter(client_address="192.0.2.1"), lambda each: each.client_address == "192.0.2.1"),
        (HistoryFilter(is_success=True), lambda each: each.status < 400 and not each.code),
        (HistoryFilter(is_success=False), lambda each: each.status >= 400 or each.code),
        (HistoryFilter(is_success=True, since_utc=5.0), lambda each: each.request_id in AFTER_5),
    ],
)
async def test_filters(database: Database, wanted: HistoryFilter, expected):
    found = [each.request_id for each in reversed(MADE) if expected(each)]
    assert 0 < len(found) < len(MADE)
    assert await ids(database, wanted) == found
    assert await database.read(count_records, wanted) == len(found)


async def test_nobody_skips_more_than_is_counted(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "COUNTED_RECORDS", 10)
    assert len(await ids(database, HistoryFilter(), 9, 5)) == 5
    assert await ids(database, HistoryFilter(), 10, 5) == []
