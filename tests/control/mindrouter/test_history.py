"""Requests that were made, in MindRouter's words."""

import json

from mrproxy.control.mindrouter import history
from mrproxy.control.mindrouter.values import configured_number
from mrproxy.control.permissions import Role
from mrproxy.link.capture import CapturedBodies
from mrproxy.storage.bodies import insert_bodies
from mrproxy.storage.bodies import row_of as body_row
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record

DAY = 86_400.0
ASKED = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Where is the NEEDLE?"}], "top_p": 1})
SAID = json.dumps({"choices": [{"message": {"content": "Here."}, "finish_reason": "stop"}]})
MADE = [
    a_record(
        request_id=f"r{number}",
        started_utc=number * DAY,
        user=("ann", "configured", "")[number % 3],
        backend=("gpu-a", "gone")[number % 2],
        status=(200, 499)[number == 4],
        code=("", "client_departed")[number == 4],
        queue_seconds=0.5,
        total_seconds=2.0,
    )
    for number in range(6)
]


async def fill(connection):
    await connection.execute(records.insert(), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in MADE])
    captured = CapturedBodies("r3", 3 * DAY, "k", "ann", "m", 200, ASKED, False, SAID, False)
    await insert_bodies(connection, [body_row(captured)])


def ids(found) -> list[str]:
    return [each["request_uuid"] for each in found["results"]]


async def test_requests_are_found_newest_first_and_counted(desk):
    ann = await desk.user()
    await desk.do(fill)
    found = await desk.done("GET", "/audit/search?skip=1&limit=2")
    assert (found["total"], found["total_is_exact"], found["skip"], found["limit"]) == (6, True, 1, 2)
    assert ids(found) == ["r4", "r3"]
    assert found["results"][0] == {
        "id": 5,
        "request_uuid": "r4",
        "user_id": configured_number("configured"),
        "endpoint": "openai/chat",
        "model": "llama3.2:3b",
        "status": "cancelled",
        "is_streaming": True,
        "prompt_tokens": 120,
        "completion_tokens": 64,
        "total_time_ms": 2000,
        "created_at": "1970-01-05T00:00:00+00:00",
        "backend_id": configured_number("gpu-a"),
    }
    assert (found["results"][1]["user_id"], found["results"][1]["backend_id"]) == (ann, None)


async def test_requests_are_narrowed(desk):
    ann = await desk.user()
    await desk.do(fill)
    for query, wanted in (
        (f"user_id={ann}", ["r3", "r0"]),
        (f"user_id={configured_number('configured')}", ["r4", "r1"]),
        ("user_id=77", []),
        ("status=cancelled", ["r4"]),
        ("status=queued", []),
        ("start_date=1970-01-02&end_date=1970-01-03", ["r1"]),
        ("model=other", []),
        ("search_text=needle", ["r3"]),
        ("search_text=R5", ["r5"]),
        ("search_text=nothing", []),
    ):
        found = await desk.done("GET", f"/audit/search?{query}")
        assert (ids(found), found["total"]) == (wanted, len(wanted)), query
    for query in ("status=x", "start_date=soon", "limit=1001", "skip=-1"):
        assert (await desk.refused("GET", f"/audit/search?{query}"))[0] == 422


async def test_a_search_says_when_it_did_not_look_at_all(desk, monkeypatch):
    await desk.do(fill)
    monkeypatch.setattr(history, "MOST_STRETCHES", 1)
    found = await desk.done("GET", "/audit/search?search_text=r&limit=2")
    assert (found["total"], found["total_is_exact"]) == (2, False)


async def test_one_request_is_shown_with_what_was_said(desk):
    await desk.do(fill)
    (found,) = (await desk.done("GET", "/audit/search?search_text=needle"))["results"]
    details = await desk.done("GET", f"/audit/{found['id']}")
    request = details["request"]
    assert request["messages"] == [{"role": "user", "content": "Where is the NEEDLE?"}]
    assert (request["parameters"], request["queue_delay_ms"], request["processing_time_ms"]) == (
        {"top_p": 1},
        500,
        1500,
    )
    assert (request["total_tokens"], request["tokens_estimated"], request["client_ip"]) == (184, False, "127.0.0.1")
    assert details["response"] == {
        "content": "Here.",
        "finish_reason": "stop",
        "chunk_count": 1,
        "structured_output_valid": None,
        "validation_errors": None,
    }
    without = await desk.done("GET", f"/audit/{found['id'] + 1}")
    assert (without["response"], without["request"]["messages"], without["request"]["error_message"]) == (
        None,
        None,
        "client_departed",
    )
    assert await desk.refused("GET", "/audit/999") == (404, "Request not found")
    desk.be(Role.MEMBER)
    assert (await desk.refused("GET", f"/audit/{found['id']}"))[0] == 403
