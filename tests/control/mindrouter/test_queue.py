"""Queues of workers in MindRouter's words."""

from mrproxy.control.mindrouter.values import configured_number
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.control.api.conftest import NOW
from tests.link.journal_examples import a_record

MADE = [
    a_record(started_utc=NOW - 10, total_seconds=2.0, user="ann", model="m1", queue_seconds=0.5),
    a_record(started_utc=NOW - 10, total_seconds=4.0, user="bob", model="m1", queue_seconds=1.5),
    a_record(started_utc=NOW - 10, total_seconds=1.0, user="bob", model="m2", status=500),
    a_record(started_utc=NOW - 4000, user="old"),
]


async def fill(connection):
    await connection.execute(records.insert(), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in MADE])


async def test_who_waits_is_named_by_number(desk):
    ann = await desk.user()
    await desk.do(fill)
    found = await desk.done("GET", "/queue")
    assert desk.told == [("GET", "/queue")]
    queue = found["queue"]
    assert (queue["waiting"], queue["by_user"], queue["by_model"]) == (3, {str(ann): 2, "key:abc": 1}, {"m1": 3})
    assert queue["total"] == 3 + sum(found["backend_queues"].values())
    assert queue["average_wait_seconds"] == 0.667
    share = found["fair_share"]
    assert (share["total_users"], share["global_recent_tokens"], share["fairness_window_seconds"]) == (3, 552, 300)
    assert share["user_stats"][0] == {
        "user_id": ann,
        "username": "ann",
        "recent_tokens": 184,
        "weight": 2,
        "deficit": -5,
        "burst_credits": None,
        "active_requests": 1,
    }
    assert share["user_stats"][2]["username"] == "bob"
    assert str(configured_number("gpu-a")) in found["backend_queues"]


async def test_the_monitor_shows_capacity_and_how_long_it_took(desk):
    await desk.do(fill)
    found = await desk.done("GET", "/queue/monitor")
    assert (found["window_minutes"], found["queued"]) == (
        5,
        [{"model": "m1", "queued": 3, "oldest": None, "newest": None}],
    )
    capacity = found["capacity"]["m2"]
    assert [each["name"] for each in capacity["backends"]] == ["gpu-a", "gpu-b"]
    assert capacity["total_max_concurrent"] == sum(each["max_concurrent"] for each in capacity["backends"])
    assert found["by_model"][0] == {
        "model": "m1",
        "status": "completed",
        "count": 2,
        "min_s": 2.0,
        "avg_s": 3.0,
        "max_s": 4.0,
    }
    assert {(each["username"], each["status"]) for each in found["by_user"]} == {
        ("ann", "completed"),
        ("bob", "completed"),
        ("bob", "failed"),
    }
    assert (await desk.done("GET", "/queue/monitor?window=1440"))["by_user"][0]["count"] == 1
    assert (await desk.refused("GET", "/queue/monitor?window=0"))[0] == 422


async def test_a_worker_that_says_something_else_is_left_out(desk):
    desk.answers = {"0": b'{"flows": [{"flow": "user:ada"}]}', "1": b"[]", "2": b"\xff"}
    assert (await desk.done("GET", "/queue"))["queue"]["waiting"] == 0
