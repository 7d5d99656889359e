"""Sums by name and by time, against the same said in Python, on both databases."""

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.records import JournalRecord
from mrproxy.storage.database import Database
from mrproxy.storage.records import RecordFilter
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from mrproxy.storage.usage import Price, add_sums, priced, sums_of
from mrproxy.storage.usage_reports import (
    GROUPINGS,
    SumCursor,
    UsageFilter,
    UsageSum,
    count_users_over_time,
    sum_all,
    sum_over_time,
    sum_records,
    sum_usage,
)
from tests.link.journal_examples import a_record

HOUR, DAY = 3600.0, 86_400.0
MADE = [
    a_record(
        request_id=f"r{number}",
        started_utc=number * 5 * HOUR,
        user=("ada", "bob", "")[number % 3],
        key_id=f"k{number % 4}",
        group=("staff", "guests")[number % 2],
        model=f"m{number % 5}",
        backend=("gpu-1", "")[number % 6 == 5],
        status=(200, 200, 429)[number % 3],
        code=("", "client_departed")[number % 7 == 6],
        prompt_tokens=None if number % 8 == 7 else number,
        completion_tokens=number * 10,
        charged_tokens=None if number % 2 else number * 3,
    )
    for number in range(48)
]
PRICES = {"m1": Price(1_000_000, 2_000_000)}
NAMES = {"user": "user", "group": "group", "key": "key_id", "model": "model", "backend": "backend"}


async def fill(connection: AsyncConnection) -> None:
    rows = priced([row_of(record, 0.0) for record in MADE], PRICES)
    await connection.execute(insert(records), [dict(zip(COLUMNS, row, strict=True)) for row in rows])
    for start in range(0, len(rows), 7):
        await add_sums(connection, sums_of(rows[start : start + 7]))


@pytest.fixture
async def database(database: Database) -> Database:
    await database.transact(fill)
    return database


def added_up(name: str, found: list[JournalRecord]) -> UsageSum:
    prompt = sum(each.prompt_tokens or 0 for each in found)
    completion = sum(each.completion_tokens or 0 for each in found)
    tokens = [(each.prompt_tokens or 0) + (each.completion_tokens or 0) for each in found]
    charged = [
        each.charged_tokens if each.charged_tokens is not None else all_of_it
        for each, all_of_it in zip(found, tokens, strict=True)
    ]
    return UsageSum(
        name,
        len(found),
        sum(each.status >= 400 or each.code != "" for each in found),
        prompt,
        completion,
        prompt + completion,
        sum(charged),
        sum((each.prompt_tokens or 0) + 2 * (each.completion_tokens or 0) for each in found if each.model == "m1"),
        2.5 * len(found),
    )


def grouped(by: str, found: list[JournalRecord]) -> list[UsageSum]:
    def name_of(record: JournalRecord) -> str:
        return f"1970-01-{1 + int(record.started_utc // DAY):02}" if by == "day" else getattr(record, NAMES[by])

    names = {name_of(record) for record in found}
    sums = [added_up(name, [record for record in found if name_of(record) == name]) for name in names]
    return sorted(sums, key=lambda each: (0 if by == "day" else -each.total_tokens, each.name))


@pytest.mark.parametrize("by", GROUPINGS)
async def test_sums_by_any_name_are_those_of_the_records_page_by_page(database, by):
    for limit in (1, 3, 500):
        sums, behind = [], None
        while True:
            page = await database.read(sum_usage, by, UsageFilter(), behind, limit)
            sums += page.sums
            behind = page.following
            if behind is None:
                break
        assert sums == grouped(by, MADE)


FILTERS: list[tuple[dict[str, str], Any]] = [
    ({"since_day": "1970-01-02"}, lambda each: each.started_utc >= DAY),
    ({"until_day": "1970-01-02"}, lambda each: each.started_utc < 2 * DAY),
    ({"since_day": "1970-01-03", "until_day": "1970-01-03"}, lambda each: 2 * DAY <= each.started_utc < 3 * DAY),
    ({"user": "ada"}, lambda each: each.user == "ada"),
    ({"user": ""}, lambda each: each.user == ""),
    ({"group": "guests", "model": "m3"}, lambda each: each.group == "guests" and each.model == "m3"),
    ({"key_id": "k2", "backend": "gpu-1"}, lambda each: each.key_id == "k2" and each.backend == "gpu-1"),
    ({"user": "' OR 1=1 --"}, lambda each: False),
]


@pytest.mark.parametrize(("wanted", "is_wanted"), FILTERS)
async def test_filters_choose_before_anything_is_summed(database, wanted, is_wanted):
    chosen = [record for record in MADE if is_wanted(record)]
    page = await database.read(sum_usage, "model", UsageFilter(**wanted))
    assert page.sums == grouped("model", chosen)
    assert await database.read(sum_all, UsageFilter(**wanted)) == added_up("", chosen)


@pytest.mark.parametrize("by", NAMES)
async def test_records_of_any_moments_are_summed_the_same_way(database, by):
    wanted = RecordFilter(since_utc=7 * HOUR, until_utc=100 * HOUR)
    chosen = [record for record in MADE if 7 * HOUR <= record.started_utc < 100 * HOUR]
    assert await database.read(sum_records, by, wanted) == grouped(by, chosen)
    assert await database.read(sum_records, by, wanted, 1) == grouped(by, chosen)[:1]


async def test_time_is_cut_into_equal_stretches_and_empty_ones_are_left_out(database):
    found = await database.read(sum_over_time, 3600, RecordFilter(until_utc=11 * HOUR))
    assert found == [(number * 5 * HOUR, added_up("", [MADE[number]])) for number in range(3)]
    whole = await database.read(sum_over_time, 86_400, RecordFilter())
    assert [(at, each.requests) for at, each in whole] == [
        (day * DAY, sum(record.started_utc // DAY == day for record in MADE)) for day in range(10)
    ]


async def test_users_are_counted_once_in_each_stretch_and_keys_without_one_too(database):
    found = await database.read(count_users_over_time, 86_400, RecordFilter(until_utc=DAY))
    assert found == [(0.0, len({record.user or record.key_id for record in MADE[:5]}))]


async def test_nothing_sums_up_to_nothing(database):
    nobody = UsageFilter(user="nobody")
    assert await database.read(sum_all, nobody) == added_up("", [])
    assert await database.read(sum_usage, "day", nobody, SumCursor(0, "")) == ([], None)
