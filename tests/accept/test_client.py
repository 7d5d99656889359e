"""One client's connection: slow, oversized, malformed and pipelined requests, and what each is told."""

import json
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes.behaviours import answer_stream, cut_into, event
from tests.fakes.caller import KEY, Answer, Caller, chat, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import run_engine

pytestmark = pytest.mark.slow


async def say(gateway: Gateway, data: bytes) -> Answer:
    """The answer to these bytes; afterwards the connection must be over."""
    caller = await gateway.connect()
    await caller.send(data)
    got = await caller.read_answer()
    assert got.headers["connection"] == "close"
    assert await caller.read_to_end() == b""
    return got


async def keep(caller: Caller, data: bytes) -> Answer:
    """The answer to these bytes, on a connection that goes on."""
    await caller.send(data)
    got = await caller.read_answer()
    assert "connection" not in got.headers
    return got


# Slow


async def test_a_slow_head_is_a_408(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, head_deadline_seconds=0.3) as gateway:
        caller = await gateway.connect()
        data = request(body=chat())
        got: list[Answer] = []

        async def trickle(cancel: trio.CancelScope) -> None:
            with cancel:  # a byte now and then does not move the deadline
                for place in range(len(data)):
                    await caller.send(data[place : place + 1])
                    await trio.sleep(0.01)

        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, scope)
            got.append(await caller.read_answer())
            scope.cancel()
        assert (got[0].status, got[0].json["error"]["code"]) == (408, "head_timeout")
        assert got[0].headers["connection"] == "close"
        assert not gateway.records()


async def test_a_connection_that_asks_nothing_is_closed_without_a_word(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, head_deadline_seconds=0.2) as gateway:
        caller = await gateway.connect()
        assert await caller.read_to_end() == b""


async def test_an_idle_connection_is_closed_after_its_time(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, keep_alive_idle_seconds=0.3) as gateway:
        caller = await gateway.connect()
        await keep(caller, request(body=chat()))
        assert await caller.read_to_end() == b""


async def test_half_a_second_request_is_a_408_after_the_heads_deadline(tmp_path: Path) -> None:
    """Also when it came in one packet with the request before."""
    async with run_engine() as engine, run_gateway(tmp_path, engine, head_deadline_seconds=0.3) as gateway:
        caller = await gateway.connect()
        await caller.send(request(body=chat()) + b"POST /v1/chat")
        assert (await caller.read_answer()).status == 200
        with trio.fail_after(5):
            assert (await caller.read_answer()).status == 408


@pytest.mark.parametrize("framing", ["sized", "chunked"])
async def test_a_slow_body_is_a_408(tmp_path: Path, framing: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, body_idle_seconds=0.3) as gateway:
        whole = request(body=chat())
        if framing == "chunked":
            head, _, body = whole.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
            whole = b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b"%x" % len(body), body, b"0", b"", b""])
        got = await say(gateway, whole[:-6])
        assert (got.status, got.json["error"]["code"]) == (408, "body_timeout")
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (408, "body_timeout", "absent")
        assert not engine.turns


async def test_a_body_that_keeps_coming_may_take_longer_than_one_pause(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, body_idle_seconds=0.6) as gateway:
        caller = await gateway.connect()
        for piece in cut_into(request(body=chat()), [190, 200, 210, 220]):
            await caller.send(piece)
            await trio.sleep(0.25)
        assert (await caller.read_answer()).status == 200


async def test_a_request_in_single_bytes_is_the_same_request(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        data = request(body=chat())
        for place in range(len(data)):
            await caller.send(data[place : place + 1])
            await wait_all_tasks_blocked()
        assert (await caller.read_answer()).status == 200
        assert engine.turns[0].request.body == chat()


async def test_a_request_cut_at_any_place_is_the_same_request(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        data = request("/v1/chat/completions", chat(), "X-Mark: yes")
        for place in range(1, len(data)):
            await caller.send(data[:place])
            await wait_all_tasks_blocked()
            await caller.send(data[place:])
            assert (await caller.read_answer()).status == 200, place
        assert {turn.request.body for turn in engine.turns} == {chat()}
        assert {turn.request.headers["x-mark"] for turn in engine.turns} == {"yes"}


async def test_a_chunked_body_in_any_chunks_reaches_the_backend_whole(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        body = chat()
        for size in (1, 3, 50, 1000):
            pieces = [body[start : start + size] for start in range(0, len(body), size)]
            head = (
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer " + KEY.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            await caller.send(head)
            for piece in pieces:
                await caller.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await caller.send(b"0\r\n\r\n")
            assert (await caller.read_answer()).status == 200
            assert engine.turns[-1].request.body == body
            assert engine.turns[-1].request.headers["content-length"] == str(len(body))


# Oversized


async def test_what_is_too_large_is_refused_with_its_own_status(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(
            tmp_path, engine, max_head_bytes=4096, max_target_bytes=1024, max_headers=20, max_body_bytes=100_000
        ) as gateway,
    ):
        large = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"x" * 200_000)
        cases = [
            (431, request("/v1/chat/completions", chat(), "X-Large: " + "y" * 5000)),
            (431, b"POST / HTTP/1.1\r\nHost: g\r\nX-Unfinished: " + b"y" * 5000),
            (431, request("/v1/chat/completions", chat(), *[f"X-{index}: y" for index in range(30)])),
            (414, request("/v1/" + "y" * 2000, chat())),
            (414, b"GET /" + b"y" * 2000),
            (413, request(body=large)),
            (413, request(body=large)[:400]),
        ]
        for status, data in cases:
            got = await say(gateway, data)
            assert got.status == status, data[:60]
        assert not engine.turns


async def test_a_chunked_body_that_grows_too_large_is_refused_on_the_way(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_body_bytes=10_000) as gateway:
        head = request("/v1/chat/completions", b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
        caller = await gateway.connect()
        await caller.send(head)
        for _ in range(5):
            await caller.send(b"%x\r\n%b\r\n" % (5000, b" " * 5000))
        got = await caller.read_answer()
        assert got.status == 413


@pytest.mark.parametrize("framing", ["sized", "chunked"])
async def test_a_body_too_large_is_refused_even_if_it_came_with_its_head(tmp_path: Path, framing: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_body_bytes=1000) as gateway:
        body = chat(padding="x" * 2000)
        data = request(body=body)
        if framing == "chunked":
            data = request("/v1/chat/completions", b"", "Transfer-Encoding: chunked").replace(
                b"Content-Length: 0\r\n", b""
            ) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        caller = await gateway.connect()
        await caller.send(data)
        assert (await caller.read_answer()).status == 413
        assert not engine.turns


# Wrong


def as_chat(body: bytes) -> bytes:
    return request(body=body)


def without(data: bytes, *names: bytes) -> bytes:
    head, blank, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(names)]
    return b"\r\n".join(lines) + blank + body


WRONG = {
    "not JSON": (400, "invalid_json", as_chat(b"{]")),
    "half of JSON": (400, "invalid_json", as_chat(chat()[:-1])),
    "not UTF-8": (400, "invalid_json", as_chat(b'{"model":"\xff","messages":[1]}')),
    "nested too deeply": (400, "invalid_json", as_chat(b'{"model":"m","x":' + b"[" * 100_000)),
    "no object": (400, None, as_chat(b"[]")),
    "empty": (400, "invalid_json", as_chat(b"")),
    "no model": (400, "missing_field", as_chat(b'{"messages":[{}]}')),
    "empty model": (400, "missing_field", as_chat(b'{"model":"","messages":[{}]}')),
    "no messages": (400, "missing_field", as_chat(b'{"model":"m"}')),
    "wrong type of model": (400, "invalid_field", as_chat(b'{"model":7,"messages":[{}]}')),
    "wrong type of stream": (400, "invalid_field", as_chat(b'{"model":"m","messages":[{}],"stream":"yes"}')),
    "wrong type of max_tokens": (400, "invalid_field", as_chat(b'{"model":"m","messages":[{}],"max_tokens":"x"}')),
    "unknown model": (404, "model_not_found", as_chat(chat("nobody"))),
    "unknown path": (404, "unknown_route", request("/v1/nothing", chat())),
    "no length": (411, "length_required", without(request(), b"content-length")),
    "media type": (415, "unsupported_media_type", as_chat(chat()).replace(b"application/json", b"text/plain")),
    "GET": (405, "method_not_allowed", request(method="GET")),
    "DELETE": (405, "method_not_allowed", request("/v1/models", method="DELETE")),
    "housekeeping": (501, None, request("/api/pull", chat())),
    "no key": (401, "invalid_api_key", request(body=chat(), key=None)),
    "wrong key": (401, "invalid_api_key", request(body=chat(), key="nobodys")),
}


@pytest.mark.parametrize(("status", "code", "data"), WRONG.values(), ids=WRONG)
async def test_a_wrong_request_is_told_what_is_wrong_and_the_connection_goes_on(
    tmp_path: Path, status: int, code: str | None, data: bytes
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        got = await keep(caller, data)
        assert got.status == status, got.payload
        assert code is None or got.json["error"]["code"] == code
        if status == 405:
            assert "POST" in got.headers["allow"] or "GET" in got.headers["allow"]
        if status == 401:
            assert got.headers["www-authenticate"].startswith("Bearer")
        assert not engine.turns
        assert (await keep(caller, request(body=chat()))).status == 200
        records = await gateway.wait_records(1)
        assert [record.status for record in records if record.status != 200] in ([], [status])


CLOSING = {
    "unknown coding": (501, without(request("/", b"", "Transfer-Encoding: gzip, chunked"), b"content-length")),
    "no chunks": (400, without(request("/", b"", "Transfer-Encoding: gzip"), b"content-length")),
    "unknown method": (501, request(method="BREW")),
    "CONNECT": (501, request("gateway:443", method="CONNECT")),
    "HTTP/2": (505, request(body=chat(), version="2.0")),
    "preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "expectation": (417, request("/v1/chat/completions", chat(), "Expect: miracles")),
    "no host": (400, without(request(body=chat()), b"host")),
    "two hosts": (400, request("/v1/chat/completions", chat(), "Host: other")),
    "bare LF": (400, request(body=chat()).replace(b"\r\n", b"\n", 1)),
    "empty lines in place of a request": (400, b"\r\n" * 100),
    "TLS": (400, bytes.fromhex("16030100a5010000a10303") + b"x" * 60),
    "length and chunks": (400, request("/v1/chat/completions", chat(), "Transfer-Encoding: chunked")),
    "two lengths": (400, request("/v1/chat/completions", chat(), "Content-Length: 3")),
    "bad chunk": (
        400,
        without(request("/v1/chat/completions", b"", "Transfer-Encoding: chunked"), b"content-length") + b"xyz\r\n",
    ),
}


@pytest.mark.parametrize(("status", "data"), CLOSING.values(), ids=CLOSING)
async def test_a_request_whose_end_cannot_be_trusted_is_refused_and_the_connection_ends(
    tmp_path: Path, status: int, data: bytes
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        got = await say(gateway, data)
        assert got.status == status, got.payload
        assert json.loads(got.payload)["error"]["message"]
        assert not engine.turns


async def test_ollama_takes_a_body_without_a_media_type(tmp_path: Path) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        data = request("/api/chat", chat()).replace(b"application/json", b"application/x-www-form-urlencoded")
        assert (await keep(caller, data)).status == 200
        wrong = await keep(caller, request("/api/chat", b"{}"))
        assert (wrong.status, list(wrong.json)) == (400, ["error"])


# In order


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer_stream("one", "two")
        caller = await gateway.connect()
        ids = [f"request-{index}" for index in range(60)]
        data = b""
        for index, request_id in enumerate(ids):
            match index % 3:
                case 0:
                    data += request("/v1/chat/completions", chat(stream=True), f"X-Request-Id: {request_id}")
                case 1:
                    data += request("/v1/models", b"", f"X-Request-Id: {request_id}", method="GET")
                case 2:
                    data += request("/v1/chat/completions", b"{", f"X-Request-Id: {request_id}")
        await caller.send(data)
        for index, request_id in enumerate(ids):
            got = await caller.read_answer()
            assert got.headers["x-request-id"] == request_id
            assert got.status == (200, 200, 400)[index % 3]
            if index % 3 == 0:
                assert got.payload.startswith(event("one") + event("two"))


async def test_a_pipeline_of_cheap_answers_does_not_hold_others_up(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        greedy, other = await gateway.connect(), await gateway.connect()
        many = request("/v1/models", method="GET") * 500
        order: list[str] = []

        async def read(caller: Caller, name: str, count: int) -> None:
            for _ in range(count):
                assert (await caller.read_answer()).status == 200
            order.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(greedy.send, many)
            nursery.start_soon(read, greedy, "greedy", 500)
            await other.send(request(body=chat()))
            nursery.start_soon(read, other, "other", 1)
        assert order == ["other", "greedy"]


async def test_a_pipelined_request_behind_a_departed_stream_is_not_served(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:

        async def talk(turn: object) -> None:
            await answer_stream("one")(turn)  # type: ignore[arg-type]

        engine.behaviour = talk
        caller = await gateway.connect()
        await caller.send(request(body=chat(stream=True)) * 3)
        await caller.leave(rudely=True)
        await wait_until(lambda: not gateway.door.clients)
        await gateway.settled()


async def test_a_client_is_told_to_go_on_only_when_its_body_is_wanted(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        whole = request("/v1/chat/completions", chat(), "Expect: 100-continue")
        head = whole[: whole.index(b"\r\n\r\n") + 4]
        caller = await gateway.connect()
        await caller.send(head)
        assert await caller.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.send(chat())
        assert (await caller.read_answer()).status == 200
        got = await say(gateway, head.replace(KEY.encode(), b"nobodys"))
        assert got.status == 401
        assert got.raw.startswith(b"HTTP/1.1 401")


async def test_an_http10_client_is_served_and_let_go(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        await caller.send(without(request(body=chat(), version="1.0"), b"host"))
        got = await caller.read_answer()
        assert (got.status, got.json["usage"]["prompt_tokens"]) == (200, 7)
        assert await caller.read_to_end() == b""


async def test_head_answers_have_a_length_and_no_body(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        await caller.send(request("/v1/models", method="HEAD") + request("/v1/models", method="GET"))
        bare = await caller.read_answer(has_body=False)
        full = await caller.read_answer()
        assert bare.headers["content-length"] == full.headers["content-length"] == str(len(full.payload))
