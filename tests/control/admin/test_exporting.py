"""Exports: whole, bounded, and over when nobody listens."""

import csv
import io
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import trio
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin import exporting
from mrproxy.control.admin.exporting import Export
from mrproxy.control.admin.records import ENDPOINTS
from mrproxy.control.api.actor import owner
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Api
from mrproxy.control.api.exports import MOST_EXPORTS
from mrproxy.control.api.problem import Problem
from mrproxy.storage.export import FIELDS
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.records import RecordFilter
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.control.admin.test_records import member
from tests.control.api.conftest import House, home
from tests.link.journal_examples import a_record

__all__ = ["home"]

API = Api("/a", ENDPOINTS)
COUNT = 25
ALL = [f"r{number:02}" for number in range(COUNT)]


async def fill(connection: AsyncConnection) -> None:
    made = [
        a_record(request_id=each, started_utc=float(number), user=("ada", "=cmd|' /C calc'!A0")[number % 2])
        for number, each in enumerate(ALL)
    ]
    await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in made])


@pytest.fixture(autouse=True)
def short_pages(monkeypatch):
    monkeypatch.setattr(exporting, "PAGE_RECORDS", 4)


async def client_of(house: House) -> Any:
    await house.plane.store.transact(fill)
    return house.serve(API)


def export_of(house: House, form: str = "jsonl") -> Export:
    call = Call(actor=owner("r"), plane=house.plane, request=None, query=None)
    return Export(call, RecordFilter(), form)


def ids_of(pieces: bytes) -> list[str]:
    return [msgspec.json.decode(line)["request_id"] for line in pieces.splitlines()]


async def test_json_lines_have_all_records_oldest_first(home):
    answer = await (await client_of(home)).get("/a/records/export?format=jsonl")
    assert answer.status_code == 200
    assert answer.content_type == "application/jsonl"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="records.jsonl"'
    assert ids_of(await answer.get_data()) == ALL


async def test_csv_has_a_head_and_no_formula(home):
    answer = await (await client_of(home)).get("/a/records/export?format=csv&until=1970-01-01T00:00:04Z")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="records.csv"'
    head, *rows = csv.reader(io.StringIO(await answer.get_data(as_text=True), newline=""))
    assert tuple(head) == FIELDS
    assert [row[head.index("user")] for row in rows] == ["ada", "'=cmd|' /C calc'!A0"] * 2


async def test_a_member_exports_its_own(home):
    home.actor = member()
    client = await client_of(home)
    assert ids_of(await (await client.get("/a/records/export?format=jsonl")).get_data()) == ALL[::2]
    assert (await client.get("/a/records/export?user=bob")).status_code == 403


@pytest.mark.parametrize("query", ["format=xlsx", "format=../../etc/passwd", "limit=5", "name=x.csv"])
async def test_what_no_export_knows_is_refused(home, query):
    assert (await (await client_of(home)).get(f"/a/records/export?{query}")).status_code == 422


async def test_an_empty_table_is_an_empty_file_with_its_head(home):
    client = home.serve(API)
    assert await (await client.get("/a/records/export?format=jsonl")).get_data() == b""
    assert (await (await client.get("/a/records/export")).get_data()).count(b"\r\n") == 1


async def test_a_third_export_waits_for_its_turn_and_an_end_makes_room(home):
    client = await client_of(home)
    running = [export_of(home) for _ in range(MOST_EXPORTS)]
    refused = await client.get("/a/records/export")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "10"
    assert len(b"".join([piece async for piece in running[0]])) > 0
    assert (await client.get("/a/records/export")).status_code == 200
    for _ in range(3):
        assert (await client.get("/a/records/export")).status_code == 200


async def test_nothing_is_read_before_it_is_asked_for_and_no_transaction_is_open_between_pages(home):
    await home.plane.store.transact(fill)
    export = export_of(home)
    assert ids_of(await anext(export)) == ALL[:4]

    async def delete_all(connection: AsyncConnection) -> None:
        await connection.execute(records.delete().where(records.c.started_utc > 5))

    with trio.fail_after(5):
        await home.plane.store.transact(delete_all)
    assert ids_of(await anext(export)) == ALL[4:6]
    with pytest.raises(StopAsyncIteration):
        await anext(export)


class Flaky:
    """Fails before each page so many times."""

    def __init__(self, store: Any, failures: int) -> None:
        self.store, self.failures, self.left = store, failures, failures

    async def read(self, function: Any) -> Any:
        if self.left:
            self.left -= 1
            raise DatabaseUnavailable("gone")
        self.left = self.failures
        return await self.store.read(function)


async def test_a_database_that_comes_back_costs_time_and_no_record(home, monkeypatch):
    async def nap(_: float) -> None:
        await trio.lowlevel.checkpoint()

    await home.plane.store.transact(fill)
    plane = home.plane
    monkeypatch.setattr(exporting.trio, "sleep", nap)
    for failures, is_whole in ((0, True), (4, True), (5, False)):
        home.plane = replace(plane, store=Flaky(plane.store, failures))
        export = export_of(home)
        pieces: list[bytes] = []
        try:
            pieces += [piece async for piece in export]
        except DatabaseUnavailable:
            assert not is_whole
            await export.aclose()
        else:
            assert is_whole
            assert ids_of(b"".join(pieces)) == ALL


async def test_a_client_that_leaves_ends_it_and_makes_room(home):
    await home.plane.store.transact(fill)
    for _ in range(3 * MOST_EXPORTS):
        export = export_of(home, "csv")
        with trio.CancelScope() as scope:
            async for piece in export:
                if not piece.startswith(b"request_id"):
                    scope.cancel()
        assert scope.cancelled_caught
        await export.aclose()
    with pytest.raises(Problem, match="run already"):
        kept = [export_of(home) for _ in range(MOST_EXPORTS + 1)]
        assert not kept
