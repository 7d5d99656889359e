"""Signs of life while a backend is silent: before the first byte, between two events, and nowhere else."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.link.capture import CaptureReader, capture_segments
from mrproxy.upstream.pump import Relay
from tests.fakes.behaviours import LAST_CHUNK, STREAM_HEAD, answer, answer_status, chunk, event, hang, sized
from tests.fakes.caller import Caller
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine
from tests.fakes.speaking import DIALECTS, document, speaks, stream_pieces

pytestmark = pytest.mark.slow

COMMENT = b": ping\n\n"
ANTHROPICS = b'event: ping\ndata: {"type": "ping"}\n\n'
PINGS = {"openai": COMMENT, "completions": COMMENT, "responses": COMMENT, "anthropic": ANTHROPICS}
# Dialects of callers with pings, in both lanes.
LANES = [
    ("openai", "vllm"),
    ("openai", "anthropic"),
    ("completions", "vllm"),
    ("anthropic", "anthropic"),
    ("anthropic", "vllm"),
    ("anthropic", "ollama"),
    ("responses", "vllm"),
    ("responses", "ollama"),
]
BOTH_LANES = pytest.mark.parametrize(("name", "kind"), LANES, ids=[f"{name} to {kind}" for name, kind in LANES])
SILENT = [("ollama", "ollama"), ("ollama", "vllm"), ("generate", "vllm")]
QUICK: dict[str, Any] = {"ping_seconds": 0.01}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is silent is looked for all the time."""
    monkeypatch.setattr("mrproxy.upstream.registry.SWEEP_SECONDS", 0.01)


class Patience:
    """An engine that says each of its pieces when it is told to."""

    def __init__(self) -> None:
        self._events: list[trio.Event] = []

    def say(self) -> None:
        self._events.pop(0).set()

    def behaviour(self, *pieces: bytes) -> Behaviour:
        events = [trio.Event() for _ in pieces]
        self._events += events

        async def behave(turn: Turn) -> None:
            for piece, said in zip(pieces, events, strict=True):
                await said.wait()
                await turn.send(piece)

        return behave


def sweep(gateway: Gateway, engine: FakeEngine, seconds: float = 1000.0) -> None:
    """As if so much time had passed in silence: the sweep that looks for what is late."""
    for relay in list(gateway.backend(engine.name).pump.relays):
        relay.check(relay.last_at + seconds)


ENGINE_PATHS = {"vllm": "/v1/chat/completions", "ollama": "/api/chat", "anthropic": "/v1/messages"}


def pieces_for(name: str, kind: str, *texts: str) -> list[bytes]:
    path = "/v1/completions" if (name, kind) == ("completions", "vllm") else ENGINE_PATHS[kind]
    return stream_pieces(path, texts)


async def begin(gateway: Gateway, name: str, **fields: Any) -> Caller:
    caller = await gateway.connect()
    await caller.send(DIALECTS[name].ask(stream=True, **fields))
    return caller


# Before the first byte


@BOTH_LANES
async def test_a_silent_backend_is_a_head_and_a_ping_and_then_its_answer(tmp_path: Path, name: str, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        patience = Patience()
        engine.behaviour = patience.behaviour(b"".join(pieces_for(name, kind, "one", "two")))
        caller = await begin(gateway, name)
        raw = await caller.read_until(PINGS[name] + b"\r\n")
        assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\ncontent-type: text/event-stream; charset=utf-8\r\n" in raw
        assert b"\r\nx-request-id: " in raw
        patience.say()
        caller.data[:0] = raw
        got = await caller.read_answer()
        heard = DIALECTS[name].hear(got, stream=True)
        assert (heard.text, heard.error) == ("onetwo", None)
        assert heard.pings >= 1
        assert got.raw.count(b"HTTP/1.1") == 1
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (200, "", "exact")
        # And the connection goes on.
        engine.behaviour = speaks("three")
        await caller.send(DIALECTS[name].ask())
        assert DIALECTS[name].hear(await caller.read_answer()).text == "three"


@BOTH_LANES
@pytest.mark.parametrize(
    "fault",
    [
        answer_status(400),
        answer_status(503),
        answer(closes=True),
        answer(sized(b'{"error":{"message":"no"}}', status=500)),
    ],
    ids=["400", "503", "closed", "500"],
)
async def test_an_error_after_a_ping_is_an_event(tmp_path: Path, name: str, kind: str, fault: Behaviour) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        goes_on = trio.Event()

        async def behave(turn: Turn) -> None:
            await goes_on.wait()
            await fault(turn)

        engine.behaviour = behave
        caller = await begin(gateway, name)
        raw = await caller.read_until(PINGS[name] + b"\r\n")
        goes_on.set()
        caller.data[:0] = raw
        got = await caller.read_answer()
        heard = DIALECTS[name].hear(got, stream=True)
        assert (heard.text, heard.usage) == ("", None)
        assert heard.error
        assert await caller.read_to_end() == b""
        record = await gateway.last_record()
        assert (record.usage_state, record.attempts) == ("absent", 1)
        assert record.code.startswith("backend_")


@BOTH_LANES
async def test_a_timeout_after_a_ping_is_an_event(tmp_path: Path, name: str, kind: str) -> None:
    deadlines: dict[str, Any] = {"first_byte_deadline_seconds": 1000, "loading_deadline_seconds": 1000}
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, **QUICK, **deadlines) as gateway:
        engine.behaviour = hang()
        caller = await begin(gateway, name)
        raw = await caller.read_until(PINGS[name] + b"\r\n")
        sweep(gateway, engine, 2000)
        caller.data[:0] = raw
        heard = DIALECTS[name].hear(await caller.read_answer(), stream=True)
        assert "did not begin to answer in time" in (heard.error or "")
        record = await gateway.last_record()
        assert (record.code, record.usage_state) == ("backend_timeout", "absent")


@pytest.mark.parametrize("name", ["openai", "anthropic", "responses"])
@pytest.mark.parametrize("kinds", [("vllm", "anthropic"), ("anthropic", "vllm"), ("ollama", "vllm")])
@pytest.mark.parametrize("fault", [answer_status(503), answer(closes=True)], ids=["503", "closed"])
async def test_another_backend_may_still_be_tried_after_a_ping(
    tmp_path: Path, name: str, kinds: tuple[str, str], fault: Behaviour
) -> None:
    """A ping is nothing said. The lanes of the two may differ, and both may be silent."""
    async with (
        run_engine("engine-a", kinds[0]) as a,
        run_engine("engine-b", kinds[1]) as b,
        run_gateway(tmp_path, a, b, **QUICK, retry_budget_percent=100) as gateway,
    ):
        goes_on, answers = trio.Event(), trio.Event()
        is_first = True

        async def behave(turn: Turn) -> None:
            nonlocal is_first
            was_first, is_first = is_first, False
            if was_first:
                await goes_on.wait()
                await fault(turn)
            else:
                await answers.wait()
                await speaks("hello", counts=(6, 4))(turn)

        a.behaviour = b.behaviour = behave
        caller = await begin(gateway, name)
        raw = await caller.read_until(PINGS[name] + b"\r\n")
        goes_on.set()
        await wait_until(lambda: len(a.turns) + len(b.turns) == 2)
        raw += await caller.read_until(PINGS[name] + b"\r\n")
        answers.set()
        caller.data[:0] = raw
        got = await caller.read_answer()
        heard = DIALECTS[name].hear(got, stream=True)
        assert (heard.text, heard.error) == ("hello", None)
        assert heard.pings >= 2
        assert got.raw.count(b"HTTP/1.1") == 1
        record = await gateway.last_record()
        assert (record.status, record.attempts, record.usage_state) == (200, 2, "exact")
        assert (record.prompt_tokens, record.completion_tokens) == (6, 4)


@BOTH_LANES
async def test_a_client_that_leaves_after_a_ping_frees_the_backend(tmp_path: Path, name: str, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        engine.behaviour = hang()
        caller = await begin(gateway, name)
        await caller.read_until(PINGS[name])
        await caller.leave()
        with trio.fail_after(10):
            await engine.turns[0].left.wait()
        record = await gateway.last_record()
        assert (record.code, record.usage_state) == ("client_departed", "partial")
        assert not record.completion_tokens
        await gateway.settled()


async def test_the_first_byte_is_the_answers_and_not_the_pings(tmp_path: Path) -> None:
    """Neither a ping nor the engine's head counts as the time to the first token."""
    async with run_engine() as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        for name in ("openai", "anthropic"):
            patience = Patience()
            pieces = pieces_for(name, "vllm", "one")
            engine.behaviour = patience.behaviour(pieces[0], b"".join(pieces[1:]))
            caller = await begin(gateway, name)
            await caller.read_until(PINGS[name])
            patience.say()
            await caller.read_until(PINGS[name])
            (relay,) = gateway.backend().pump.relays
            assert relay.exchange.first_byte_at is None  # type: ignore[attr-defined]
            patience.say()
            await caller.read_until(b"0\r\n\r\n")


# In the midst of an answer


@BOTH_LANES
async def test_pings_come_between_events_and_the_framing_stays_whole(tmp_path: Path, name: str, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        patience = Patience()
        texts = ("one", "two", "three")
        pieces = pieces_for(name, kind, *texts)
        engine.behaviour = patience.behaviour(*pieces)
        caller = await begin(gateway, name)
        raw = b""
        for _ in pieces[:-1]:
            raw += await caller.read_until(PINGS[name] + b"\r\n")
            patience.say()
        patience.say()
        caller.data[:0] = raw
        got = await caller.read_answer()
        heard = DIALECTS[name].hear(got, stream=True)
        assert (heard.text, heard.error) == ("onetwothree", None)
        assert heard.pings >= len(pieces) - 1
        record = await gateway.last_record()
        assert (record.usage_state, record.prompt_tokens, record.completion_tokens) == ("exact", 5, 2)


@BOTH_LANES
async def test_no_ping_comes_within_an_event(tmp_path: Path, name: str, kind: str) -> None:
    """The engine pauses at every byte of its stream: what it has said half is not interrupted."""
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, ping_seconds=600) as gateway:
        head, *rest = pieces_for(name, kind, "one", "two")
        whole = head + b"".join(rest)

        async def behave(turn: Turn) -> None:
            for start in range(0, len(whole), 3):
                await turn.send(whole[start : start + 3])
                await wait_all_tasks_blocked()
                sweep_now(gateway)

        def sweep_now(gateway: Gateway) -> None:
            for relay in list(gateway.backend(engine.name).pump.relays):
                if isinstance(relay, Relay):
                    relay._ping_if_silent(trio.current_time() + 10_000, 600)

        engine.behaviour = behave
        caller = await begin(gateway, name)
        got = await caller.read_answer()
        heard = DIALECTS[name].hear(got, stream=True)
        assert (heard.text, heard.error) == ("onetwo", None)
        assert heard.pings >= 1
        # Each ping is a chunk of its own.
        assert sum(each == PINGS[name] for each in got.chunks) == heard.pings


async def test_a_straight_stream_on_the_fast_path_is_pinged_and_goes_on_there(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        patience = Patience()
        parts = [
            STREAM_HEAD + chunk(event("a")),
            chunk(event("b")),
            chunk(event("c")),
            *pieces_for("openai", "vllm")[1:],
        ]
        engine.behaviour = patience.behaviour(*parts)
        caller = await begin(gateway, "openai")
        patience.say()
        for _ in parts[1:]:
            await caller.read_until(COMMENT + b"\r\n")
            patience.say()
        await caller.read_until(LAST_CHUNK)
        record = await gateway.last_record()
        assert (record.usage_state, record.code) == ("exact", "")


# Nowhere else


@pytest.mark.parametrize(("name", "kind"), SILENT)
async def test_ollamas_callers_are_never_pinged(tmp_path: Path, name: str, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        patience = Patience()
        engine.behaviour = patience.behaviour(*pieces_for(name, kind, "one", "two"))
        caller = await begin(gateway, name)
        await engine.wait_turn()
        for _ in range(len(pieces_for(name, kind, "one", "two"))):
            sweep(gateway, engine, 100)
            patience.say()
            await wait_all_tasks_blocked()
        got = await caller.read_answer()
        assert b"ping" not in got.raw
        assert got.status == 200
        assert "x-mrproxy-backend" in got.headers  # the head of the answer, not an early one
        assert DIALECTS[name].hear(got, stream=True).text == "onetwo"


@pytest.mark.parametrize(("name", "kind"), [*LANES, *SILENT])
async def test_an_answer_that_is_no_stream_is_never_pinged(tmp_path: Path, name: str, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        patience = Patience()
        path = "/v1/completions" if (name, kind) == ("completions", "vllm") else ENGINE_PATHS[kind]
        whole = sized(document(path, "hello"))
        engine.behaviour = patience.behaviour(whole[:90], whole[90:])
        caller = await gateway.connect()
        await caller.send(DIALECTS[name].ask())
        await engine.wait_turn()
        for _ in range(2):
            sweep(gateway, engine, 100)
            patience.say()
            await wait_all_tasks_blocked()
        got = await caller.read_answer()
        assert b"ping" not in got.raw
        assert DIALECTS[name].hear(got).text == "hello"


@BOTH_LANES
async def test_zero_is_off(tmp_path: Path, name: str, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, ping_seconds=0) as gateway:
        patience = Patience()
        engine.behaviour = patience.behaviour(*pieces_for(name, kind, "one"))
        caller = await begin(gateway, name)
        await engine.wait_turn()
        for _ in pieces_for(name, kind, "one"):
            sweep(gateway, engine, 100)
            patience.say()
            await wait_all_tasks_blocked()
        got = await caller.read_answer()
        assert DIALECTS[name].hear(got, stream=True).pings == 0


@BOTH_LANES
async def test_http10_is_never_pinged(tmp_path: Path, name: str, kind: str) -> None:
    """It has no chunks, and before the head nobody knows how the answer will end."""
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, **QUICK) as gateway:
        patience = Patience()
        engine.behaviour = patience.behaviour(*pieces_for(name, kind, "one"))
        caller = await gateway.connect()
        await caller.send(DIALECTS[name].ask(stream=True).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        await engine.wait_turn()
        for _ in pieces_for(name, kind, "one"):
            sweep(gateway, engine, 100)
            patience.say()
            await wait_all_tasks_blocked()
        heard = DIALECTS[name].hear(await caller.read_answer(), stream=True)
        assert (heard.text, heard.pings) == ("one", 0)


async def test_an_answer_that_waits_for_its_client_is_not_pinged(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, client_send_buffer_bytes=32768) as gateway:
        engine.behaviour = hang(STREAM_HEAD, chunk(event("x" * 900)) * 300)
        caller = await gateway.connect(receive_bytes=4096)
        await caller.send(DIALECTS["openai"].ask(stream=True))
        await wait_until(lambda: any(client.lagging for client in gateway.door.clients))
        sweep(gateway, engine, 20)
        raw = await caller.read_until(event("x" * 900) * 5)
        assert COMMENT not in raw


async def test_a_capture_has_no_pings(tmp_path: Path) -> None:
    """They are no part of the answer."""
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True, **QUICK) as gateway:
        for number, name in enumerate(("openai", "anthropic"), 1):
            patience = Patience()
            engine.behaviour = patience.behaviour(b"".join(pieces_for(name, "vllm", "one")))
            caller = await begin(gateway, name)
            raw = await caller.read_until(PINGS[name] + b"\r\n")
            patience.say()
            caller.data[:0] = raw
            got = await caller.read_answer()
            await gateway.wait_records(number)
            *_, bodies = CaptureReader(*capture_segments(tmp_path / "journal"))
            assert bodies.answer == got.payload.replace(PINGS[name], b"").decode()
