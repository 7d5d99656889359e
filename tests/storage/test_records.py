"""Filters and pages."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.records import JournalRecord
from mrproxy.storage import records as queries
from mrproxy.storage.database import Database
from mrproxy.storage.records import NAMED, Cursor, RecordFilter, each_page, read_page
from mrproxy.storage.rows import COLUMNS, Row, row_of
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record

MADE = [
    a_record(
        request_id=f"r{number}",
        started_utc=float(number // 3),  # three at each moment
        user=("ada", "bob")[number % 2],
        key_id=("k1", "k2", "k3")[number % 3],
        model=("small", "large")[number // 10 % 2],
        backend=f"gpu-{number % 4}",
        status=(200, 404, 429, 499, 500)[number % 5],
        code=("", "rate_limited")[number % 5 == 2],
        dialect=("openai", "ollama")[number % 6 == 0],
        operation=("chat", "embeddings")[number % 7 == 0],
        group=("staff", "guests")[number % 8 == 0],
    )
    for number in range(40)
]


async def fill(connection: AsyncConnection, made: Sequence[JournalRecord] = MADE) -> None:
    await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(record, 0.0), strict=True)) for record in made])


@pytest.fixture
async def filled(database: Database) -> Database:
    await database.transact(fill)
    return database


async def found(database: Database, wanted: RecordFilter, limit: int | None = None) -> list[str]:
    rows: list[Row] = []
    count = await each_page(database, wanted, rows.extend, limit=limit)
    assert count == len(rows)
    return [str(row[0]) for row in rows]


def expected(wanted: RecordFilter) -> list[str]:
    """The filter's meaning, said once more in Python."""
    low, high = wanted.statuses or (0, 1000)
    named = {name: getattr(wanted, name) for name in NAMED}
    return [
        record.request_id
        for record in MADE
        if (wanted.since_utc is None or record.started_utc >= wanted.since_utc)
        and (wanted.until_utc is None or record.started_utc < wanted.until_utc)
        and all(value is None or getattr(record, name) == value for name, value in named.items())
        and low <= record.status < high
    ]


FILTERS = st.builds(
    RecordFilter,
    since_utc=st.none() | st.sampled_from([-1.0, 2.0, 5.5]),
    until_utc=st.none() | st.sampled_from([3.0, 9.0, 100.0]),
    user=st.none() | st.sampled_from(["ada", "bob", "nobody"]),
    key_id=st.none() | st.sampled_from(["k1", "k2"]),
    model=st.none() | st.sampled_from(["small", "large"]),
    backend=st.none() | st.sampled_from(["gpu-0", "gpu-3"]),
    group=st.none() | st.just("guests"),
    code=st.none() | st.sampled_from(["", "rate_limited"]),
    dialect=st.none() | st.just("ollama"),
    operation=st.none() | st.just("embeddings"),
    request_id=st.none() | st.just("r14"),
    statuses=st.none() | st.sampled_from([(200, 201), (400, 500), (500, 600)]),
)


async def test_every_filter_finds_what_it_says_in_the_order_of_time(filled, monkeypatch):
    monkeypatch.setattr(queries, "PAGE_RECORDS", 7)
    drawn: list[RecordFilter] = []

    @settings(max_examples=60)
    @given(FILTERS)
    def draw(wanted: RecordFilter) -> None:
        drawn.append(wanted)

    draw()
    for wanted in drawn:
        assert await found(filled, wanted) == expected(wanted)


async def test_a_limit_gives_the_newest_newest_first(filled, monkeypatch):
    monkeypatch.setattr(queries, "PAGE_RECORDS", 4)
    assert await found(filled, RecordFilter(), limit=10) == [f"r{number}" for number in range(39, 29, -1)]
    assert await found(filled, RecordFilter(user="ada"), limit=100) == [f"r{number}" for number in range(38, -1, -2)]
    assert await found(filled, RecordFilter(), limit=0) == []


async def test_a_page_knows_where_the_next_one_begins_and_that_it_is_the_last(filled):
    first = await filled.read(read_page, RecordFilter(), None, 25)
    assert first.following == Cursor(8.0, 25)
    second = await filled.read(read_page, RecordFilter(), first.following, 25)
    assert (len(second.rows), second.following) == (15, None)


async def test_what_comes_between_two_pages_moves_nothing(filled):
    first = await filled.read(read_page, RecordFilter(), None, 25)
    await filled.transact(fill, [a_record(request_id="early", started_utc=0.0)])
    second = await filled.read(read_page, RecordFilter(), first.following, 25)
    assert [row[0] for row in second.rows] == [f"r{number}" for number in range(25, 40)]


async def test_a_row_is_a_journal_record(filled):
    page = await filled.read(read_page, RecordFilter(), None, 1)
    *fields, cost = page.rows[0]
    assert JournalRecord(*fields) == MADE[0]
    assert cost is None
    assert page.cursor_at(0) == Cursor(0.0, page.ids[0])


async def test_an_empty_table_has_one_empty_page(database):
    assert await found(database, RecordFilter()) == []


async def test_a_filter_is_never_a_part_of_the_statement(filled):
    assert await found(filled, RecordFilter(user="ada' OR '1'='1", model='"; DROP TABLE records; --')) == []
    assert len(await found(filled, RecordFilter())) == 40
