"""`/dashboard/request-responses`: pages, filters, details."""

import pytest

from mrproxy.control.api.actor import Actor, ActorKind
from mrproxy.control.llmlb.history import HistoryQuery
from mrproxy.control.llmlb.knowing import id_of
from mrproxy.control.permissions import Role
from mrproxy.storage.outcomes import COUNTED_RECORDS
from tests.control.llmlb.conftest import Desk
from tests.control.llmlb.records import add, keep_bodies, made

ALL = "/dashboard/request-responses"


async def ids(desk: Desk, query: str) -> list[str]:
    page = await desk.shown(f"{ALL}?{query}")
    assert page["total_count"] >= len(page["records"])
    return [each["id"] for each in page["records"]]


async def test_pages_have_numbers(desk: Desk) -> None:
    await add(desk, *(made(number) for number in range(12)))
    first = await desk.shown(ALL)
    assert (first["total_count"], first["page"], first["per_page"]) == (12, 1, 10)
    assert first["records"][0]["id"] == "r-11"
    assert await ids(desk, "page=2") == ["r-1", "r-0"]
    assert await ids(desk, "page=1&per_page=50") == [f"r-{number}" for number in reversed(range(12))]
    assert await ids(desk, "page=9") == []
    by_offset = await desk.shown(f"{ALL}?limit=3&offset=4")
    assert [each["id"] for each in by_offset["records"]] == ["r-7", "r-6", "r-5"]
    assert (by_offset["page"], by_offset["per_page"], by_offset["total_count"]) == (2, 3, 12)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"per_page": 11}, (0, 10, 1)),
        ({"page": 3, "per_page": 25}, (50, 25, 3)),
        ({"page": -1}, (0, 10, 1)),
        ({"page": 10**30, "per_page": 100}, ((COUNTED_RECORDS - 1) * 100, 100, COUNTED_RECORDS)),
        ({"limit": 5000}, (0, 1000, 1)),
        ({"limit": -5, "offset": -5}, (0, 1, 1)),
        ({"offset": 10**30}, (COUNTED_RECORDS, 10, COUNTED_RECORDS // 10 + 1)),
    ],
)
def test_a_page_that_cannot_be_is_another(query: dict[str, int], place: tuple[int, int, int]) -> None:
    assert HistoryQuery(**query).place() == place


async def test_filters(desk: Desk) -> None:
    await add(
        desk,
        made(0, model="Llama-3.2"),
        made(1, status=500),
        made(2, backend="gone"),
        made(3, client_address="192.0.2.9"),
    )
    assert await ids(desk, "model=llama") == ["r-0"]
    assert await ids(desk, "status=error") == ["r-1"]
    assert await ids(desk, "status=success&client_ip=192.0.2.9") == ["r-3"]
    for word in ("endpoint", "node", "runtime", "agent"):
        assert await ids(desk, f"{word}_id={id_of('gpu-a')}") == ["r-3", "r-1", "r-0"]
    assert await ids(desk, "endpoint_id=gone") == ["r-2"]
    assert await ids(desk, "start_time=2025-10-09T08:52:51Z&end_time=2025-10-09T08:52:52%2B00:00") == ["r-1"]


@pytest.mark.parametrize(
    "query",
    [
        "start_time=2025-10-10T00:00:00Z&end_time=2025-10-09T00:00:00Z",
        "start_time=yesterday",
        "status=odd",
    ],
)
async def test_a_filter_that_cannot_be_is_a_bad_request(desk: Desk, query: str) -> None:
    for path in (ALL, f"{ALL}/export"):
        assert (await desk.refused("GET", f"{path}?{query}"))[0] == 400


async def test_details_have_what_was_said(desk: Desk) -> None:
    record = made(0)
    await add(desk, record, made(1))
    await keep_bodies(desk, record, '{"messages": []}', '{"choices": []}')
    found = await desk.shown(f"{ALL}/r-0")
    assert (found["request_body"], found["response_body"]) == ({"messages": []}, {"choices": []})
    assert (await desk.shown(f"{ALL}/r-1"))["request_body"] is None
    assert await desk.refused("GET", f"{ALL}/none") == (404, "Record none not found")


async def test_prompts_need_a_permission_of_their_own(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    record = made(0, user="bob")
    await add(desk, record)
    await keep_bodies(desk, record, '"secret"', '"secret"')
    desk.house.actor = Actor(
        kind=ActorKind.KEY, name="k", key_id="k", roles=frozenset({Role.AUDITOR, Role.MEMBER}), scopes=("logs.read",)
    )
    assert (await desk.shown(f"{ALL}/r-0"))["request_body"] == "secret"
    desk.house.actor = Actor(
        kind=ActorKind.KEY, name="k", key_id="k", roles=frozenset({Role.AUDITOR, Role.MEMBER}), scopes=("metrics.read",)
    )
    assert await desk.status("GET", f"{ALL}/r-0") == 403
