"""What a request refers to is found before its turn: in memory, else in the database; nothing else waits for it."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from mrproxy.config import Key
from mrproxy.link.state import DeleteResponse, FindResponse, ReadItems, TooLarge
from tests.fakes.caller import KEY, Answer, Caller, request
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.keeper import Keeper, run_keeper
from tests.fakes.loop_engine import FakeEngine, run_engine
from tests.fakes.speaking import speaks

pytestmark = pytest.mark.slow

OTHER = Key(name="second", key="another-key", user="bob")
NOBODYS = f"resp_{'0' * 32}"


async def create(caller: Caller, text: Any = "hi", key: str = KEY, **fields: Any) -> Answer:
    body = json.dumps({"model": "m", "input": text, **fields}).encode()
    await caller.send(request("/v1/responses", body, key=key))
    return await caller.read_answer()


async def call(caller: Caller, method: str, path: str, key: str = KEY, body: Any = None) -> Answer:
    await caller.send(
        request(f"/v1/{path}", b"" if body is None else json.dumps(body).encode(), method=method, key=key)
    )
    return await caller.read_answer()


def forget(gateway: Gateway) -> None:
    """As a worker that has just begun."""
    gateway.stages.responses.expire(float("inf"))


def asked(engine: FakeEngine) -> list[str]:
    """What the engine was told last."""
    messages = engine.turns[-1].request.json["messages"]
    return [each["content"] if isinstance(each["content"], str) else each["content"][0]["text"] for each in messages]


async def test_a_chain_that_memory_has_lost_is_continued(tmp_path: Path) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        engine.behaviour = speaks("yes")
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            caller = await gateway.connect()
            first = (await create(caller, "one")).json["id"]
            second = (await create(caller, "two", previous_response_id=first)).json["id"]
            assert keeper.questions == []  # what memory has is asked of nobody
            forget(gateway)
            third = (await create(caller, "three", previous_response_id=second, instructions="Be kind.")).json["id"]
            assert asked(engine) == ["Be kind.", "one", "yes", "two", "yes", "three"]
            assert keeper.questions == [FindResponse("user:ada", second, True)]
            # The new one is in memory, with all before it.
            await create(caller, "four", previous_response_id=third)
            assert asked(engine) == ["one", "yes", "two", "yes", "three", "yes", "four"]
            assert len(keeper.questions) == 1


async def test_what_is_in_memory_or_alone_waits_for_no_database(tmp_path: Path) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        engine.behaviour = speaks("yes")
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            keeper.is_away = True
            caller = await gateway.connect()
            first = (await create(caller)).json["id"]
            assert (await create(caller, previous_response_id=first)).status == 200
            assert (await create(caller, store=False)).status == 200
            assert (await call(caller, "GET", f"responses/{first}")).status == 200
            assert (await call(caller, "DELETE", f"responses/{first}")).status == 200
            for path in ("responses/x", "responses/resp_x", "responses/x/input_items"):
                assert (await call(caller, "GET", path)).status == 404  # nobody ever made such an id
            assert keeper.questions == []


@pytest.mark.parametrize("is_gone", [False, True], ids=["database away", "control plane away"])
async def test_what_needs_the_database_is_503_while_it_is_away(tmp_path: Path, *, is_gone: bool) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        engine.behaviour = speaks("yes")
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            caller = await gateway.connect()
            first = (await create(caller)).json["id"]
            forget(gateway)
            keeper.is_away = True
            if is_gone:
                (tmp_path / "run" / "control.sock").rename(tmp_path / "run" / "elsewhere")
            turns = len(engine.turns)
            for got in (
                await call(caller, "GET", f"responses/{first}"),
                await call(caller, "GET", f"responses/{first}/input_items"),
                await call(caller, "DELETE", f"responses/{first}"),
                await create(caller, previous_response_id=first),
                await create(caller, conversation=f"conv_{'0' * 32}"),
                await create(caller, [{"type": "item_reference", "id": f"msg_{first[5:]}_0"}]),
            ):
                assert (got.status, got.json["error"]["code"]) == (503, "control_unavailable")
                assert int(got.headers["retry-after"]) >= 1
            assert len(engine.turns) == turns
            assert not gateway.leftovers()
            if is_gone:
                (tmp_path / "run" / "elsewhere").rename(tmp_path / "run" / "control.sock")
            keeper.is_away = False
            assert (await call(caller, "GET", f"responses/{first}")).json["id"] == first


async def test_deleting_reaches_the_database_in_either_way(tmp_path: Path) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        engine.behaviour = speaks("yes")
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            caller = await gateway.connect()
            first, second = [(await create(caller)).json["id"] for _ in range(2)]
            assert (await call(caller, "DELETE", f"responses/{first}")).status == 200
            forget(gateway)
            assert (await call(caller, "DELETE", f"responses/{second}")).status == 200
            assert keeper.questions == [DeleteResponse("user:ada", second)]
            for name in (first, second, NOBODYS):
                assert (await call(caller, "GET", f"responses/{name}")).status == 404
                assert (await call(caller, "DELETE", f"responses/{name}")).status == 404
                got = await create(caller, previous_response_id=name)
                assert (got.status, got.json["error"]["param"]) == (400, "previous_response_id")


async def test_items_of_responses_that_memory_has_lost_may_be_referred_to(tmp_path: Path) -> None:
    async with run_keeper(tmp_path), run_engine() as engine:
        engine.behaviour = speaks("yes")
        keys = (OTHER,)
        async with run_gateway(tmp_path, engine, records=True, keys=keys) as gateway:
            caller = await gateway.connect()
            made = [(await create(caller, text)).json for text in ("one", "two")]
            forget(gateway)
            references = [{"type": "item_reference", "id": each["output"][0]["id"]} for each in made]
            references.append({"type": "item_reference", "id": f"msg_{made[0]['id'][5:]}_i0"})
            assert (await create(caller, [*references, {"role": "user", "content": "x"}])).status == 200
            assert asked(engine) == ["yes", "yes", "one", "x"]
            stolen = await create(caller, references, key="another-key")
            assert (stolen.status, stolen.json["error"]["param"]) == (400, "input[0]")
            got = await call(caller, "POST", "conversations", body={"items": references})
            assert got.status == 200


async def test_a_conversation_is_told_and_grows(tmp_path: Path) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        engine.behaviour = speaks("yes")
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            caller = await gateway.connect()
            items = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "one"}]
            name = (await call(caller, "POST", "conversations", body={"items": items})).json["id"]
            first = await create(caller, "two", conversation=name, instructions="Now.")
            assert asked(engine) == ["Now.\n\nBe kind.", "one", "two"]
            assert first.json["conversation"] == {"id": name}
            await create(caller, "three", conversation={"id": name}, store=False)
            assert asked(engine) == ["Be kind.", "one", "two", "yes", "three"]
            assert keeper.questions.count(ReadItems("user:ada", name)) == 2
            got = await create(caller, "x", previous_response_id=first.json["id"])
            assert (got.status, got.json["error"]["param"]) == (400, "previous_response_id")


async def test_a_conversation_that_is_not_there_is_404(tmp_path: Path) -> None:
    async with run_keeper(tmp_path), run_engine() as engine:
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            caller = await gateway.connect()
            for name in ("conv_x", f"conv_{'0' * 32}"):
                got = await create(caller, conversation=name)
                assert (got.status, got.json["error"]["type"]) == (404, "not_found_error")
                assert "not found" in got.json["error"]["message"]
            assert not engine.turns


async def test_what_is_too_large_to_be_continued_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        async with run_gateway(tmp_path, engine, records=True) as gateway:

            async def too_large(question: object) -> TooLarge:
                return TooLarge()

            monkeypatch.setattr(keeper.real, "answer", too_large)
            caller = await gateway.connect()
            for fields in ({"conversation": f"conv_{'0' * 32}"}, {"previous_response_id": NOBODYS}):
                got = await create(caller, **fields)
                assert (got.status, "large" in got.json["error"]["message"]) == (400, True)


async def test_without_a_database_conversations_are_refused(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        got = await create(caller, conversation=f"conv_{'0' * 32}")
        assert (got.status, got.json["error"]["param"]) == (400, "conversation")
        assert not engine.turns


async def test_a_caller_that_leaves_while_it_is_asked_for_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked = trio.Event()

    async def hang(self: Keeper, question: object) -> None:
        is_asked.set()
        await trio.sleep_forever()

    monkeypatch.setattr(Keeper, "answer", hang)
    async with run_keeper(tmp_path), run_engine() as engine:
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            caller = await gateway.connect()
            body = json.dumps({"model": "m", "input": "x", "previous_response_id": NOBODYS}).encode()
            await caller.send(request("/v1/responses", body))
            with trio.fail_after(15):
                await is_asked.wait()
            await caller.leave()
            record = await gateway.last_record()
            assert record.status == 499
            assert not engine.turns


async def test_a_disk_that_takes_nothing_reaches_no_request(tmp_path: Path) -> None:
    async with run_keeper(tmp_path), run_engine() as engine:
        engine.behaviour = speaks("yes")
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            archive = gateway.stages.archive
            assert archive is not None
            archive.spool._directory = tmp_path / "nowhere"
            caller = await gateway.connect()
            first = (await create(caller)).json["id"]
            assert (await call(caller, "GET", f"responses/{first}")).status == 200
            assert archive.spool.lost == 1
