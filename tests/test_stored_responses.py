"""Responses that callers come back to: stored when they are complete, for their owner, for a while."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from mrproxy.config import Key
from tests.fakes.behaviours import answer, answer_status, hang, reset, sized
from tests.fakes.caller import KEY, Answer, Caller, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import run_engine
from tests.fakes.speaking import DIALECTS, begins, speaks

pytestmark = pytest.mark.slow

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
RESPONSES = DIALECTS["responses"]


async def create(caller: Caller, text: str = "hi", *, stream: bool = False, key: str = KEY, **fields: Any) -> Answer:
    body = {"model": "m", "input": text, "stream": stream, **fields}
    await caller.send(request("/v1/responses", json.dumps(body).encode(), key=key))
    return await caller.read_answer()


def response_of(got: Answer, *, stream: bool = False) -> Any:
    """The response as it was at its end."""
    heard = RESPONSES.hear(got, stream=stream)
    assert heard.error is None
    return heard.events[-1]["response"] if stream else heard.events[-1]


async def call(caller: Caller, method: str, path: str, key: str = KEY) -> Answer:
    await caller.send(request(f"/v1/responses/{path}", method=method, key=key))
    return await caller.read_answer()


def count(gateway: Gateway) -> int:
    return gateway.stages.responses.statistics().entries


@STREAM
@pytest.mark.parametrize("kind", ["vllm", "ollama", "anthropic"])
async def test_a_response_is_created_read_continued_and_deleted(tmp_path: Path, kind: str, *, stream: bool) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("I am ", "five.")
        caller = await gateway.connect()
        first = response_of(
            await create(caller, "How old are you?", stream=stream, instructions="Be a child."), stream=stream
        )
        response_id = first["id"]
        assert (await call(caller, "GET", response_id)).json == first
        items = (await call(caller, "GET", f"{response_id}/input_items")).json
        assert [item["content"][0]["text"] for item in items["data"]] == ["How old are you?"]
        # Continued, with everything that was said, but for the instructions.
        engine.behaviour = speaks("Six.")
        second = response_of(
            await create(caller, "And next year?", stream=stream, previous_response_id=response_id), stream=stream
        )
        assert second["previous_response_id"] == response_id
        said = [(message["role"], text_of(message)) for message in engine.turns[-1].request.json["messages"]]
        assert said == [("user", "How old are you?"), ("assistant", "I am five."), ("user", "And next year?")]
        items = (await call(caller, "GET", f"{second['id']}/input_items")).json
        assert [item["content"][0]["text"] for item in items["data"]] == ["And next year?"]
        # Deleted, and what came of it is not.
        gone = await call(caller, "DELETE", response_id)
        assert (gone.status, gone.json) == (200, {"id": response_id, "object": "response", "deleted": True})
        for method, path in (("GET", response_id), ("DELETE", response_id), ("GET", f"{response_id}/input_items")):
            got = await call(caller, method, path)
            assert (got.status, "not found" in got.json["error"]["message"]) == (404, True)
        engine.behaviour = speaks("Seven.")
        third = await create(caller, "And then?", previous_response_id=second["id"])
        assert response_of(third)["id"] not in (first["id"], second["id"])
        assert len(engine.turns[-1].request.json["messages"]) == 5
        assert count(gateway) == 2


def text_of(message: Any) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_nobody_else_can_see_a_response(tmp_path: Path, method: str) -> None:
    keys = (Key(name="second", key="another-key", user="bob"), Key(name="third", key="a-lone-key"))
    async with run_engine() as engine, run_gateway(tmp_path, engine, keys=keys) as gateway:
        engine.behaviour = speaks("secret")
        caller = await gateway.connect()
        response_id = response_of(await create(caller))["id"]
        for key in ("another-key", "a-lone-key"):
            got = await call(caller, method, response_id, key=key)
            nothing = await call(caller, method, "resp_0", key=key)
            assert got.status == nothing.status == 404
            said = got.json["error"]["message"].replace(response_id, "resp_0")
            assert said == nothing.json["error"]["message"]
            assert (await call(caller, "GET", f"{response_id}/input_items", key=key)).status == 404
            asked = len(engine.turns)
            refused = await create(caller, key=key, previous_response_id=response_id)
            assert (refused.status, refused.json["error"]["param"]) == (400, "previous_response_id")
            assert len(engine.turns) == asked
        assert (await call(caller, "GET", response_id)).status == 200
        for path in (response_id, f"{response_id}/input_items"):
            await caller.send(request(f"/v1/responses/{path}", method="GET", key=None))
            assert (await caller.read_answer()).status == 401


async def test_another_key_of_the_same_user_sees_it(tmp_path: Path) -> None:
    keys = (Key(name="second", key="another-key", user="ada"),)
    async with run_engine() as engine, run_gateway(tmp_path, engine, keys=keys) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        response_id = response_of(await create(caller))["id"]
        assert (await call(caller, "GET", response_id, key="another-key")).status == 200


@STREAM
async def test_a_response_that_is_not_to_be_stored_is_not(tmp_path: Path, *, stream: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        response = response_of(await create(caller, stream=stream, store=False), stream=stream)
        assert response["store"] is False
        assert (await call(caller, "GET", response["id"])).status == 404
        refused = await create(caller, previous_response_id=response["id"])
        assert refused.status == 400
        assert count(gateway) == 0


@STREAM
async def test_an_unknown_response_cannot_be_continued(tmp_path: Path, *, stream: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        got = await create(caller, stream=stream, previous_response_id="resp_unknown")
        assert got.status == 400
        assert got.json["error"]["param"] == "previous_response_id"
        assert "resp_unknown" in got.json["error"]["message"]
        assert not engine.turns
        record = await gateway.last_record()
        assert (record.status, record.usage_state) == (400, "absent")


@STREAM
@pytest.mark.parametrize(
    "fault",
    [answer_status(500), answer_status(400), answer(sized(b"<html>")), begins("one", "two", then=reset)],
    ids=["500", "400", "page", "broken"],
)
async def test_a_response_that_failed_is_not_stored(tmp_path: Path, fault: Any, *, stream: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = fault
        caller = await gateway.connect()
        heard = RESPONSES.hear(await create(caller, stream=stream), stream=stream)
        assert heard.error
        assert count(gateway) == 0
        for value in heard.events:
            if "response" in value:
                other = await gateway.connect()
                assert (await call(other, "GET", value["response"]["id"])).status == 404


async def test_a_response_whose_client_left_is_not_stored(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = begins("one", then=hang)
        caller = await gateway.connect()
        await caller.send(RESPONSES.ask(stream=True))
        await caller.read_until(b"one")
        await caller.leave()
        await gateway.last_record()
        assert count(gateway) == 0


async def test_the_oldest_goes_when_there_are_too_many(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, response_max_count=3) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        ids = [response_of(await create(caller))["id"] for _ in range(5)]
        statuses = [(await call(caller, "GET", each)).status for each in ids]
        assert statuses == [404, 404, 200, 200, 200]


async def test_the_oldest_goes_when_they_are_too_large(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, response_max_bytes=1 << 20) as gateway:
        engine.behaviour = speaks("x" * 100_000)
        caller = await gateway.connect()
        ids = [response_of(await create(caller))["id"] for _ in range(10)]
        statuses = [(await call(caller, "GET", each)).status for each in ids]
        assert statuses[0] == 404
        assert statuses[-1] == 200
        assert statuses == sorted(statuses, reverse=True)
        assert gateway.stages.responses.statistics().size_bytes <= 1 << 20
        # Larger than all the room there is: answered, and not stored.
        engine.behaviour = speaks("x" * 2_000_000)
        response_id = response_of(await create(caller))["id"]
        assert (await call(caller, "GET", response_id)).status == 404
        assert (await call(caller, "GET", ids[-1])).status == 200


async def test_a_response_expires(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, response_keep_seconds=0.2) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        response_id = response_of(await create(caller))["id"]
        ((expires_at, _),) = gateway.stages.responses._entries.values()
        await wait_until(lambda: trio.current_time() > expires_at)
        assert (await call(caller, "GET", response_id)).status == 404
        assert (await create(caller, previous_response_id=response_id)).status == 400
        assert (await call(caller, "DELETE", response_id)).status == 404


async def test_two_requests_with_one_id_of_the_callers_are_two_responses(tmp_path: Path) -> None:
    """A caller may use its request id again, or guess another's: what is stored has an id of our own."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        ids = []
        for text in ("one", "two"):
            engine.behaviour = speaks(text)
            await caller.send(RESPONSES.ask("X-Request-Id: mine"))
            got = await caller.read_answer()
            assert got.headers["x-request-id"] == "mine"
            ids.append(response_of(got)["id"])
        assert ids[0] != ids[1]
        texts = [(await call(caller, "GET", each)).json["output"][0]["content"][0]["text"] for each in ids]
        assert texts == ["one", "two"]


async def test_a_continued_conversation_may_change_its_backend_and_lane(tmp_path: Path) -> None:
    """Also to one that serves Responses by itself, which knows nothing of what is stored here."""
    async with run_engine("engine-a") as a, run_engine("engine-b", "ollama") as b:
        a.pages["/v1/responses"] = 405, b"{}"
        a.behaviour = b.behaviour = speaks("hello")
        async with run_gateway(tmp_path, a, b, placement="round_robin") as gateway:
            caller = await gateway.connect()
            previous: dict[str, Any] = {}
            for turn in range(1, 5):
                got = await create(caller, f"turn {turn}", **previous)
                previous = {"previous_response_id": response_of(got)["id"]}
                assert got.headers["x-mrproxy-lane"] == "translating"
                engine = a if got.headers["x-mrproxy-backend"] == "engine-a" else b
                assert len(engine.turns[-1].request.json["messages"]) == 2 * turn - 1
            assert a.turns
            assert b.turns


async def test_what_is_listed_of_a_response_is_in_pages(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("hello")
        caller = await gateway.connect()
        texts = [f"part {number}" for number in range(5)]
        items = [{"role": "user", "content": text} for text in texts]
        body = {"model": "m", "input": items}
        await caller.send(request("/v1/responses", json.dumps(body).encode()))
        response_id = response_of(await caller.read_answer())["id"]
        seen: list[str] = []
        query = "order=asc&limit=2"
        while True:
            page = (await call(caller, "GET", f"{response_id}/input_items?{query}")).json
            seen += [item["content"][0]["text"] for item in page["data"]]
            if not page["has_more"]:
                break
            query = f"order=asc&limit=2&after={page['last_id']}"
        assert seen == texts
        for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=unknown"):
            got = await call(caller, "GET", f"{response_id}/input_items?{query}")
            assert got.status == 400, query
        assert (await call(caller, "GET", f"{response_id}?stream=true")).status == 400


async def test_other_methods_and_paths_are_refused(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        for method, path, status in (
            ("POST", "resp_1", 405),
            ("PUT", "resp_1", 405),
            ("DELETE", "resp_1/input_items", 405),
            ("GET", "resp_1/nonsense", 404),
            ("POST", "resp_1/cancel", 404),
        ):
            assert (await call(caller, method, path)).status == status, (method, path)
        got = await create(caller, background=True)
        assert got.status == 400
        assert not engine.turns
