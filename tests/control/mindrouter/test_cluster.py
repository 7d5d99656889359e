"""How much goes through: sums for everybody, names for those who may."""

from dataclasses import replace

from mrproxy.control.permissions import Role
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from mrproxy.storage.usage import add_sums, sums_of
from tests.control.api.conftest import NOW
from tests.link.journal_examples import a_record

DAY = 86_400.0
MADE = [
    a_record(started_utc=NOW - 5, total_seconds=1.0, user="ann"),
    a_record(started_utc=NOW - 5, total_seconds=1.0, user=""),
    a_record(started_utc=NOW - 1800, user="bob", prompt_tokens=1000),
    a_record(started_utc=NOW - 3 * DAY, user="bob"),
]


async def fill(connection):
    rows = [row_of(each, 0.0) for each in MADE]
    await connection.execute(records.insert(), [dict(zip(COLUMNS, row, strict=True)) for row in rows])
    await add_sums(connection, sums_of(rows))


async def test_sums_are_public_and_name_nobody(desk):
    await desk.do(fill)
    desk.be()
    assert await desk.done("GET", "/api/cluster/total-tokens") == {
        "prompt_tokens": 1360,
        "completion_tokens": 256,
        "total_tokens": 1616,
    }
    found = await desk.done("GET", "/api/cluster/throughput")
    assert (found["tokens_per_second"], found["requests_per_minute"]) == (36.8, 12)
    assert (found["total_tokens_last_10s"], found["inflight_tokens"]) == (368, None)
    assert found["active_requests"] >= 0


async def test_trends_are_by_minute_hour_and_day(desk):
    await desk.do(fill)
    hour = await desk.done("GET", "/api/cluster/trends?range=hour")
    assert [(each["v"], each["prompt_tokens"]) for each in hour["tokens"]] == [(1064, 1000), (368, 240)]
    assert [each["v"] for each in hour["users"]] == [1, 2]
    assert (hour["range"], hour["now"]) == ("hour", "2025-10-09T08:53:20+00:00")
    assert (await desk.done("GET", "/api/cluster/trends"))["range"] == "day"
    for name in ("week", "month", "year"):
        found = await desk.done("GET", f"/api/cluster/trends?range={name}")
        assert [each["v"] for each in found["tokens"]] == [184, 1432]
        assert found["tokens"][0]["t"] == "2025-10-06T00:00:00+00:00"
        assert [each["v"] for each in found["users"]] == [1, 3]
    assert (await desk.refused("GET", "/api/cluster/trends?range=decade"))[0] == 422


async def test_sums_are_asked_for_once_in_a_while(desk):
    first = await desk.done("GET", "/api/cluster/total-tokens")
    await desk.do(fill)
    assert await desk.done("GET", "/api/cluster/total-tokens") == first


async def test_who_used_most_is_for_those_who_may(desk):
    await desk.do(fill)
    ann = await desk.user()
    found = await desk.done("GET", "/top-users")
    assert (found["window"], found["window_seconds"]) == ("1h", 3600)
    assert [(each["username"], each["user_id"], each["total_tokens"]) for each in found["users"]] == [
        ("bob", None, 1064),
        ("ann", ann, 184),
    ]
    status, detail = await desk.refused("GET", "/top-users?window=2h")
    assert (status, detail) == (400, "Invalid window. Choose from: 1m, 1h, 4h, 12h, 24h")
    desk.be(Role.MEMBER)
    assert (await desk.refused("GET", "/top-users"))[0] == 403


async def test_without_a_database_it_is_said(desk):
    desk.house.plane = replace(desk.house.plane, store=None)
    desk.client = desk.house.serve(*desk.apis())
    assert (await desk.refused("GET", "/api/cluster/total-tokens"))[0] == 503
    assert [each["name"] for each in await desk.done("GET", "/backends")] == ["gpu-a"]
