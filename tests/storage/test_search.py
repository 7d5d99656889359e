"""Texts in records and in bodies, a stretch at a time."""

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.capture import CapturedBodies
from mrproxy.storage import search
from mrproxy.storage.bodies import insert_bodies
from mrproxy.storage.bodies import row_of as body_row
from mrproxy.storage.database import Database
from mrproxy.storage.records import RecordFilter
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from mrproxy.storage.search import search_page
from tests.link.journal_examples import a_record

COUNT = 60
MADE = [
    a_record(
        request_id=f"req-{number:02}",
        started_utc=float(number // 2),
        user="ada" if number % 3 else "Ödon_50%",
        model="Needle" if number % 10 == 0 else "hay",
        code="needle_lost" if number == 7 else "",
    )
    for number in range(COUNT)
]


async def fill(connection: AsyncConnection) -> None:
    await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in MADE])
    captured = [
        CapturedBodies(
            each.request_id, each.started_utc, "k", each.user, each.model, 200, f"tell of {number}", False, "YES", False
        )
        for number, each in enumerate(MADE)
        if number % 2
    ]
    await insert_bodies(connection, [body_row(each) for each in captured])


@pytest.fixture
async def database(database: Database) -> Database:
    await database.transact(fill)
    return database


async def found(database: Database, text: str, *, in_bodies: bool = False, limit: int = 4, **wanted: str) -> list[int]:
    """All pages, as the numbers of their requests; each page is bounded."""
    numbers: list[int] = []
    behind = None
    for _ in range(100):
        page = await database.read(search_page, RecordFilter(**wanted), text, in_bodies, behind, limit)
        assert len(page.rows) == len(page.ids) <= limit
        numbers += [int(str(row[0])[-2:]) for row in page.rows]
        behind = page.following
        if behind is None:
            return numbers
    raise AssertionError("it never ends")


NEEDLES = [50, 40, 30, 20, 10, 7, 0]


@pytest.mark.parametrize("in_bodies", [False, True])
@pytest.mark.parametrize("stretch", [5, 7, 1000])
async def test_a_part_of_a_name_is_found_whatever_a_page_looks_at(database, monkeypatch, in_bodies, stretch):
    monkeypatch.setattr(search, "SCANNED_RECORDS", stretch)
    monkeypatch.setattr(search, "SCANNED_BODIES", stretch)
    monkeypatch.setattr(search, "CHUNK_RECORDS", 5)
    for limit in (1, 4, 100):
        assert await found(database, "NEEDLE", in_bodies=in_bodies, limit=limit) == NEEDLES


@pytest.mark.parametrize("in_bodies", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("q-59", [59]),
        ("ö", []),  # letters beyond ASCII are as written
        ("Ö", list(range(57, -1, -3))),
        ("_50%", list(range(57, -1, -3))),
        ("_5", list(range(57, -1, -3))),
        ("%d%", []),
        ("needle_", [7]),
        ("\\", []),
        ("'; DROP TABLE records; --", []),
    ],
)
async def test_texts_mean_themselves(database, in_bodies, text, expected):
    assert await found(database, text, in_bodies=in_bodies) == expected


async def test_bodies_are_looked_at_only_where_that_is_wanted(database):
    assert await found(database, "TELL OF 3") == []
    assert await found(database, "TELL OF 3", in_bodies=True) == [39, 37, 35, 33, 31, 3]
    assert await found(database, "yes", in_bodies=True, limit=100) == list(range(59, 0, -2))


@pytest.mark.parametrize("in_bodies", [False, True])
async def test_filters_hold_beside_a_text(database, in_bodies):
    assert await found(database, "needle", in_bodies=in_bodies, user="ada") == [50, 40, 20, 10, 7]
    assert await found(database, "needle", in_bodies=in_bodies, user="nobody") == []


async def test_no_text_is_in_everything(database):
    assert await found(database, "") == list(range(59, -1, -1))
