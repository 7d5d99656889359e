"""What became of requests: the word in Python is the word in SQL, on both databases."""

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage import outcomes
from mrproxy.storage.database import Database
from mrproxy.storage.export import FIELDS
from mrproxy.storage.outcomes import (
    CANCELLED,
    COMPLETED,
    FAILED,
    OutcomeFilter,
    Timing,
    count_records,
    find_record,
    outcome_of,
    sum_timings,
)
from mrproxy.storage.records import read_page
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record

ENDS = [(200, ""), (404, "unknown_model"), (499, "client_departed"), (200, "client_departed"), (200, "cut"), (500, "")]
MADE = [
    a_record(
        request_id=f"r{number}",
        started_utc=float(number),
        user=("ada", "bob")[number % 2],
        model=f"m{number % 2}",
        total_seconds=float(number),
        status=ENDS[number % 6][0],
        code=ENDS[number % 6][1],
    )
    for number in range(24)
]


async def fill(connection: AsyncConnection) -> None:
    await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in MADE])


@pytest.fixture
async def database(database: Database) -> Database:
    await database.transact(fill)
    return database


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED, CANCELLED])
async def test_records_are_chosen_by_outcome(database: Database, outcome: str):
    expected = {each.request_id for each in MADE if outcome_of(each.status, each.code) == outcome}
    assert expected
    page = await database.read(read_page, OutcomeFilter(outcome=outcome))
    assert {row[FIELDS.index("request_id")] for row in page.rows} == expected
    assert await database.read(count_records, OutcomeFilter(outcome=outcome)) == len(expected)
    of_ada = OutcomeFilter(outcome=outcome, user="ada")
    assert await database.read(count_records, of_ada) == sum(
        each.user == "ada" for each in MADE if each.request_id in expected
    )


async def test_counting_stops_somewhere(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outcomes, "COUNTED_RECORDS", 5)
    assert await database.read(count_records, OutcomeFilter()) == 5


async def test_a_record_is_found_by_its_number(database: Database):
    page = await database.read(read_page, OutcomeFilter(request_id="r3"))
    assert await database.read(find_record, page.ids[0]) == page.rows[0]
    assert await database.read(find_record, 10**12) is None


async def test_timings_are_by_model_and_outcome_and_if_wanted_user(database: Database):
    async def timings(*, by_user: bool) -> list[Timing]:
        async def asked(connection: AsyncConnection) -> list[Timing]:
            return await sum_timings(connection, 6.0, by_user=by_user)

        return await database.read(asked)

    completed = next(each for each in await timings(by_user=False) if each.outcome == COMPLETED)
    assert completed == Timing("m0", COMPLETED, "", 3, 6.0, 12.0, 18.0)
    of_both = await timings(by_user=True)
    assert sum(each.requests for each in of_both) == 18
    assert {each.user for each in of_both} == {"ada", "bob"}
