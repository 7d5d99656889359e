"""Anthropic's count_tokens of a model on another engine: its tokenizer is asked, or an estimate says so."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from mrproxy.config import Backend
from mrproxy.upstream import tokenizer
from tests.fakes.behaviours import answer_status, hang, reset, sized
from tests.fakes.caller import Answer, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, Turn, run_engine

pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "Hello there."}]
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}


async def count(gateway: Gateway, messages: list[Any] = HELLO, **fields: Any) -> Answer:
    caller = await gateway.connect()
    body = json.dumps({"model": "m", "messages": messages} | fields).encode()
    await caller.send(request("/v1/messages/count_tokens", body))
    return await caller.read_answer()


def says(**pages: dict[str, Any]) -> Behaviour:
    """By the last part of the path; anything else is not there."""

    async def behave(turn: Turn) -> None:
        page = pages.get(turn.request.path.rpartition("/")[2])
        await turn.send(sized(b"{}", status=404) if page is None else sized(json.dumps(page).encode()))

    return behave


def check_estimate(got: Answer) -> None:
    assert got.status == 200
    assert got.json["input_tokens"] > 0
    assert "estimate" in got.headers["warning"]


COUNTS: list[tuple[str, dict[str, Any], str]] = [
    ("vllm", {"render": {"token_ids": [1, 2, 3, 4, 5]}}, "/v1/chat/completions/render"),
    ("vllm", {"tokenize": {"count": 5}}, "/tokenize"),
    ("llamacpp", {"input_tokens": {"input_tokens": 5}}, "/v1/chat/completions/input_tokens"),
]


@pytest.mark.parametrize(("kind", "pages", "path"), COUNTS, ids=[path for _, _, path in COUNTS])
async def test_the_engine_counts_what_it_would_be_sent(
    tmp_path: Path, kind: str, pages: dict[str, Any], path: str
) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = says(**pages)
        got = await count(gateway, system="Be brief.")
        assert (got.status, got.json) == (200, {"input_tokens": 5})
        assert "warning" not in got.headers
        asked = engine.turns[-1].request
        assert asked.path == path
        assert [each["role"] for each in asked.json["messages"]] == ["system", "user"]
        record = await gateway.last_record()
        assert (record.status, record.prompt_tokens or 0) == (200, 0)


async def test_an_engine_that_serves_messages_is_asked_as_it_is_under_its_own_name(tmp_path: Path) -> None:
    async with run_engine(models=["own"]) as engine:
        engine.pages["/v1/messages"] = 405, b"{}"
        backend = Backend(kind="vllm", url=engine.url, name="engine-a", aliases={"m": "own"})
        async with run_gateway(tmp_path, backends=(backend,)) as gateway:
            engine.behaviour = says(count_tokens={"input_tokens": 9})
            assert (await count(gateway, system="Be brief.")).json == {"input_tokens": 9}
            asked = engine.turns[-1].request
            assert (asked.path, asked.json["model"], asked.json["system"]) == (
                "/v1/messages/count_tokens", "own", "Be brief.",
            )  # fmt: skip


@pytest.mark.parametrize("kind", ["ollama", "openai"])
async def test_an_engine_without_a_tokenizer_is_not_asked(tmp_path: Path, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        check_estimate(await count(gateway))
        assert not engine.turns


@pytest.mark.parametrize(
    "behaviour", [answer_status(404), answer_status(500), reset(), hang()], ids=["404", "500", "reset", "silence"]
)
async def test_without_an_answer_the_estimate_says_that_it_is_one(
    tmp_path: Path, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "ASKING_SECONDS", 0.05)
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = behaviour
        check_estimate(await count(gateway))
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 0


async def test_what_the_engine_cannot_be_told_is_estimated(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        check_estimate(await count(gateway, [{"role": "user", "content": [PDF]}]))
        assert not engine.turns


async def test_a_burst_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "MAX_ASKING", 0)
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        check_estimate(await count(gateway))
        assert not engine.turns


async def test_who_comes_in_the_same_moment_finds_no_more_room_than_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "MAX_ASKING", 1)
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = says(render={"token_ids": [1, 2, 3]})
        callers = [await gateway.connect() for _ in range(5)]
        await wait_until(lambda: len(gateway.door.clients) == 5)
        asked = request("/v1/messages/count_tokens", json.dumps({"model": "m", "messages": HELLO}).encode())
        for caller in callers:
            caller.stream.socket._sock.send(asked)  # type: ignore[attr-defined]  # all before any is looked at
        answers = [await caller.read_answer() for caller in callers]
        assert sum("warning" not in got.headers for got in answers) == len(engine.turns) == 1


async def test_a_mistake_is_the_callers(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        got = await count(gateway, [{"role": "nobody", "content": "x"}])
        assert (got.status, got.json["error"]["type"]) == (400, "invalid_request_error")
        assert not engine.turns


async def test_a_caller_who_leaves_meanwhile_leaves_nothing_behind(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        goes_on = trio.Event()

        async def behave(turn: Turn) -> None:
            await goes_on.wait()
            await turn.send(sized(b'{"token_ids":[1]}'))

        engine.behaviour = behave
        caller = await gateway.connect()
        await caller.send(request("/v1/messages/count_tokens", json.dumps({"model": "m", "messages": HELLO}).encode()))
        await engine.wait_turn()
        await caller.leave()
        assert (await gateway.last_record()).code == "client_departed"
        goes_on.set()
