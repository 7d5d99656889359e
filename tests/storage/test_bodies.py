"""Bodies in the table, on both databases."""

import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, update

from mrproxy.canonical.capture import Body
from mrproxy.link.capture import CapturedBodies, captured_bodies
from mrproxy.storage import bodies as stored
from mrproxy.storage.bodies import (
    BodyFilter,
    Place,
    StoredBodies,
    each_body_page,
    insert_bodies,
    missing_bodies,
    read_bodies,
    read_body_page,
    read_texts,
    row_of,
    text_of,
)
from mrproxy.storage.database import Database
from mrproxy.storage.rows import COLUMNS
from mrproxy.storage.rows import row_of as record_row
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record


def captured(number: int, **changes: Any) -> CapturedBodies:
    made = CapturedBodies(
        f"r{number}", float(number), "k-1", ("ada", "bob")[number % 2], "m", 200, f"ask {number}", False, "answer", True
    )
    return CapturedBodies(**{name: changes.get(name, getattr(made, name)) for name in made.__struct_fields__})


async def fill(database: Database, *found: CapturedBodies) -> None:
    await database.transact(insert_bodies, [row_of(each) for each in found])


def kept(data: bytes, max_bytes: int = 1000) -> Body:
    body = Body(max_bytes)
    body.receive_data(data)
    return body


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_the_bytes_of_any_body_come_back(request, answer):
    row = row_of(captured_bodies(a_record(), kept(request), kept(answer)))
    assert (zlib.decompress(row[3]), zlib.decompress(row[5])) == (request, answer)


def test_base64_that_is_none_is_kept_as_text():
    assert zlib.decompress(row_of(captured(1, request="no base64!", request_is_base64=True))[3]) == b"no base64!"


@pytest.mark.parametrize(("body", "expected"), [(b"{}", ("{}", False)), (b"\xff", ("/w==", True))])
def test_a_body_that_is_no_text_is_shown_as_base64(body, expected):
    assert text_of(body) == expected


async def test_bodies_are_found_by_their_request_and_say_what_its_record_says(database):
    record = a_record(request_id="r1", started_utc=1.0, model="big", status=404)
    row = dict(zip(COLUMNS, record_row(record, 0.0), strict=True))
    await database.transact(lambda connection: connection.execute(insert(records), [row]))
    await fill(database, captured(1), captured(1, started_utc=5.0, request="\0again"))
    expected = StoredBodies("r1", 1.0, "bob", b"ask 1", False, b"answer", True, "k-1", "big", "openai", "chat", 404)
    assert await database.read(read_bodies, Place("r1", 1.0)) == expected
    assert await database.read(read_bodies, Place("r1", 5.0)) == replace(
        expected,
        started_utc=5.0,
        request=b"\0again",
        **dict.fromkeys(("key_id", "model", "dialect", "operation", "status")),
    )
    assert await database.read(read_bodies, Place("r1", 2.0)) is None


async def test_pages_have_all_that_is_wanted_in_the_order_of_time(database, monkeypatch):
    monkeypatch.setattr(stored, "PAGE_BODIES", 3)
    await fill(database, *(captured(number) for number in range(10)))
    for wanted, expected in (
        (BodyFilter(), range(10)),
        (BodyFilter(since_utc=2.0, until_utc=6.0), range(2, 6)),
        (BodyFilter(user="bob"), range(1, 10, 2)),
        (BodyFilter(request_id="r4"), [4]),
        (BodyFilter(user="nobody"), []),
    ):
        found: list[StoredBodies] = []
        assert await each_body_page(database, wanted, found.extend) == len(found)
        assert [each.request_id for each in found] == [f"r{number}" for number in expected]


async def test_the_newest_come_first_where_they_should(database):
    await fill(database, *(captured(number) for number in range(5)))
    first = await database.read(read_body_page, BodyFilter(), None, 2, True)
    second = await database.read(read_body_page, BodyFilter(), first.following, 9, True)
    assert [each.request_id for each in (*first.bodies, *second.bodies)] == ["r4", "r3", "r2", "r1", "r0"]
    assert second.following is None


async def test_what_stands_there_already_is_told_by_id_and_moment(database):
    await fill(database, captured(1))
    rows = [row_of(captured(1)), row_of(captured(1, started_utc=2.0)), row_of(captured(2))]
    assert await database.read(missing_bodies, rows) == rows[1:]


async def test_texts_are_the_beginnings_of_both_bodies(database, monkeypatch):
    monkeypatch.setattr(stored, "SEARCHED_BYTES", 8)
    await fill(database, captured(1, request="0123456789"), captured(2, answer="\N{SNOWMAN}" * 3))
    found = await database.read(read_texts, [Place("r1", 1.0), Place("r2", 2.0), Place("r3", 3.0)])
    assert found == {
        Place("r1", 1.0): "01234567\nanswer",
        Place("r2", 2.0): "ask 2\n\N{SNOWMAN}\N{SNOWMAN}\N{REPLACEMENT CHARACTER}",
    }
    assert await database.read(read_texts, []) == {}


async def test_what_somebody_damaged_is_empty(database):
    await fill(database, captured(1))
    damage = update(stored.bodies).values(request=b"damaged")
    await database.transact(lambda connection: connection.execute(damage))
    found = await database.read(read_bodies, Place("r1", 1.0))
    assert (found.request, found.answer) == (b"", b"answer")
    assert await database.read(read_texts, [Place("r1", 1.0)]) == {Place("r1", 1.0): "\nanswer"}
