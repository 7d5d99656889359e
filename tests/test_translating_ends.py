"""How a translated answer ends when it does not end well: the engine breaks off or talks nonsense, the client leaves,
lags, or is captured. Whatever happens, the caller reads a well-formed answer of its own dialect."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes.behaviours import LAST_CHUNK, STREAM_HEAD, answer, chunk, event, hang, reset, sized, usage_event
from tests.fakes.caller import Answer, Caller
from tests.fakes.gateway import run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, Turn, run_engine
from tests.fakes.speaking import DIALECTS, CallersDialect, begins, document, message_start, speaks, sse, stream_pieces

pytestmark = pytest.mark.slow

FOREIGN = [
    ("openai", "anthropic"),
    ("completions", "anthropic"),
    ("anthropic", "vllm"),
    ("anthropic", "ollama"),
    ("responses", "vllm"),
    ("responses", "ollama"),
    ("ollama", "vllm"),
    ("ollama", "anthropic"),
    ("generate", "vllm"),
]
PAIRS = pytest.mark.parametrize(("name", "kind"), FOREIGN, ids=[f"{name} to {kind}" for name, kind in FOREIGN])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
RUDELY = pytest.mark.parametrize("rudely", [False, True], ids=["FIN", "RST"])
ENGINE_PATHS = {"vllm": "/v1/chat/completions", "ollama": "/api/chat", "anthropic": "/v1/messages"}


async def ask(caller: Caller, dialect: CallersDialect, *lines: str, stream: bool = False, **fields: Any) -> Answer:
    await caller.send(dialect.ask(*lines, stream=stream, **fields))
    return await caller.read_answer()


def then(*more: bytes, closes: bool = False) -> Any:
    """For `begins`: the beginning, then these bytes as they are."""
    return lambda *pieces: answer(*pieces, *more, closes=closes)


def engine_error(kind: str, message: str) -> bytes:
    """An error in the stream of an engine of this kind."""
    match kind:
        case "ollama":
            return json.dumps({"error": message}).encode() + b"\n"
        case "anthropic":
            return sse("error", error={"type": "overloaded_error", "message": message})
        case _:
            return b"data: %b\n\n" % json.dumps({"error": {"message": message, "code": 500}}).encode()


async def broken(tmp_path: Path, name: str, kind: str, behaviour: Behaviour, text: str = "onetwo") -> str:
    """A stream that begins and breaks: said once, well-formed, nothing tried again. The error's message."""
    dialect = DIALECTS[name]
    async with (
        run_engine("engine-a", kind) as a,
        run_engine("engine-b", kind) as b,
        run_gateway(tmp_path, a, b) as gateway,
    ):
        a.behaviour = b.behaviour = behaviour
        caller = await gateway.connect()
        got = await ask(caller, dialect, stream=True)
        heard = dialect.hear(got, stream=True)
        assert heard.text == text
        assert heard.error
        assert await caller.read_to_end() == b""  # the connection ends: its framing was repaired by us
        assert len(a.turns) + len(b.turns) == 1
        record = await gateway.last_record()
        assert (record.status, record.code, record.lane) == (200, "backend_failed", "translating")
        assert (record.usage_state, record.attempts) == ("counted" if kind == "anthropic" else "partial", 1)
        assert record.completion_tokens == 2
        return heard.error


@PAIRS
async def test_an_error_of_the_engine_in_its_stream_is_said_in_the_callers_stream(
    tmp_path: Path, name: str, kind: str
) -> None:
    error = chunk(engine_error(kind, "out of memory")) + LAST_CHUNK
    assert "out of memory" in await broken(tmp_path, name, kind, begins("one", "two", then=then(error)))


@PAIRS
@pytest.mark.parametrize("fault", [reset, then(closes=True), then(LAST_CHUNK)], ids=["reset", "closed", "ended early"])
async def test_a_stream_that_is_cut_off_ends_with_an_error_of_the_callers_dialect(
    tmp_path: Path, name: str, kind: str, fault: Any
) -> None:
    await broken(tmp_path, name, kind, begins("one", "two", then=fault))


@PAIRS
@pytest.mark.parametrize(
    "nonsense",
    [
        b"<html>Bad Gateway</html>\n\n",
        b'data: {"choices":[{"index":0,"delta":{"content":\n\n{"x\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":"x"}\n\ndata: [1]\n\n[1]\n',
    ],
    ids=["HTML", "half JSON", "wrong types"],
)
async def test_nonsense_in_the_midst_of_a_stream_ends_it_with_an_error(
    tmp_path: Path, name: str, kind: str, nonsense: bytes
) -> None:
    await broken(tmp_path, name, kind, begins("one", "two", then=then(chunk(nonsense) + LAST_CHUNK)))


PAGE = b"<html><body><h1>It works!</h1></body></html>"
_PAGE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(PAGE)
NONSENSE = {
    "a page": answer(_PAGE_HEAD + PAGE),
    "a page in chunks": answer(STREAM_HEAD, chunk(PAGE), LAST_CHUNK),
    "nothing": answer(sized(b"")),
    "half a document": answer(sized(b'{"id":"c","choices":[{"index":0,"mess')),
    "another document": answer(sized(b'{"object":"list","data":[]}')),
    "a list": answer(sized(b"[]")),
    "an error with status 200": answer(sized(b'{"error":{"message":"out of memory"}}')),
}


@STREAM
@PAIRS
async def test_nonsense_instead_of_an_answer_is_a_502_in_the_callers_dialect(
    tmp_path: Path, name: str, kind: str, *, stream: bool
) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, breaker_min_requests=1000) as gateway:
        caller = await gateway.connect()
        for number, what in enumerate(NONSENSE, 1):
            engine.script(NONSENSE[what])
            got = await ask(caller, DIALECTS[name], stream=stream)
            assert got.status == 502, what
            assert DIALECTS[name].hear(got).error, what
            record = (await gateway.wait_records(number))[-1]
            assert (record.status, record.code, record.usage_state) == (502, "backend_failed", "absent"), what
        engine.behaviour = speaks("hello")
        assert DIALECTS[name].hear(await ask(caller, DIALECTS[name])).text == "hello"  # the connection goes on


@STREAM
async def test_nonsense_instead_of_an_answer_is_asked_again_elsewhere(tmp_path: Path, *, stream: bool) -> None:
    async with (
        run_engine("engine-a", "vllm") as a,
        run_engine("engine-b", "ollama") as b,
        run_gateway(
            tmp_path, a, b, retry_budget_percent=100, breaker_min_requests=1000, placement="round_robin"
        ) as gateway,
    ):
        b.behaviour = speaks("hello", counts=(9, 1))
        caller = await gateway.connect()
        a.script(*NONSENSE.values())
        count = 0
        while len(a.turns) < len(NONSENSE):
            got = await ask(caller, DIALECTS["anthropic"], stream=stream)
            heard = DIALECTS["anthropic"].hear(got, stream=stream)
            assert (heard.text, heard.usage) == ("hello", (9, 1))
            gateway.backend("engine-a").failure_ewma = 0.0  # it would be left alone for a while
            count += 1
            assert count < 50, "the other one is never asked"
        records = await gateway.wait_records(count)
        assert {record.backend for record in records} == {"engine-b"}
        assert [record.attempts for record in records].count(2) == len(NONSENSE)


@PAIRS
async def test_an_engine_that_answers_with_a_document_where_a_stream_was_asked_for_has_failed(
    tmp_path: Path, name: str, kind: str
) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(sized(document(ENGINE_PATHS[kind], "hello")))
        caller = await gateway.connect()
        got = await ask(caller, DIALECTS[name], stream=True)
        heard = DIALECTS[name].hear(got, stream=True)
        assert heard.error or (kind, heard.text) == ("ollama", "hello")  # a line that is the last one, too


@STREAM
async def test_a_silent_engine_is_a_timeout_in_the_callers_dialect(tmp_path: Path, *, stream: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, first_byte_deadline_seconds=0.3) as gateway:
        engine.script(hang(), hang(STREAM_HEAD))
        caller = await gateway.connect()
        for _ in range(2):
            got = await ask(caller, DIALECTS["anthropic"], stream=stream)
            assert (got.status, got.json["error"]["type"]) == (504, "timeout_error")


async def test_a_stream_that_falls_silent_ends_with_a_timeout(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, stream_idle_deadline_seconds=0.3) as gateway:
        engine.behaviour = begins("one", "two", then=hang)
        caller = await gateway.connect()
        for name in ("anthropic", "ollama", "responses"):
            got = await ask(caller, DIALECTS[name], stream=True)
            heard = DIALECTS[name].hear(got, stream=True)
            assert heard.text == "onetwo"
            assert "stopped in the middle" in (heard.error or "")
            caller = await gateway.connect()


async def test_an_answer_in_small_pieces_is_the_same_answer(tmp_path: Path) -> None:
    text = "é中𝄞"
    for number, (name, kind) in enumerate(FOREIGN):
        directory = tmp_path / str(number)  # short: the path of a Unix socket has 107 bytes
        directory.mkdir()
        async with run_engine(kind=kind) as engine, run_gateway(directory, engine) as gateway:

            async def trickle(turn: Turn, kind: str = kind) -> None:
                whole = b"".join(stream_pieces(ENGINE_PATHS[kind], tuple(text)))
                for start in range(0, len(whole), 23):
                    await turn.send(whole[start : start + 23])
                    await wait_all_tasks_blocked()

            engine.behaviour = trickle
            caller = await gateway.connect()
            heard = DIALECTS[name].hear(await ask(caller, DIALECTS[name], stream=True), stream=True)
            assert (heard.text, heard.error) == (text, None)


# Clients


@RUDELY
@PAIRS
async def test_a_client_that_leaves_a_translated_stream_pays_for_what_it_got(
    tmp_path: Path, name: str, kind: str, rudely: bool
) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = begins("one", "two", "three", then=hang, counts=(40, 2))
        caller = await gateway.connect()
        await caller.send(DIALECTS[name].ask(stream=True))
        await caller.read_until(b"three")
        await caller.leave(rudely=rudely)
        with trio.fail_after(10):
            await engine.turns[0].left.wait()
        record = await gateway.last_record()
        # Anthropic says at the start what the prompt was; for the others it is estimated.
        state = "counted" if kind == "anthropic" else "partial"
        assert (record.status, record.code, record.usage_state) == (200, "client_departed", state)
        assert record.completion_tokens == 3
        assert record.prompt_tokens == 40 if kind == "anthropic" else record.prompt_tokens
        await gateway.settled()
        spent = gateway.stages.ledger.statistics(trio.current_time())[0].spent_tokens
        assert spent == (record.prompt_tokens or 0) + 3
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 0


@RUDELY
@STREAM
async def test_a_client_that_leaves_before_the_first_byte_frees_the_backend(
    tmp_path: Path, rudely: bool, *, stream: bool
) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = hang()
        caller = await gateway.connect()
        await caller.send(DIALECTS["anthropic"].ask(stream=stream))
        turn = await engine.wait_turn()
        await caller.leave(rudely=rudely)
        with trio.fail_after(10):
            await turn.left.wait()
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (499, "client_departed", "partial")
        assert record.prompt_tokens
        assert not record.completion_tokens
        await gateway.settled()


async def test_a_client_that_leaves_a_document_in_the_making_ends_it(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        whole = sized(document("/v1/chat/completions", "hello" * 100))
        engine.behaviour = hang(whole[:300])
        caller = await gateway.connect()
        await caller.send(DIALECTS["anthropic"].ask())
        turn = await engine.wait_turn()
        await wait_all_tasks_blocked()
        await caller.leave()
        with trio.fail_after(10):
            await turn.left.wait()
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (499, "client_departed", "partial")


async def test_a_client_that_leaves_after_the_usage_was_said_pays_exactly_that(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = hang(STREAM_HEAD, chunk(event("one")), chunk(usage_event(6, 1)))
        caller = await gateway.connect()
        await caller.send(DIALECTS["anthropic"].ask(stream=True))
        await caller.read_until(b"one")
        (relay,) = gateway.backend().pump.relays
        await wait_until(lambda: relay._tap.usage)  # type: ignore[attr-defined]
        await caller.leave()
        record = await gateway.last_record()
        assert (record.prompt_tokens, record.completion_tokens, record.usage_state) == (6, 1, "exact")


@pytest.mark.parametrize("name", ["anthropic", "responses", "ollama"])
async def test_a_slow_client_holds_up_its_own_engine_only_and_gets_everything(tmp_path: Path, name: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, client_send_buffer_bytes=32768) as gateway:
        count, text = 60, "x" * 90_000
        pieces = stream_pieces("/v1/chat/completions", (text,))
        is_over = trio.Event()

        async def talk(turn: Turn) -> None:
            await turn.send(pieces[0])
            for _ in range(count):
                await turn.send(pieces[1])
            await turn.send(b"".join(pieces[2:]))
            is_over.set()

        engine.script(talk)
        engine.behaviour = speaks("hello")
        slow = await gateway.connect(receive_bytes=32768)
        await slow.send(DIALECTS[name].ask(stream=True))
        await wait_until(lambda: any(client.lagging for client in gateway.door.clients))
        await wait_all_tasks_blocked()
        assert not is_over.is_set()
        other = await gateway.connect()
        assert DIALECTS[name].hear(await ask(other, DIALECTS[name])).text == "hello"
        heard = DIALECTS[name].hear(await slow.read_answer(), stream=True)
        assert len(heard.text) == count * len(text)
        assert heard.error is None
        await wait_until(lambda: len(gateway.records()) == 2)


async def test_a_client_that_takes_nothing_is_given_up(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, client_send_buffer_bytes=32768, client_write_idle_seconds=0.3) as gateway,
    ):
        engine.behaviour = begins(*["x" * 900] * 1000, then=hang)
        caller = await gateway.connect(receive_bytes=4096)
        await caller.send(DIALECTS["anthropic"].ask(stream=True))
        record = await gateway.last_record()
        assert (record.code, record.usage_state) == ("client_too_slow", "partial")


async def test_http10_gets_a_stream_without_chunks_that_ends_with_the_connection(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("one", "two")
        for name in ("anthropic", "responses", "ollama"):
            caller = await gateway.connect()
            await caller.send(DIALECTS[name].ask(stream=True).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
            got = await caller.read_answer()
            assert "transfer-encoding" not in got.headers
            assert DIALECTS[name].hear(got, stream=True).text == "onetwo"
            caller = await gateway.connect()
            await caller.send(DIALECTS[name].ask().replace(b"HTTP/1.1", b"HTTP/1.0", 1))
            assert DIALECTS[name].hear(await caller.read_answer()).text == "onetwo"


async def test_a_prompt_that_the_engine_counted_at_the_start_is_billed_exactly(tmp_path: Path) -> None:
    async with run_engine(kind="anthropic") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = hang(STREAM_HEAD, chunk(message_start(1234)))
        caller = await gateway.connect()
        await caller.send(DIALECTS["openai"].ask(stream=True))
        await caller.read_until(b"chunk")
        await caller.leave()
        record = await gateway.last_record()
        assert (record.prompt_tokens, record.completion_tokens, record.usage_state) == (1234, 0, "counted")
