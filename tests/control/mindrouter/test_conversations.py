"""What was said, as one JSON array that is streamed."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.mindrouter.conversations import messages_of
from mrproxy.link.capture import CapturedBodies
from mrproxy.storage import bodies as stored
from mrproxy.storage.bodies import StoredBodies, insert_bodies
from mrproxy.storage.bodies import row_of as body_row
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record

DAY = 86_400.0


async def fill(connection):
    made, captured = [], []
    for number in range(7):
        user, model = ("ann", "bob")[number % 2], f"m{number % 2}"
        asked = json.dumps({"messages": [{"role": "user", "content": f"Question {number}?"}]})
        said = json.dumps({"choices": [{"message": {"content": f"Answer {number}."}}]})
        made.append(a_record(request_id=f"r{number}", started_utc=number * DAY, user=user, model=model))
        captured.append(CapturedBodies(f"r{number}", number * DAY, "k", user, model, 200, asked, False, said, False))
    await connection.execute(records.insert(), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in made])
    await insert_bodies(connection, [body_row(each) for each in captured])


async def test_what_was_said_is_exported_page_by_page(desk, monkeypatch):
    monkeypatch.setattr(stored.read_body_page, "__defaults__", (None, 3, False))
    assert await desk.done("GET", "/conversations/export") == []
    ann = await desk.user()
    await desk.do(fill)
    found = await desk.done("GET", "/conversations/export")
    assert [each["id"] for each in found] == [f"r{number}" for number in range(7)]
    assert found[1] == {
        "id": "r1",
        "username": "bob",
        "title": "Question 1?",
        "model": "m1",
        "created_at": "1970-01-02T00:00:00+00:00",
        "message_count": 2,
        "messages": [
            {"role": "user", "content": "Question 1?"},
            {"role": "assistant", "content": "Answer 1."},
        ],
    }
    for query, wanted in (
        (f"user_id_filter={ann}", ["r0", "r2", "r4", "r6"]),
        ("user_id_filter=99", []),
        ("model_filter=m1", ["r1", "r3", "r5"]),
        ("search=answer%205", ["r5"]),
        ("search=nothing", []),
        ("start_date=1970-01-02&end_date=1970-01-04", ["r1", "r2"]),
    ):
        found = await desk.done("GET", f"/conversations/export?{query}")
        assert [each["id"] for each in found] == wanted, query


async def test_without_content_nothing_that_was_said_is_shown(desk):
    await desk.do(fill)
    found = await desk.done("GET", "/conversations/export?include_content=false")
    assert (found[0]["messages"], found[0]["title"], found[0]["message_count"]) == (None, "", 2)
    assert "Question" not in str(found)
    for _ in range(3):  # each has ended for those that count them
        assert len(await desk.done("GET", "/conversations/export")) == 7


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_bodies_of_any_kind_are_messages(asked, said):
    for message in messages_of(StoredBodies("r", 0.0, "u", asked, False, said, False)):
        assert message.role in ("user", "assistant")
