"""Relays, through real sockets: what the engine sends is what the client gets, in every split, at the client's pace."""

import json
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes.behaviours import (
    DONE,
    LAST_CHUNK,
    NDJSON_HEAD,
    STREAM_HEAD,
    answer,
    chat_answer,
    chunk,
    cut_into,
    event,
    hang,
    head,
    last_line,
    line,
    sized,
    usage_event,
    whole_stream,
)
from tests.fakes.caller import Answer, chat, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Turn, run_engine

pytestmark = pytest.mark.slow

PAYLOAD = event("one") + event("two") + DONE


async def ask_once(gateway: Gateway, *, stream: bool = True, **fields: object) -> Answer:
    caller = await gateway.connect()
    await caller.ask(stream=stream, **fields)
    answer = await caller.read_answer()
    await caller.leave()
    return answer


# Splits


async def test_a_stream_in_single_bytes_gives_the_same_payload_without_the_usage_event(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        data = b"".join(whole_stream("one", "two"))
        engine.behaviour = answer(*cut_into(data, range(1, len(data))))
        got = await ask_once(gateway)
        assert (got.status, got.payload, got.is_whole) == (200, PAYLOAD, True)
        record = await gateway.last_record()
        assert (record.usage_state, record.prompt_tokens, record.completion_tokens) == ("exact", 5, 2)


async def test_a_stream_cut_at_any_place_gives_the_same_payload(tmp_path: Path) -> None:
    """The usage event among it: it is cut out whole wherever the reads end."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        data = b"".join(whole_stream("one", "two"))
        for place in range(1, len(data)):
            engine.script(answer(*cut_into(data, [place])))
            got = await ask_once(gateway)
            assert (got.payload, got.is_whole) == (PAYLOAD, True), place
        records = await gateway.wait_records(len(data) - 1)
        assert {(record.usage_state, record.completion_tokens) for record in records} == {("exact", 2)}


async def test_events_and_chunks_need_not_be_the_same(tmp_path: Path) -> None:
    """An engine that cuts its chunks anywhere, half an event or three of them in one."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        payload = event("one") + event("two") + usage_event() + DONE
        for size in (1, 7, 64, 150, 1000):
            pieces = [chunk(payload[start : start + size]) for start in range(0, len(payload), size)]
            engine.script(answer(STREAM_HEAD, *pieces, LAST_CHUNK))
            got = await ask_once(gateway)
            assert (got.payload, got.is_whole) == (PAYLOAD, True), size


async def test_the_usage_event_stays_when_the_caller_asked_for_it(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        data = b"".join(whole_stream("one", "two"))
        for place in range(1, len(data), 11):
            engine.script(answer(*cut_into(data, [place])))
            got = await ask_once(gateway, stream_options={"include_usage": True})
            assert got.payload == event("one") + event("two") + usage_event() + DONE


async def test_an_ollama_stream_cut_at_any_place_is_the_same_to_the_byte(tmp_path: Path) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, engine) as gateway:
        payload = line("one") + line("two") + last_line(9, 4)
        data = NDJSON_HEAD + b"".join(map(chunk, payload.splitlines(keepends=True))) + LAST_CHUNK
        caller = await gateway.connect()
        places = range(1, len(data), 3)
        for place in places:
            engine.script(answer(*cut_into(data, [place])))
            await caller.send(request("/api/chat", chat()))
            got = await caller.read_answer()
            assert (got.payload, got.is_whole) == (payload, True), place
        records = await gateway.wait_records(len(places))
        assert {(record.usage_state, record.prompt_tokens, record.completion_tokens) for record in records} == {
            ("exact", 9, 4)
        }


async def test_a_sized_answer_in_single_bytes_is_the_same_to_the_byte(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = chat_answer("ü" * 20)
        data = sized(body)
        engine.behaviour = answer(*cut_into(data, range(1, len(data))))
        got = await ask_once(gateway, stream=False)
        assert (got.payload, got.headers["content-length"]) == (body, str(len(body)))


ENDINGS = [b"", b"\n", b"data: half", b"x" * 70_000]


@pytest.mark.parametrize("end", ENDINGS, ids=["blank line", "three ends", "half an event", "a long one"])
async def test_a_stream_with_a_length_is_the_same_to_the_byte_however_it_ends(tmp_path: Path, end: bytes) -> None:
    """Its head has gone out with the length before the tap held anything back."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = event("one") + event("two") + end
        start = head(f"Content-Length: {len(body)}").replace(b"application/json", b"text/event-stream")
        caller = await gateway.connect()
        for place in (1, 30, len(event("one")), len(event("one")) + 30, len(body) - 1):
            engine.script(answer(start, body[:place], body[place:]))
            await caller.ask(stream=True, stream_options={"include_usage": True})
            got = await caller.read_answer()
            assert (got.payload, got.headers["content-length"], got.is_whole) == (body, str(len(body)), True)
        assert gateway.stages.counters.upstream_connects == 1


async def test_a_stream_with_a_length_that_breaks_off_gives_whole_events_and_no_end(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        start = head("Content-Length: 1000").replace(b"application/json", b"text/event-stream")
        engine.behaviour = answer(start + event("one") + event("two")[:30], closes=True)
        got = await ask_once(gateway, stream_options={"include_usage": True})
        assert (got.payload, got.is_whole) == (event("one"), False)


@pytest.mark.parametrize("end", ENDINGS, ids=["blank line", "three ends", "half an event", "a long one"])
async def test_a_stream_that_ends_cleanly_is_forwarded_to_its_last_byte(tmp_path: Path, end: bytes) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = event("one") + event("two") + end
        for closes, start, pieces in (
            (False, STREAM_HEAD, (chunk(body[:200]), chunk(body[200:]) if body[200:] else b"", LAST_CHUNK)),
            (True, STREAM_HEAD.replace(b"Transfer-Encoding: chunked\r\n", b""), (body[:200], body[200:])),
        ):
            engine.script(answer(start, *filter(None, pieces), closes=closes))
            got = await ask_once(gateway, stream_options={"include_usage": True})
            assert (got.payload, got.is_whole) == (body, True)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_that_ends_with_its_connection_is_framed_for_the_client(tmp_path: Path, version: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = chat_answer()
        start = head().replace(b"HTTP/1.1", b"HTTP/" + version.encode())
        engine.behaviour = answer(start, body, closes=True)
        got = await ask_once(gateway, stream=False)
        assert (got.payload, got.is_whole, got.headers["transfer-encoding"]) == (body, True, "chunked")
        assert (await gateway.last_record()).usage_state == "exact"


async def test_interim_answers_are_kept_from_the_client(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3
        data = interim + sized(chat_answer())
        for place in (0, 10, len(interim) // 3, len(interim), len(interim) + 5):
            engine.script(answer(*cut_into(data, [place])))
            caller = await gateway.connect()
            await caller.ask()
            assert (await caller.read_until(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
            await caller.leave()


async def test_a_huge_answer_arrives_whole(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = json.dumps({"data": [0.25] * 2_000_000, "usage": {"prompt_tokens": 8, "total_tokens": 8}}).encode()
        engine.behaviour = answer(sized(body))
        caller = await gateway.connect()
        await caller.send(request("/v1/embeddings", b'{"model":"m","input":"hi"}'))
        got = await caller.read_answer()
        assert len(got.payload) == len(body)
        assert got.payload == body
        record = await gateway.last_record()
        assert (record.prompt_tokens, record.completion_tokens, record.usage_state) == (8, None, "exact")


async def test_an_http10_client_gets_the_payload_and_then_the_end(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(*whole_stream("one", "two"))
        caller = await gateway.connect()
        await caller.send(request(body=chat(stream=True), version="1.0"))
        got = await caller.read_answer()
        assert "transfer-encoding" not in got.headers
        assert got.payload == PAYLOAD


async def test_an_http10_client_that_keeps_alive_learns_where_a_stream_ends(tmp_path: Path) -> None:
    """Neither chunks nor a length can tell it, so the connection must end."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(*whole_stream("one", "two"))
        caller = await gateway.connect()
        await caller.send(request("/v1/chat/completions", chat(stream=True), "Connection: keep-alive", version="1.0"))
        with trio.fail_after(3):
            got = await caller.read_answer()
        assert got.payload == PAYLOAD
        assert got.headers["connection"] == "close"


# One write in, one write out


async def test_every_event_leaves_in_one_write_before_the_next_one_comes(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        goes_on = trio.Event()

        async def behave(turn: Turn) -> None:
            nonlocal goes_on
            await turn.send(STREAM_HEAD + chunk(event("first")))
            for index in range(100):
                await goes_on.wait()
                goes_on = trio.Event()
                await turn.send(chunk(event(f"token {index}")))
            await goes_on.wait()
            await turn.send(chunk(usage_event()) + chunk(DONE) + LAST_CHUNK)

        engine.behaviour = behave
        caller = await gateway.connect()
        await caller.ask(stream=True)
        await caller.read_until(chunk(event("first")))
        before = caller.data_segments()
        for index in range(100):
            goes_on.set()
            with trio.fail_after(2):
                assert await caller.read_some() == chunk(event(f"token {index}"))
        assert caller.data_segments() - before == 100
        goes_on.set()
        assert await caller.read_until(LAST_CHUNK) == chunk(DONE) + LAST_CHUNK


# Backpressure


EVENTS = 16_000
FLOOD = chunk(event("x" * 900)) * EVENTS  # 16 MB: more than all the buffers on the way


async def test_a_client_that_does_not_read_stops_the_engine_and_later_gets_everything(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, client_send_buffer_bytes=131072) as gateway:

        async def behave(turn: Turn) -> None:
            await turn.send(STREAM_HEAD)
            await turn.send(FLOOD)
            await turn.send(chunk(usage_event()) + chunk(DONE) + LAST_CHUNK)

        engine.behaviour = behave
        caller = await gateway.connect(receive_bytes=16384)
        await caller.ask(stream=True)
        turn = await engine.wait_turn()
        sent_bytes = await stopped_at(turn)
        # What the engine got rid of is in two sockets' buffers; the gateway itself keeps one read of it.
        assert sent_bytes < len(FLOOD)
        got = await caller.read_answer()
        assert got.is_whole
        assert got.payload == event("x" * 900) * EVENTS + DONE
        assert (await gateway.last_record()).usage_state == "exact"


async def stopped_at(turn: Turn) -> int:
    """How much the engine could send, once it cannot send any more."""
    with trio.fail_after(10):
        while True:
            before = turn.sent_bytes
            for _ in range(20):
                await wait_all_tasks_blocked()
            if turn.sent_bytes == before > 0:
                return before


async def test_two_hundred_clients_that_do_not_read_cost_no_memory_and_delay_nobody(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, max_concurrent=300, client_send_buffer_bytes=131072) as gateway,
    ):

        async def flooding(turn: Turn) -> None:
            await turn.send(STREAM_HEAD)
            await turn.send(FLOOD[: 512 << 10])
            await turn.hang()

        engine.behaviour = flooding
        idle = [await gateway.connect(receive_bytes=4096) for _ in range(200)]
        for caller in idle:
            await caller.ask(stream=True)
        await engine.wait_turn(200)
        await wait_until(lambda: all(client.lagging for client in gateway.door.clients))
        grown = resident_bytes()
        goes_on = trio.Event()

        async def token_by_token(turn: Turn) -> None:
            nonlocal goes_on
            await turn.send(STREAM_HEAD)
            for index in range(50):
                await goes_on.wait()
                goes_on = trio.Event()
                await turn.send(chunk(event(f"token {index}")))
            await turn.hang()

        engine.script(token_by_token)
        reader = await gateway.connect()
        await reader.ask(stream=True)
        await engine.wait_turn(201)
        for index in range(50):
            goes_on.set()
            expected = chunk(event(f"token {index}"))
            got = await reader.read_until(expected)
            assert got.endswith(expected) if index == 0 else got == expected  # the head goes with the first
        # 200 reads that are kept, at most 64 KiB each; the slow ones have not moved anything meanwhile.
        assert resident_bytes() - grown < 200 * 65536
        assert sum(bool(client.lagging) for client in gateway.door.clients) == 200


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


async def test_a_client_that_takes_nothing_for_too_long_is_closed_and_pays_for_what_it_got(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, client_write_idle_seconds=0.3) as gateway:

        async def flooding(turn: Turn) -> None:
            await turn.send(STREAM_HEAD)
            await turn.send(FLOOD)
            await turn.hang()

        engine.behaviour = flooding
        caller = await gateway.connect(receive_bytes=4096)
        await caller.ask(stream=True)
        turn = await engine.wait_turn()
        with trio.fail_after(5):
            await turn.left.wait()
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (200, "client_too_slow", "partial")
        assert record.completion_tokens is not None
        assert record.completion_tokens > 100
        assert gateway.stages.counters.slow_client_closes == 1


async def test_a_client_that_takes_a_little_now_and_then_is_not_closed(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, client_write_idle_seconds=0.6) as gateway:
        data = FLOOD[: 6 << 20]
        engine.behaviour = hang(STREAM_HEAD, data)
        caller = await gateway.connect(receive_bytes=4096)
        await caller.ask(stream=True)
        await engine.wait_turn()
        with trio.move_on_after(1.5):  # longer than the deadline, though no pause is
            while await caller.stream.receive_some(10_000):
                await trio.sleep(0.02)
        assert gateway.stages.counters.slow_client_closes == 0


# Faults of the framing


GARBAGE = {
    "not HTTP": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "no head at all": b"\x00\x01\x02\x03" * 10,
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X-Pad: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 3000,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "nothing": b"",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_an_answer_that_is_none_is_a_502(tmp_path: Path, garbage: bytes) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(garbage, closes=True) if garbage else answer(closes=True)
        caller = await gateway.connect()
        await caller.ask()
        got = await caller.read_answer()
        assert (got.status, got.json["error"]["code"]) == (502, "backend_failed")
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (502, "backend_failed", "absent")
        await caller.ask()  # the client's own connection is none the worse
        assert (await caller.read_answer()).status == 502


async def test_broken_chunks_before_the_first_byte_are_a_502_in_the_record_too(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(STREAM_HEAD + b"zzz\r\nhello\r\n", closes=True)
        got = await ask_once(gateway)
        assert got.status == 502
        record = await gateway.last_record()
        assert (record.status, record.code) == (502, "backend_failed")


async def test_many_interim_answers_are_no_bug_of_ours(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(b"HTTP/1.1 100 Continue\r\n\r\n" * 2500 + sized(chat_answer()))
        got = await ask_once(gateway, stream=False)
        assert got.status in (200, 502)
        assert gateway.stages.counters.crashes == 0


async def test_switching_protocols_unasked_is_a_502_and_the_connection_is_closed(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")
        caller = await gateway.connect()
        await caller.ask()
        await engine.wait_turn()
        assert (await caller.read_answer()).status == 502


async def test_bytes_after_the_answer_keep_the_connection_out_of_the_pool(tmp_path: Path) -> None:
    """An engine that says more than its length: the next request must not find that."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.script(answer(sized(chat_answer("first")) + sized(b'{"smuggled":1}')))
        caller = await gateway.connect()
        for text in ("first", "hello"):
            await caller.ask()
            got = await caller.read_answer()
            assert got.json["choices"][0]["message"]["content"] == text
        assert engine.turns[0].connection is not engine.turns[1].connection
