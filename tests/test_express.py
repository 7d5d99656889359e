"""The express way: who goes it, that nobody can tell, and that whatever goes wrong on it leaves nothing behind.

`run_gateway` checks after every test that no slot, lease, relay, entry or connection is left.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.config import Key
from mrproxy.link.records import JournalRecord
from mrproxy.link.snapshot import read, write
from tests.fakes.behaviours import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    answer,
    answer_status,
    answer_stream,
    chat_answer,
    chunk,
    event,
    hang,
    reset,
    sized,
    usage_event,
)
from tests.fakes.caller import Answer, Caller, chat, request
from tests.fakes.express import Watched, watched_express
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine

pytestmark = pytest.mark.slow

OK = answer(sized(chat_answer()))


@pytest.fixture
def express() -> Iterator[Watched]:
    with watched_express() as watched:
        yield watched


async def ask(caller: Caller, *, stream: bool = False) -> Answer:
    await caller.ask(stream=stream)
    return await caller.read_answer()


async def warmed(gateway: Gateway, *, receive_bytes: int = 0) -> Caller:
    """A connection whose next request goes the express way, with a pooled connection at every backend."""
    callers = [await gateway.connect(receive_bytes=receive_bytes) for _ in gateway.stages.registry.backends]
    for caller in callers:
        await caller.ask()
    for caller in callers:
        assert (await caller.read_answer()).status == 200
    return callers[0]


async def served_again(gateway: Gateway) -> None:
    """A new connection is served, twice."""
    caller = await gateway.connect()
    for _ in range(2):
        assert (await ask(caller)).status == 200
    await gateway.settled()


async def drop_idle(engine: FakeEngine, gateway: Gateway) -> None:
    """The engine closes its connections, and the gateway has seen it."""
    await wait_until(lambda: all(turn.is_over for turn in engine.turns))
    engine.close_idle()
    await wait_until(lambda: not gateway.backend(engine.name).pool.open_connections)


def told(record: JournalRecord) -> JournalRecord:
    """A record without what differs from request to request."""
    return msgspec.structs.replace(
        record, request_id="", started_utc=0.0, first_byte_seconds=None, total_seconds=0.0, queue_seconds=0.0
    )


def held_until(released: trio.Event, *pieces: bytes) -> Behaviour:
    """The first piece at once, the others when it is allowed."""

    async def behave(turn: Turn) -> None:
        await turn.send(pieces[0])
        await released.wait()
        for piece in pieces[1:]:
            await turn.send(piece)

    return behave


# Who goes it


@pytest.mark.parametrize("stream", [False, True])
async def test_all_requests_but_the_first_of_a_connection_go_the_express_way(
    tmp_path: Path, express: Watched, *, stream: bool
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer_stream("a", "b") if stream else OK
        caller = await gateway.connect()
        answers = [await ask(caller, stream=stream) for _ in range(5)]
        assert (express.taken, express.declined) == (4, 0)
        assert {(got.status, got.payload) for got in answers} == {(200, answers[0].payload)}
        assert len({got.headers["x-request-id"] for got in answers}) == 5
        assert len({repr(told(record)) for record in await gateway.wait_records(5)}) == 1


async def test_bodies_may_differ_in_size_and_content(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        for size in (1, 10, 100, 1000, 30_000, 5):
            await caller.ask(user="x" * size)
            assert (await caller.read_answer()).status == 200
        assert express.taken == 5
        assert [len(turn.request.json["user"]) for turn in engine.turns] == [1, 10, 100, 1000, 30_000, 5]


async def test_two_heads_in_turn_on_one_connection_are_both_served(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        for number in range(6):
            await caller.ask("m", f"X-Turn: {number % 2}")
            assert (await caller.read_answer()).status == 200
        assert express.taken == 0


# Nobody can tell

GOOD = request("/v1/chat/completions", chat())
OLLAMA = request("/api/chat", chat("o"))
LIMITED, EXPIRED, POOR = "key-of-one-model", "key-that-has-expired", "key-without-budget"


def with_body(body: bytes) -> bytes:
    return request("/v1/chat/completions", body)


def with_key(key: str | None, model: str = "m") -> bytes:
    return request("/v1/chat/completions", chat(model), key=key)


def with_line(line: str) -> bytes:
    return request("/v1/chat/completions", chat(), line)


CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer key-of-the-tests\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(chat()), chat())
)
# name: (what comes before it on the connection, the request in the pieces in which it is sent)
VARIANTS: dict[str, tuple[bytes, list[bytes]]] = {
    "plain": (GOOD, [GOOD]),
    "stream": (GOOD, [with_body(chat(stream=True))]),
    "stream with usage": (GOOD, [with_body(chat(stream=True, stream_options={"include_usage": True}))]),
    "wrong key": (with_key("wrong"), [with_key("wrong")]),
    "no key": (with_key(None), [with_key(None)]),
    "expired key": (with_key(EXPIRED), [with_key(EXPIRED)]),
    "forbidden model": (with_key(LIMITED, "m"), [with_key(LIMITED, "o")]),
    "allowed model": (with_key(LIMITED, "m"), [with_key(LIMITED, "m")]),
    "over the budget": (with_key(POOR), [with_key(POOR)]),
    "unknown model": (GOOD, [with_body(chat("unknown"))]),
    "no JSON": (GOOD, [with_body(b'{"model":"m",')]),
    "JSON that is no object": (GOOD, [with_body(b"[]")]),
    "not UTF-8": (GOOD, [with_body(b'{"model":"m","messages":[],"x":"\xff"}')]),
    "a name not UTF-8": (
        GOOD,
        [with_body(b'{"model":"m","messages":[],"stream":true,"stream_options":null,"\xff":1}')],
    ),
    "no messages": (GOOD, [with_body(b'{"model":"m"}')]),
    "no model": (GOOD, [with_body(b'{"messages":[]}')]),
    "wrong type": (GOOD, [with_body(b'{"model":"m","messages":[],"stream":"yes"}')]),
    "no body": (GOOD, [with_body(b"")]),
    "pipelined": (GOOD, [GOOD + GOOD]),
    "one and a half": (GOOD, [GOOD + GOOD[:50], GOOD[50:]]),
    "split in the head": (GOOD, [GOOD[:40], GOOD[40:]]),
    "split at the body": (GOOD, [GOOD[: -len(chat())], chat()]),
    "split in the body": (GOOD, [GOOD[:-5], GOOD[-5:]]),
    "large body": (GOOD, [with_body(chat(user="x" * 200_000))]),
    "chunked": (CHUNKED, [CHUNKED]),
    "HTTP/1.0": (GOOD, [request("/v1/chat/completions", chat(), version="1.0")]),
    "HTTP/1.0 kept alive": (GOOD, [request("/v1/chat/completions", chat(), "Connection: keep-alive", version="1.0")]),
    "CORS": (with_line("Origin: http://a"), [with_line("Origin: http://a")]),
    "close": (GOOD, [with_line("Connection: close")]),
    "expects": (with_line("Expect: 100-continue"), [with_line("Expect: 100-continue")]),
    "own id": (with_line("X-Request-Id: mine"), [with_line("X-Request-Id: mine")]),
    "leading zeros": (GOOD, [GOOD.replace(b"Content-Length: ", b"Content-Length: 00")]),
    "wrong length": (GOOD, [GOOD.replace(b"Content-Length: ", b"Content-Length: +")]),
    "empty line first": (GOOD, [b"\r\n" + GOOD]),
    "garbage": (GOOD, [b"\x16\x03\x01 hello\r\n\r\n"]),
    "text": (GOOD, [GOOD.replace(b"application/json", b"text/plain")]),
    "models": (GOOD, [request("/v1/models", method="GET")]),
    "nowhere": (GOOD, [request("/v1/nowhere", chat())]),
    "embeddings": (GOOD, [request("/v1/embeddings", b'{"model":"m","input":"x"}')]),
    "ollama": (OLLAMA, [OLLAMA]),
    "ollama, one piece": (OLLAMA, [request("/api/chat", chat("o", stream=False) + b" ")]),
    "ollama, unknown": (OLLAMA, [request("/api/chat", chat("unknown"))]),
    "ollama, no JSON": (OLLAMA, [request("/api/chat", b"{")]),
    "ollama, show": (OLLAMA, [request("/api/show", b'{"model":"o"}')]),
}
GOES_EXPRESS = {"plain", "stream", "stream with usage", "own id", "leading zeros", "ollama", "ollama, one piece"}


async def answers_to(caller: Caller, pieces: list[bytes]) -> list[bytes]:
    """Everything that is answered, without what differs from request to request; ends with whether it was closed."""
    for piece in pieces:
        await caller.send(piece)
        await wait_all_tasks_blocked(0.01)
    count = sum(b"".join(pieces).count(line) for line in (b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")) or 1
    answers = [(await caller.read_answer()).raw for _ in range(count)]
    with trio.move_on_after(0.01) as closed:
        await caller.read_to_end()
    return [blurred(raw) for raw in answers] + [b"open" if closed.cancelled_caught else b"closed"]


def blurred(raw: bytes) -> bytes:
    found = re.search(rb"x-request-id: (\S+)", raw)
    if found is not None:
        raw = raw.replace(found[1], b"ID")
    return re.sub(rb"((?:server-timing|x-ratelimit-[a-z-]+|date|retry-after): )[^\r]*", rb"\1X", raw)


async def keyed_gateway_answers(gateway: Gateway, name: str) -> tuple[list[bytes], list[bytes]]:
    """What the variant is answered as the first and as the fifth request of a connection."""
    before, pieces = VARIANTS[name]
    first = await answers_to(await gateway.connect(), pieces)
    caller = await gateway.connect()
    for _ in range(4):
        await caller.send(before)
        await caller.read_answer()
    return first, await answers_to(caller, pieces)


async def answer_as_asked(turn: Turn) -> None:
    """The same to the same request."""
    body = turn.request.body
    if turn.request.path.startswith("/api") or b'"stream": true' not in body:
        await turn.send(sized(chat_answer()))
    else:
        await turn.send(STREAM_HEAD + chunk(event("a")) + chunk(usage_event()) + chunk(DONE) + LAST_CHUNK)


@pytest.mark.parametrize("name", VARIANTS)
async def test_the_fifth_request_of_a_connection_is_answered_as_the_first(
    tmp_path: Path, express: Watched, name: str
) -> None:
    keys = (
        Key(name="limited", key=LIMITED, user="ada", models=("m",)),
        Key(name="expired", key=EXPIRED, user="ada", expires="2020-01-01T00:00:00Z"),
        Key(name="poor", key=POOR, user="ada", token_budget=1),
    )
    async with (
        run_engine() as engine,
        run_engine("engine-o", "ollama", ["o"]) as other,
        run_gateway(tmp_path, engine, other, keys=keys) as gateway,
    ):
        engine.behaviour = other.behaviour = answer_as_asked
        await served_again(gateway)
        caller = await gateway.connect()
        await caller.send(OLLAMA)
        assert (await caller.read_answer()).status == 200
        known = len(await gateway.wait_records(3))
        first, fifth = await keyed_gateway_answers(gateway, name)
        assert fifth == first
        taken_before = express.taken
        await gateway.settled()
        records = [told(record) for record in gateway.records()[known:]]
        count = len(first) - 1
        if len(records) >= 2 * count:
            assert records[-count:] == records[:count]
        if name in GOES_EXPRESS:
            assert express.taken == taken_before > 0
            assert express.declined == 0
        await served_again(gateway)
        assert gateway.stages.counters.crashes == 0


async def test_a_pipeline_during_an_express_request_is_answered_after_it(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        released = trio.Event()
        whole = sized(chat_answer("first"))
        engine.script(held_until(released, whole[:30], whole[30:]), answer(sized(chat_answer("second"))))
        await caller.ask()
        await engine.wait_turn(2)
        await caller.ask()
        await caller.ask()
        await wait_all_tasks_blocked(0.01)
        assert express.taken == 1
        released.set()
        answers = [await caller.read_answer() for _ in range(3)]
        assert [got.json["choices"][0]["message"]["content"] for got in answers] == ["first", "second", "hello"]
        assert (await ask(caller)).status == 200
        assert express.taken == 2


async def test_a_full_backend_is_waited_for_the_ordinary_way(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_concurrent=1) as gateway:
        caller, other = await warmed(gateway), await gateway.connect()
        released = trio.Event()
        whole = sized(chat_answer())
        engine.script(held_until(released, whole[:30], whole[30:]))
        await other.ask()
        await engine.wait_turn(2)
        await caller.ask()
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 1)
        assert (express.taken, express.declined) == (0, 1)
        released.set()
        assert [(await each.read_answer()).status for each in (other, caller)] == [200, 200]
        assert (await ask(caller)).status == 200
        assert express.taken == 1


async def test_a_revoked_key_stops_working_on_an_open_connection(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        path = gateway.worker._snapshot_path
        write(path, msgspec.structs.replace(read(path), keys=(), generation=2))
        assert await gateway.worker._reload() == ""
        assert (await ask(caller)).status == 401
        assert express.taken == 0


# The backend fails


@pytest.mark.parametrize("failing", [answer_status(500), answer_status(503), answer_status(429)])
async def test_a_failure_before_the_first_byte_is_retried_elsewhere(
    tmp_path: Path, express: Watched, failing: Behaviour
) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b) as gateway,
    ):
        caller = await warmed(gateway)
        a.behaviour = b.behaviour = the_first_time(failing)
        assert (await ask(caller)).status == 200
        assert express.taken == 1
        record = (await gateway.wait_records(3))[-1]
        assert (record.status, record.code, record.attempts) == (200, "", 2)
        assert (await ask(caller)).status == 200
        assert express.taken == 2


def the_first_time(behaviour: Behaviour) -> Behaviour:
    """Once, wherever that is; then all is well."""
    rest = [behaviour]

    async def behave(turn: Turn) -> None:
        await (rest.pop() if rest else OK)(turn)

    return behave


def hang_up_after(*pieces: bytes) -> Behaviour:
    return answer(*pieces, closes=True)


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
async def test_an_only_engines_error_is_passed_on_and_the_connection_goes_on(
    tmp_path: Path, express: Watched, status: int
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.script(answer_status(status))
        first = await ask(await gateway.connect())
        caller = await warmed(gateway)
        engine.script(answer_status(status))
        got = await ask(caller)
        assert express.taken == 1
        assert blurred(got.raw) == blurred(first.raw)
        assert got.status == status
        assert (await ask(caller)).status == 200
        records = await gateway.wait_records(4)
        assert told(records[2]) == told(records[0])
        assert records[2].status == status
        await served_again(gateway)


async def test_an_engine_that_is_too_slow_is_a_504_and_the_connection_goes_on(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, first_byte_deadline_seconds=0.05) as gateway:
        caller = await warmed(gateway)
        engine.script(hang())
        assert (await ask(caller)).status == 504
        assert express.taken == 1
        assert (await ask(caller)).status == 200
        assert [record.status for record in await gateway.wait_records(3)] == [200, 504, 200]


async def test_a_stale_pooled_connection_is_tried_again_on_a_new_one(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        for stale in (reset(), hang_up_after(b"")):
            taken = express.taken
            engine.script(stale)
            assert (await ask(caller)).status == 200
            assert express.taken == taken + 1
        assert (await ask(caller)).status == 200
        records = await gateway.wait_records(4)
        assert [(record.status, record.attempts, record.code) for record in records] == [(200, 1, "")] * 4
        assert gateway.backend().breaker.state.value == "closed"


async def test_connections_that_the_engine_closed_send_it_the_ordinary_way(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        await drop_idle(engine, gateway)
        assert (await ask(caller)).status == 200
        assert (express.taken, express.declined) == (0, 1)
        assert (await ask(caller)).status == 200
        assert express.taken == 1


@pytest.mark.parametrize("breaking", [reset, hang_up_after])
async def test_a_stream_that_breaks_off_says_so_and_closes(tmp_path: Path, express: Watched, breaking: object) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        engine.script(breaking(STREAM_HEAD, chunk(event("a")), chunk(event("b"))))  # type: ignore[operator]
        got = await ask(caller, stream=True)
        assert express.taken == 1
        assert (got.status, got.is_whole) == (200, True)
        assert got.payload.startswith(event("a") + event("b") + b'data: {"error"')
        assert got.payload.endswith(DONE)
        assert await caller.read_to_end() == b""
        record = (await gateway.wait_records(2))[-1]
        assert (record.status, record.code) == (200, "backend_failed")
        assert (record.usage_state, record.completion_tokens) == ("partial", 2)
        await served_again(gateway)


async def test_a_sized_answer_that_breaks_off_is_cut_off(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        engine.script(hang_up_after(sized(chat_answer())[:-5]))
        assert not (await ask(caller)).is_whole
        assert express.taken == 1
        assert caller.is_over
        assert (await gateway.wait_records(2))[-1].code == "backend_failed"
        await served_again(gateway)


async def test_an_unasked_upgrade_is_no_answer(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        engine.script(answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"))
        assert (await ask(caller)).status == 502
        assert express.taken == 1
        assert (await ask(caller)).status == 200


async def test_a_backend_that_has_rested_is_tested_by_the_next_request_at_once(
    tmp_path: Path, express: Watched
) -> None:
    rest_seconds = 1.0
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, breaker_open_seconds=rest_seconds, probe_retry_seconds=60) as gateway,
    ):
        caller = await warmed(gateway)
        backend = gateway.backend()
        await drop_idle(engine, gateway)
        engine.refuse()
        for _ in range(3):
            assert (await ask(caller)).status == 502
        assert backend.breaker.state.value == "open"
        await engine.listen()
        await wait_until(lambda: backend.is_routable(trio.current_time()))
        assert (await ask(caller)).status == 200
        record = gateway.records()[-1]
        assert (record.status, record.queue_seconds) == (200, 0.0)


# The client fails


@pytest.mark.parametrize("rudely", [False, True])
@pytest.mark.parametrize("pieces", [[], [STREAM_HEAD], [STREAM_HEAD, chunk(event("a"))]])
async def test_a_client_that_leaves_ends_the_engines_work(
    tmp_path: Path, express: Watched, pieces: list[bytes], *, rudely: bool
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        engine.script(hang(*pieces))
        await caller.ask(stream=True)
        turn = await engine.wait_turn(2)
        if pieces:
            await caller.read_until(event("a") if len(pieces) > 1 else b"\r\n\r\n")
        await caller.leave(rudely=rudely)
        with trio.fail_after(5):
            await turn.left.wait()
        assert express.taken == 1
        record = (await gateway.wait_records(2))[-1]
        assert (record.status, record.code) == (200 if pieces else 499, "client_departed")
        assert (record.usage_state, record.completion_tokens) == ("partial", max(0, len(pieces) - 1))
        assert gateway.stages.counters.client_departures == 1
        await served_again(gateway)


async def test_a_client_that_does_not_read_holds_nobody_up_and_gets_everything(
    tmp_path: Path, express: Watched
) -> None:
    text = "x" * 3_000_000
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway, receive_bytes=4096)
        engine.script(answer(sized(chat_answer(text))))
        await caller.ask()
        await engine.wait_turn(2)
        await served_again_while_busy(gateway)
        got = await caller.read_answer()
        assert got.payload == chat_answer(text)
        assert (await ask(caller)).status == 200
        assert express.taken == 3


async def served_again_while_busy(gateway: Gateway) -> None:
    caller = await gateway.connect()
    for _ in range(2):
        assert (await ask(caller)).status == 200


async def test_a_client_that_leaves_an_answer_unread_leaves_nothing_behind(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway, receive_bytes=4096)
        engine.script(answer(sized(chat_answer("x" * 3_000_000))))
        await caller.ask()
        await caller.read_until(b"\r\n\r\n")
        await caller.leave(rudely=True)
        assert (await gateway.wait_records(2))[-1].code == "client_departed"
        assert express.taken == 1
        await served_again(gateway)


# The worker ends


async def test_a_drain_lets_an_express_request_finish_and_closes(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller, idle = await warmed(gateway), await gateway.connect()
        assert (await ask(idle)).status == 200
        released = trio.Event()
        engine.script(held_until(released, STREAM_HEAD, chunk(event("a")), chunk(DONE), LAST_CHUNK))
        await caller.ask(stream=True)
        await engine.wait_turn(3)
        gateway.worker._drain.set()
        assert await idle.read_to_end() == b""
        released.set()
        assert (await caller.read_answer()).payload == event("a") + DONE
        assert await caller.read_to_end() == b""
        assert express.taken == 1
        assert [record.status for record in await gateway.wait_records(3)] == [200] * 3


async def test_the_end_of_a_drain_says_so_in_an_express_stream(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, drain_seconds=0) as gateway:
        caller = await warmed(gateway)
        engine.script(hang(STREAM_HEAD, chunk(event("a"))))
        await caller.ask(stream=True)
        await caller.read_until(event("a"))
        gateway.worker._drain.set()
        rest = await caller.read_to_end()
        assert b'"code":"draining"' in rest
        assert rest.endswith(LAST_CHUNK)
        assert (await gateway.wait_records(2))[-1].code == "draining"
        assert express.taken == 1
