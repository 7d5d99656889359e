"""A translated stream ends when the engine says so. That its body goes on is between the engine and us."""

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.upstream.rest import Rest
from tests.fakes.behaviours import LAST_CHUNK, chunk
from tests.fakes.caller import request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import FakeEngine, Turn, run_engine
from tests.fakes.speaking import DIALECTS, speaks, stream_pieces

pytestmark = pytest.mark.slow

FOREIGN = [
    ("openai", "anthropic"),
    ("completions", "anthropic"),
    ("anthropic", "vllm"),
    ("anthropic", "ollama"),
    ("responses", "vllm"),
    ("responses", "anthropic"),
    ("ollama", "vllm"),
    ("ollama", "anthropic"),
    ("generate", "vllm"),
]
PAIRS = pytest.mark.parametrize(("name", "kind"), FOREIGN, ids=[f"{name} to {kind}" for name, kind in FOREIGN])
ENGINE_PATHS = {"vllm": "/v1/chat/completions", "ollama": "/api/chat", "anthropic": "/v1/messages"}


class Lingering:
    """An engine whose stream says that it has ended, and whose body goes on until it is told to end."""

    def __init__(self, engine: FakeEngine, kind: str) -> None:
        self.rest = LAST_CHUNK
        self.closes = False
        self._may_end = trio.Event()
        self._pieces = stream_pieces(ENGINE_PATHS[kind], ("one", "two"))[:-1]
        engine.behaviour = self._behave

    def end(self) -> None:
        self._may_end.set()

    async def _behave(self, turn: Turn) -> None:
        for piece in self._pieces:
            await turn.send(piece)
            await wait_all_tasks_blocked()
        await self._may_end.wait()
        await turn.send(self.rest)
        if self.closes:
            await turn.close()


async def hear_all(gateway: Gateway, name: str, line: str = "") -> None:
    """The whole answer, its end and its record, while the engine's body is still open."""
    caller = await gateway.connect()
    await caller.send(DIALECTS[name].ask(*([line] if line else []), stream=True))
    got = await caller.read_answer()
    heard = DIALECTS[name].hear(got, stream=True)
    assert (heard.text, heard.error) == ("onetwo", None)
    record = await gateway.last_record()
    assert (record.status, record.code, record.usage_state, record.completion_tokens) == (200, "", "exact", 2)
    assert gateway.backend().in_flight == 0
    # The caller's connection goes on at once, on another one to the engine.
    await caller.send(request("/v1/models", method="GET"))
    assert (await caller.read_answer()).status == 200


@PAIRS
async def test_the_caller_does_not_wait_for_the_end_of_the_engines_body(tmp_path: Path, name: str, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        lingering = Lingering(engine, kind)
        await hear_all(gateway, name)
        pool = gateway.backend().pool
        assert (pool.open_connections, pool.idle_connections) == (1, 0)
        lingering.end()
        await wait_until(lambda: pool.idle_connections == 1)
        engine.behaviour = speaks("three")
        caller = await gateway.connect()
        await caller.send(DIALECTS[name].ask())
        assert DIALECTS[name].hear(await caller.read_answer()).text == "three"
        assert pool.open_connections == 1


@pytest.mark.parametrize(
    ("rest", "closes"),
    [(b"", True), (b"no chunk\r\n", False), (LAST_CHUNK + b"more", False), (chunk(b"x" * 70_000), False)],
    ids=["closed", "no coding", "something follows", "much"],
)
async def test_what_comes_after_the_end_is_no_trouble_of_the_callers(tmp_path: Path, rest: bytes, closes: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        lingering = Lingering(engine, "vllm")
        lingering.rest, lingering.closes = rest, closes
        await hear_all(gateway, "anthropic")
        lingering.end()
        await wait_until(lambda: not gateway.backend().pool.open_connections)
        assert len(gateway.records()) == 1
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 0


async def test_an_engine_that_never_ends_its_body_loses_the_connection(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        Lingering(engine, "vllm")
        await hear_all(gateway, "anthropic")
        (rest,) = gateway.backend().pump.relays
        rest.check(trio.current_time() + 60)
        assert not gateway.backend().pool.open_connections


async def test_a_bug_in_reading_the_rest_ends_the_connection_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        lingering = Lingering(engine, "vllm")
        await hear_all(gateway, "anthropic")
        monkeypatch.setattr(Rest, "_has_ended", lambda rest, data: 1 / 0)
        lingering.end()
        await wait_until(lambda: gateway.log.events("unexpected error"))
        assert not gateway.backend().pool.open_connections
        gateway.expected_crashes = 1


async def test_an_answer_in_http_1_0_ends_with_its_connection(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        lingering = Lingering(engine, "vllm")
        caller = await gateway.connect()
        asked = DIALECTS["anthropic"].ask(stream=True).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
        await caller.send(asked)
        raw = await caller.read_to_end()
        assert b"message_stop" in raw
        lingering.end()
