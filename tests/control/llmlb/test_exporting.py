"""The export: whole, in pieces, and not more than two at a time."""

import csv
import io
import json
from typing import Any

import pytest

from mrproxy.control.llmlb import exporting
from mrproxy.control.llmlb.exporting import FORMS, HistoryExport
from mrproxy.storage.records import Page, RecordFilter
from tests.control.llmlb.conftest import Desk
from tests.control.llmlb.records import add, made

EXPORT = "/dashboard/request-responses/export"
HEAD = (
    "id,timestamp,request_type,model,runtime_id,runtime_machine_name,runtime_ip,client_ip,duration_ms,status,"
    "completed_at"
)


async def text_of(desk: Desk, query: str = "") -> tuple[str, Any]:
    response = await desk.ask("GET", f"{EXPORT}{query}")
    assert response.status_code == 200
    return (await response.get_data()).decode(), response.headers


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("page", [1, 2, 1000])
async def test_every_record_is_there_once(desk: Desk, monkeypatch: pytest.MonkeyPatch, count: int, page: int) -> None:
    monkeypatch.setattr(exporting, "PAGE_RECORDS", page)
    if count:
        await add(desk, *(made(number) for number in range(count)))
    expected = [f"r-{number}" for number in reversed(range(count))]
    text, headers = await text_of(desk)
    assert text.split("\r\n")[0] == HEAD
    assert [line["id"] for line in csv.DictReader(io.StringIO(text, newline=""))] == expected
    assert headers["Content-Disposition"] == 'attachment; filename="request_history.csv"'
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    text, headers = await text_of(desk, "?format=json")
    assert [each["id"] for each in json.loads(text)] == expected
    assert headers["Content-Disposition"] == 'attachment; filename="request_history.json"'


async def test_filters_hold(desk: Desk) -> None:
    await add(desk, made(0), made(1, status=500))
    assert [each["id"] for each in json.loads((await text_of(desk, "?format=json&status=error"))[0])] == ["r-1"]


async def test_another_format_is_none(desk: Desk) -> None:
    assert (await desk.refused("GET", f"{EXPORT}?format=xml"))[0] == 400


class Away:
    """A call whose database is away for so many questions."""

    def __init__(self, desk: Desk, times: int) -> None:
        self.plane = desk.house.plane
        self.times = times

    async def read(self, *args: object) -> Page:
        self.times -= 1
        if self.times >= 0:
            raise exporting.Problem("database", "The database is away.")
        return Page([], None)


async def test_a_database_that_is_away_for_a_moment_is_asked_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "RETRY_SECONDS", (0.0, 0.0))
    call: Any = Away(desk, 2)
    export = HistoryExport(call, RecordFilter(), "json", {})
    assert [piece async for piece in export] == [b"[]"]
    call = Away(desk, 3)
    export = HistoryExport(call, RecordFilter(), "json", {})
    with pytest.raises(exporting.Problem):
        await anext(export)
    await export.aclose()


async def test_two_at_a_time(desk: Desk) -> None:
    call: Any = Away(desk, 0)
    running = [HistoryExport(call, RecordFilter(), form, {}) for form in FORMS]
    assert (await desk.refused("GET", EXPORT))[0] == 429
    for each in running:
        await each.aclose()
    assert (await text_of(desk))[0].startswith("id,")
