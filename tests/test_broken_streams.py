"""Backends that fail after the first byte, or are taken away: what the stream says, and what backends are sent."""

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.config import Backend
from tests.fakes.behaviours import (
    LAST_CHUNK,
    NDJSON_HEAD,
    STREAM_HEAD,
    answer,
    answer_stream,
    chat_answer,
    chunk,
    event,
    hang,
    head,
    last_line,
    line,
    reset,
    sized,
    usage_event,
)
from tests.fakes.caller import Answer, Caller, chat, request
from tests.fakes.gateway import run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, Turn, run_engine

pytestmark = pytest.mark.slow


async def ask(caller: Caller, *, stream: bool = False) -> Answer:
    await caller.ask(stream=stream)
    return await caller.read_answer()


ANSWER = answer(sized(chat_answer()))


def first_time(fault: Behaviour, otherwise: Behaviour = ANSWER) -> Behaviour:
    """The first request meets this fault, at whatever engine; all others are answered."""
    is_first = True

    async def behave(turn: Turn) -> None:
        nonlocal is_first
        was_first, is_first = is_first, False
        await (fault if was_first else otherwise)(turn)

    return behave


TWO = STREAM_HEAD + chunk(event("one")) + chunk(event("two"))
CUTS = {
    "reset": reset(TWO),
    "closed": answer(TWO, closes=True),
    "truncated chunk": answer(TWO, chunk(event("three"))[:20], closes=True),
    "truncated event": answer(TWO, chunk(event("three")[:40]), chunk(event("three")[40:-2]), closes=True),
    "broken chunk": answer(TWO, b"zz\r\nwhat\r\n", closes=True),
    "in the usage event": answer(TWO, chunk(usage_event()[:30]), closes=True),
}


@pytest.mark.parametrize("behaviour", CUTS.values(), ids=CUTS)
async def test_a_stream_that_breaks_ends_with_an_error_in_its_dialect(tmp_path: Path, behaviour: Behaviour) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        a.behaviour = b.behaviour = behaviour
        caller = await gateway.connect()
        got = await ask(caller, stream=True)
        assert (got.status, got.is_whole) == (200, True)
        assert got.payload.startswith(event("one") + event("two") + b'data: {"error":')
        *_, error, done, rest = got.payload.split(b"\n\n")
        assert b'"code":"backend_failed"' in error
        assert (done, rest, got.payload.count(b"\n\n")) == (b"data: [DONE]", b"", 4)
        assert await caller.read_to_end() == b""  # and the connection ends: its framing was repaired by us
        assert len(a.turns) + len(b.turns) == 1  # never again after the first byte
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (200, "backend_failed", "partial")
        assert record.completion_tokens == 2


async def test_half_an_event_stays_here_when_the_usage_is_not_cut_either(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = CUTS["truncated event"]
        caller = await gateway.connect()
        await caller.ask(stream=True, stream_options={"include_usage": True})
        got = await caller.read_answer()
        assert got.payload.startswith(event("one") + event("two") + b'data: {"error":')


async def test_half_an_event_too_long_to_be_held_does_not_swallow_the_error(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        half = event("x" * 70_000)[:-9]
        engine.behaviour = answer(TWO, chunk(half), closes=True)
        caller = await gateway.connect()
        got = await ask(caller, stream=True)
        assert got.payload.startswith(event("one") + event("two") + half + b'\n\ndata: {"error":')
        assert got.payload.endswith(b"\n\ndata: [DONE]\n\n")


async def test_half_an_event_is_no_beginning_and_somebody_else_is_asked(tmp_path: Path) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        half = answer(STREAM_HEAD + chunk(event("one")[:40]), closes=True)
        a.behaviour = b.behaviour = first_time(half, answer_stream("one", "two"))
        caller = await gateway.connect()
        got = await ask(caller, stream=True)
        assert (got.payload, got.is_whole) == (event("one") + event("two") + b"data: [DONE]\n\n", True)
        assert (await gateway.last_record()).attempts == 2


async def test_a_stream_that_falls_silent_ends_with_a_timeout_in_its_dialect(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, stream_idle_deadline_seconds=0.3) as gateway:
        engine.behaviour = hang(TWO)
        caller = await gateway.connect()
        got = await ask(caller, stream=True)
        assert b'"code":"backend_timeout"' in got.payload
        assert got.payload.endswith(b"data: [DONE]\n\n")
        record = await gateway.last_record()
        assert (record.code, record.usage_state, record.completion_tokens) == ("backend_timeout", "partial", 2)


@pytest.mark.parametrize("half", [b"", chunk(line("three")[:20])])
async def test_a_stream_of_ollama_that_breaks_ends_with_an_error_line(tmp_path: Path, half: bytes) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = reset(NDJSON_HEAD + chunk(line("one")), chunk(line("two")) + half)
        caller = await gateway.connect()
        await caller.send(request("/api/chat", chat()))
        got = await caller.read_answer()
        *lines, error = got.payload.splitlines(keepends=True)
        assert lines == [line("one"), line("two")]
        assert error.startswith(b'{"error":"the backend failed')
        record = await gateway.last_record()
        assert (record.usage_state, record.completion_tokens) == ("partial", 2)


@pytest.mark.parametrize(
    "behaviour",
    [
        answer(sized(chat_answer())[:-10], closes=True),
        answer(head("Transfer-Encoding: chunked"), chunk(chat_answer()[:-10]), closes=True),
    ],
    ids=["sized", "chunked"],
)
async def test_a_document_that_breaks_off_is_cut_off_for_the_client(tmp_path: Path, behaviour: Behaviour) -> None:
    """There is no place for words in it: the missing bytes say it."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = behaviour
        caller = await gateway.connect()
        got = await ask(caller)
        assert (got.status, got.payload, got.is_whole) == (200, chat_answer()[:-10], False)
        record = await gateway.last_record()
        assert (record.code, record.usage_state) == ("backend_failed", "partial")


async def test_an_error_reaches_a_client_that_lags_after_what_it_has_not_taken_yet(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, client_send_buffer_bytes=32768, stream_idle_deadline_seconds=0.5) as gateway,
    ):
        text = "x" * 900
        engine.behaviour = hang(STREAM_HEAD, chunk(event(text)) * 200)
        caller = await gateway.connect(receive_bytes=4096)
        await caller.ask(stream=True)
        await engine.wait_turn()
        await wait_until(lambda: any(client.lagging for client in gateway.door.clients))
        got = await caller.read_answer()
        assert got.is_whole
        assert got.payload.startswith(event(text) * 200)
        assert b'"code":"backend_timeout"' in got.payload[len(event(text)) * 200 :]


async def test_a_withdrawn_backend_ends_its_streams_in_their_dialect(tmp_path: Path) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        a.behaviour = b.behaviour = hang(TWO)
        streaming = await gateway.connect()
        await streaming.ask(stream=True)
        await streaming.read_until(event("two") + b"\r\n")
        withdrawn = a if a.turns else b
        gateway.backend(withdrawn.name).withdraw("it is taken away")
        rest = await streaming.read_until(LAST_CHUNK)
        assert b'"code":"backend_withdrawn"' in rest
        assert gateway.backend(withdrawn.name).breaker.statistics(trio.current_time()).failures == 0


async def test_a_withdrawn_backend_hands_on_what_has_not_begun(tmp_path: Path) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        a.behaviour = b.behaviour = first_time(hang())
        caller = await gateway.connect()
        await caller.ask()
        await wait_until(lambda: a.turns or b.turns)
        holder, spare = (a, b) if a.turns else (b, a)
        gateway.backend(holder.name).withdraw("it is taken away")
        got = await caller.read_answer()
        assert (got.status, got.headers["x-mrproxy-backend"]) == (200, spare.name)
        assert gateway.backend(holder.name).breaker.statistics(trio.current_time()).failures == 0


async def test_a_finished_answer_that_waits_for_a_slow_client_is_not_spoilt_by_a_withdrawal(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, client_send_buffer_bytes=32768) as gateway:
        text = "x" * 900
        pieces = chunk(event(text)) * 60
        engine.behaviour = answer(STREAM_HEAD + pieces + chunk(usage_event()) + LAST_CHUNK)
        caller = await gateway.connect(receive_bytes=4096)
        await caller.ask(stream=True)
        await engine.wait_turn()
        # The engine's connection is idle again, though the client has not taken all of it.
        await wait_until(lambda: gateway.backend().pool.idle_connections)
        assert any(client.lagging for client in gateway.door.clients)
        gateway.backend().withdraw("it is taken away")
        got = await caller.read_answer()
        assert (got.payload, got.is_whole) == (event(text) * 60, True)
        await caller.ask()
        assert (await caller.read_answer()).status == 200


# What a backend gets


async def test_a_backend_gets_its_own_name_of_the_model_and_its_own_key(tmp_path: Path) -> None:
    async with run_engine(models=["org/own-name"]) as engine:
        backend = Backend(
            kind="vllm", url=engine.url, name="engine-x", api_key="backends-key", aliases={"m": "org/own-name"}
        )
        async with run_gateway(tmp_path, backends=(backend,)) as gateway:
            caller = await gateway.connect()
            got = await ask(caller)
            assert got.status == 200
            asked = engine.turns[0].request
            assert asked.json["model"] == "org/own-name"
            assert asked.headers["authorization"] == "Bearer backends-key"
            assert engine.probe_headers["authorization"] == "Bearer backends-key"
            assert (await gateway.last_record()).model == "m"


async def test_a_backend_learns_nothing_of_the_callers_key(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        await caller.send(request(body=chat()).replace(b"Host:", b"X-API-Key: other\r\nCookie: c=1\r\nHost:"))
        assert (await caller.read_answer()).status == 200
        headers = engine.turns[0].request.headers
        assert not {"authorization", "x-api-key", "cookie"} & headers.keys()


async def test_a_request_without_usage_in_its_answer_is_estimated(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.script(answer(STREAM_HEAD + chunk(event("one")), chunk(event("two")), LAST_CHUNK))
        caller = await gateway.connect()
        assert (await ask(caller, stream=True)).is_whole
        record = await gateway.last_record()
        assert (record.usage_state, record.completion_tokens) == ("estimated", 2)
        assert record.prompt_tokens


async def test_what_is_no_json_passes_as_it_is_unless_it_is_plainly_a_page(tmp_path: Path) -> None:
    """Some servers call everything plain text; pages are looked at in test_pages.py."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        page = b"<html>It works!</html>"
        engine.behaviour = answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\n" + page)
        caller = await gateway.connect()
        for stream in (False, True):
            got = await ask(caller, stream=stream)
            assert (got.payload, got.headers["content-type"]) == (page, "text/plain")
        records = await gateway.wait_records(2)
        assert {record.usage_state for record in records} == {"estimated"}


async def test_ollamas_counts_come_from_its_last_line(tmp_path: Path) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(sized(last_line(11, 6)))
        caller = await gateway.connect()
        await caller.send(request("/api/chat", chat(stream=False, options={"num_predict": 5})))
        await caller.read_answer()
        record = await gateway.last_record()
        assert (record.prompt_tokens, record.completion_tokens, record.dialect) == (11, 6, "ollama")


async def test_streams_of_two_backends_do_not_mix(tmp_path: Path) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        a.behaviour = answer_stream(*["from a"] * 50)
        b.behaviour = answer_stream(*["from b"] * 50)
        callers = [await gateway.connect() for _ in range(8)]
        for caller in callers:
            await caller.ask(stream=True)
        await wait_all_tasks_blocked()
        for caller in callers:
            got = await caller.read_answer()
            expected = "from a" if got.headers["x-mrproxy-backend"] == "engine-a" else "from b"
            assert got.payload == event(expected) * 50 + b"data: [DONE]\n\n"
