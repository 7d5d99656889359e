"""Shots, through real sockets: an answer in one piece makes no relay, and whatever else happens makes one in time.

Every test first makes the express way warm, and proves that: whole answers after the first construct no `Relay`.
`run_gateway` checks after every test that no slot, lease, relay, shot, entry or connection is left.
"""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import trio

from mrproxy.accept.client import Client
from mrproxy.attempts import Attempts
from mrproxy.link.records import JournalRecord
from mrproxy.link.snapshot import read, write
from mrproxy.sockets import OUT, RECEIVE_BYTES
from mrproxy.upstream.answer import AnswerCache
from mrproxy.upstream.pump import Relay
from mrproxy.upstream.shot import Shot
from tests.fakes.behaviours import answer, answer_status, chat_answer, chunk, cut_into, hang, head, reset, sized
from tests.fakes.caller import Answer, Caller, chat, request
from tests.fakes.express import ask, blurred, served_again, told, warmed
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine

pytestmark = pytest.mark.slow

BODY = chat_answer()
WHOLE = sized(BODY)
OK = answer(WHOLE)
NO_USAGE = b'{"choices":[{"message":{"content":"as long as this is"}}]}'
FAILED = "backend_failed"
DEPARTED = "client_departed"


@dataclass
class Made:
    """How many were made since `forget`; a shot that unfolds makes a relay."""

    shots: int = 0
    relays: int = 0

    def forget(self) -> None:
        self.shots = self.relays = 0


@contextmanager
def counting_made() -> Iterator[Made]:
    made = Made()

    def counted(make: Callable[..., None], name: str) -> Callable[..., None]:
        def count(*arguments: Any, **named: Any) -> None:
            setattr(made, name, getattr(made, name) + 1)
            make(*arguments, **named)

        return count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shot, "__init__", counted(Shot.__init__, "shots"))
        patch.setattr(Relay, "__init__", counted(Relay.__init__, "relays"))
        yield made


class Scene(NamedTuple):
    """A warm gateway: the next request of `caller` is a shot, at any engine."""

    gateway: Gateway
    engines: list[FakeEngine]
    caller: Caller
    made: Made

    @property
    def engine(self) -> FakeEngine:
        return self.engines[0]

    def behave(self, behaviour: Behaviour) -> None:
        """Whichever engine is asked."""
        for engine in self.engines:
            engine.behaviour = behaviour

    async def warm(self) -> None:
        """Whole answers make shots and no relays."""
        self.behave(OK)
        assert (await ask(self.caller)).status == 200  # whatever this one had to repair
        self.made.forget()
        assert (await ask(self.caller)).payload == BODY
        assert self.made == Made(1, 0)
        await self.gateway.settled()
        self.made.forget()

    async def begin(self, *behaviours: Behaviour) -> Turn:
        """A request that is under way, as a shot."""
        count = len(self.engine.turns)
        self.engine.script(*behaviours)
        await self.caller.ask()
        turn = await self.engine.wait_turn(count + 1)
        assert self.made.shots == 1
        return turn

    async def record(self) -> JournalRecord:
        """Of the last request, when nothing is held any more."""
        await self.gateway.settled()
        return self.gateway.records()[-1]

    @property
    def client(self) -> Client:
        """The gateway's side of `caller`."""
        port = self.caller.stream.socket.getsockname()[1]
        return next(client for client in self.gateway.door.clients if client.sock.getpeername()[1] == port)


@asynccontextmanager
async def warm_gateway(
    directory: Path, *, engines: int = 1, receive_bytes: int = 0, **settings: Any
) -> AsyncIterator[Scene]:
    """Failures neither open a breaker nor use up the retries."""
    patient = {"breaker_min_requests": 100_000, "breaker_failures": 1000, "retry_budget_percent": 100, **settings}
    async with run_engine("engine-a") as first, run_engine("engine-b") as second:
        used = [first, second][:engines]
        first.behaviour = second.behaviour = OK
        with counting_made() as made:
            async with run_gateway(directory, *used, **patient) as gateway:
                scene = Scene(gateway, used, await warmed(gateway, receive_bytes=receive_bytes), made)
                await scene.warm()
                yield scene
                if not gateway.worker._drain.is_set():
                    await served_again(gateway)


def outcome(record: JournalRecord) -> tuple[object, ...]:
    return record.status, record.code, record.attempts, record.usage_state


def counts(record: JournalRecord) -> tuple[object, ...]:
    return record.usage_state, record.prompt_tokens, record.completion_tokens


# Whole


async def test_a_whole_answer_makes_no_relay(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path) as scene:
        for size in (0, 1, 100, 10_000, 60_000):
            body = chat_answer("x" * size, 11, size)
            scene.engine.script(answer(sized(body)))
            got = await ask(scene.caller)
            assert (got.payload, got.headers["content-length"]) == (body, str(len(body)))
            record = await scene.record()
            assert (outcome(record), counts(record)) == ((200, "", 1, "exact"), ("exact", 11, size))
            assert record.bytes_out == len(got.raw)
        assert scene.made == Made(5, 0)
        assert len({id(turn.connection) for turn in scene.engine.turns}) == 1


@pytest.mark.parametrize(
    ("kind", "path", "body", "usage"),
    [
        ("ollama", "/api/chat", b'{"done":true,"prompt_eval_count":4,"eval_count":2}', ("exact", 4, 2)),
        ("ollama", "/api/chat", b'{"done":true}', ("estimated", None, None)),
        ("vllm", "/v1/chat/completions", b'{"usage":{"prompt_tokens":4,"completion_tokens":2}}', ("exact", 4, 2)),
        ("vllm", "/v1/chat/completions", NO_USAGE, ("estimated", None, None)),
        ("vllm", "/v1/chat/completions", b"no JSON", ("estimated", None, None)),
        ("vllm", "/v1/embeddings", b'{"usage":{"prompt_tokens":8,"total_tokens":8}}', ("exact", 8, None)),
        ("vllm", "/v1/embeddings", b'{"data":[]}', ("estimated", None, None)),
        ("anthropic", "/v1/messages", b'{"usage":{"input_tokens":4,"output_tokens":2}}', ("exact", 4, 2)),
    ],
)
async def test_it_is_counted_as_a_relay_counts_it(
    tmp_path: Path, kind: str, path: str, body: bytes, usage: tuple[str, int | None, int | None]
) -> None:
    asked = request(path, chat(stream=False)[:-1] + b',"stream":false,"input":"hi","max_tokens":5}')
    with counting_made() as made:
        async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
            engine.behaviour = answer(sized(body))
            caller = await gateway.connect()
            answers = []
            for _ in range(3):
                await caller.send(asked)
                answers.append(blurred((await caller.read_answer()).raw))
            assert made == Made(2, 1)
            assert answers[0] == answers[1] == answers[2]
            records = await gateway.wait_records(3)
            assert {record.usage_state for record in records} == {usage[0]}
            assert usage[0] != "exact" or {counts(record) for record in records} == {usage}


# Whatever the engine does, the caller and the journal cannot tell a shot from a relay


class Case(NamedTuple):
    """What an engine does, and what comes of it."""

    behaviour: Behaviour
    status: int = 200
    code: str = ""
    usage: str = "exact"
    payload: bytes | None = BODY
    relays: tuple[int, ...] = (1,)


FULL_BODY = chat_answer("x" * (RECEIVE_BYTES - len(sized(chat_answer("x" * 60_000))) + 60_000))
FULL = sized(FULL_BODY)  # exactly one full read, with its head
LARGE = chat_answer("x" * 200_000)
HUGE = chat_answer("x" * 2_000_000)
OTHER = sized(b'{"choices":[{"message":{"content":"of somebody else"}}]}')
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
CHUNKED = head("Transfer-Encoding: chunked")
SWITCHED = b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"

CASES = {
    "whole": Case(OK, relays=(0,)),
    "without usage": Case(answer(sized(NO_USAGE)), usage="estimated", payload=NO_USAGE, relays=(0,)),
    "in single bytes": Case(answer(*cut_into(WHOLE, range(1, len(WHOLE))))),
    "more than a read": Case(answer(sized(LARGE)), payload=LARGE),
    "much more than a read": Case(answer(sized(HUGE)), payload=HUGE),
    "as much as a read": Case(answer(FULL), payload=FULL_BODY),
    "chunks": Case(answer(CHUNKED + chunk(BODY[:9]), chunk(BODY[9:]) + b"0\r\n\r\n")),
    "until it closes": Case(answer(head(), BODY, closes=True)),
    "whole, then closed": Case(answer(WHOLE, closes=True), relays=(0, 1)),  # both in one event, or not
    "whole, then something": Case(answer(WHOLE + OTHER)),
    "says that it closes": Case(answer(sized(BODY, "Connection: close"), closes=True)),
    "says close, and does not": Case(answer(sized(BODY, "Connection: close"))),
    "interim answers first": Case(answer(INTERIM, INTERIM, WHOLE)),
    "interim answers before it": Case(answer(INTERIM * 2 + WHOLE)),
    "400": Case(answer_status(400), 400, FAILED, "absent", None),
    "404": Case(answer_status(404), 404, FAILED, "absent", None),
    "429": Case(answer_status(429), 429, "backend_rate_limited", "absent", None),
    "500": Case(answer_status(500), 500, FAILED, "absent", None),
    "503": Case(answer_status(503), 503, "backend_busy", "absent", None),
    "500 in pieces": Case(answer(*cut_into(sized(BODY, status=500), [10, 90])), 500, FAILED, "absent"),
    "garbage": Case(answer(b"SSH-2.0-OpenSSH_9\r\n\r\n"), 502, FAILED, "absent", None),
    "half a head": Case(answer(WHOLE[:20], closes=True), 502, FAILED, "absent", None),
    "half a head, reset": Case(reset(WHOLE[:20]), 502, FAILED, "absent", None),
    "two lengths": Case(answer(sized(BODY, "Content-Length: 5")), 502, FAILED, "absent", None),
    "another protocol": Case(answer(SWITCHED), 502, FAILED, "absent", None),
    "half a body": Case(answer(WHOLE[:-5], closes=True), 200, FAILED, "partial", BODY[:-5]),
    "half a body, reset": Case(reset(WHOLE[:-5]), 200, FAILED, "partial", BODY[:-5]),
    "a body without its beginning": Case(reset(WHOLE[: -len(BODY)]), 200, FAILED, "partial", b""),
}  # fmt: skip


async def one_answer(scene: Scene, caller: Caller) -> tuple[Answer, JournalRecord]:
    """And its record, without what is never the same: timings have more or fewer digits, estimates are learnt."""
    got = await ask(caller)
    record = await scene.record()
    assert record.bytes_out == len(got.raw) or (record.code and not record.bytes_out)  # a refusal comes after it
    if record.usage_state != "exact":
        assert record.usage_state != "estimated" or record.completion_tokens == len(got.payload) // 4
        record = msgspec.structs.replace(record, prompt_tokens=None, completion_tokens=None)
    return got, msgspec.structs.replace(told(record), bytes_out=0)


@pytest.mark.parametrize("name", CASES)
async def test_nobody_can_tell_a_shot_from_a_relay(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    async with warm_gateway(tmp_path) as scene:
        scene.engine.script(case.behaviour)
        ordinary, known = await one_answer(scene, await scene.gateway.connect())
        assert scene.made == Made(0, 1)
        await scene.warm()
        scene.engine.script(case.behaviour)
        got, record = await one_answer(scene, scene.caller)
        assert scene.made.shots == 1
        assert scene.made.relays in case.relays
        assert blurred(got.raw) == blurred(ordinary.raw)
        assert record == known
        assert outcome(record) == (case.status, case.code, 1, case.usage)
        assert got.status == case.status
        assert case.payload is None or got.payload == case.payload
        assert got.is_whole == (case.usage != "partial")
        if got.is_whole:  # and the next one gets its own answer
            assert (await ask(scene.caller)).payload == BODY


async def test_an_answer_cut_at_any_place_is_the_same(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path) as scene:
        places = range(1, len(WHOLE))
        for place in places:
            scene.engine.script(answer(*cut_into(WHOLE, [place])))
            assert (await ask(scene.caller)).payload == BODY, place
        assert scene.made == Made(len(places), len(places))
        await scene.gateway.settled()
        last = scene.gateway.records()[-len(places) :]
        assert {(outcome(record), counts(record)) for record in last} == {((200, "", 1, "exact"), ("exact", 7, 3))}


async def test_another_head_unfolds_once_and_is_known_then(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path) as scene:
        for number in range(6):
            scene.engine.script(answer(sized(BODY, f"X-Engine: {number // 2}")))
            assert (await ask(scene.caller)).headers["x-engine"] == str(number // 2)
        assert scene.made == Made(6, 3)


# Which connections are used again


async def test_a_known_answer_that_says_close_is_not_pooled(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path) as scene:
        pool = scene.gateway.backend().pool
        pool.give(await scene.gateway.backend().connect(), trio.current_time())
        assert pool.idle_connections == 2
        for relays in (1, 1):
            scene.engine.script(answer(sized(BODY, "Connection: close")))
            got = await ask(scene.caller)
            assert (got.payload, "connection" in got.headers) == (BODY, False)
            assert scene.made.relays == relays
            assert outcome(await scene.record()) == (200, "", 1, "exact")
            with trio.fail_after(5):
                await scene.engine.turns[-1].left.wait()
        assert scene.made == Made(2, 1)
        assert pool.open_connections == 0


async def test_what_follows_a_full_read_is_nobodys_answer(tmp_path: Path) -> None:
    """The answer ends where the read ends, and more is there: no event will tell of it."""
    async with warm_gateway(tmp_path) as scene:
        for others in (0, 1):
            scene.engine.script(answer(sized(HUGE)))  # the kernel makes room for more than the one read
            assert (await ask(scene.caller)).payload == HUGE
            await scene.gateway.settled()
            scene.made.forget()
            scene.engine.script(answer(FULL + OTHER * others))
            assert (await ask(scene.caller)).payload == FULL_BODY
            assert scene.made == Made(1, 1)
            assert (await ask(scene.caller)).payload == BODY
            assert outcome(await scene.record()) == (200, "", 1, "exact")


# Tried again


@pytest.mark.parametrize("stale", [answer(closes=True), reset()], ids=["closed", "reset"])
async def test_a_stale_connection_is_tried_again_on_a_new_one(tmp_path: Path, stale: Behaviour) -> None:
    async with warm_gateway(tmp_path) as scene:
        await scene.begin(stale)
        assert (await scene.caller.read_answer()).payload == BODY
        assert outcome(await scene.record()) == (200, "", 1, "exact")
        assert scene.made == Made(1, 2)
        assert scene.gateway.backend().failure_ewma == 0
        assert scene.engine.turns[-1].request == scene.engine.turns[-2].request


class BrokenSocket:
    """A socket whose peer has gone, which nobody knows yet: `send` fails, as often as it is told."""

    def __init__(self, sock: socket.socket, error: OSError, times: int = 1_000_000) -> None:
        self._sock = sock
        self._error = error
        self._times = times

    def send(self, data: bytes) -> int:
        self._times -= 1
        if self._times < 0:
            return self._sock.send(data)
        raise self._error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


async def test_a_connection_that_breaks_while_the_request_is_sent_is_tried_again(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path) as scene:
        connection = scene.gateway.backend().pool.idle[-1]
        connection.sock = BrokenSocket(connection.sock, BrokenPipeError())  # type: ignore[assignment]
        count = len(scene.engine.turns)
        assert (await ask(scene.caller)).payload == BODY
        assert outcome(await scene.record()) == (200, "", 1, "exact")
        assert scene.made == Made(1, 2)
        assert len(scene.engine.turns) == count + 1


def once(behaviour: Behaviour) -> Behaviour:
    """The first time, at whichever engine; then all is well."""
    rest = [behaviour]

    async def behave(turn: Turn) -> None:
        await (rest.pop() if rest else OK)(turn)

    return behave


@pytest.mark.parametrize("name", ["500", "503", "429", "garbage", "half a head", "half a head, reset", "two lengths"])
async def test_what_fails_before_the_first_byte_is_tried_elsewhere(tmp_path: Path, name: str) -> None:
    async with warm_gateway(tmp_path, engines=2) as scene:
        turns = [len(engine.turns) for engine in scene.engines]
        scene.behave(once(CASES[name].behaviour))
        got = await ask(scene.caller)
        assert (got.status, got.payload) == (200, BODY)
        record = await scene.record()
        assert (outcome(record), counts(record)) == ((200, "", 2, "exact"), ("exact", 7, 3))
        assert got.headers["x-mrproxy-backend"] == record.backend
        assert scene.made == Made(1, 2)
        assert [len(engine.turns) for engine in scene.engines] == [count + 1 for count in turns]


@pytest.mark.parametrize("name", ["400", "half a body", "half a body, reset"])
async def test_what_is_the_requests_fault_or_has_begun_is_not_tried_elsewhere(tmp_path: Path, name: str) -> None:
    async with warm_gateway(tmp_path, engines=2) as scene:
        case = CASES[name]
        scene.behave(case.behaviour)
        assert (await ask(scene.caller)).status == case.status
        assert outcome(await scene.record()) == (case.status, case.code, 1, case.usage)
        assert scene.made == Made(1, 1)
        scene.behave(OK)


# Too late


PATIENCE = {"first_byte_deadline_seconds": 100, "total_deadline_seconds": 200}


@pytest.mark.parametrize("deadline", PATIENCE)
async def test_an_engine_that_is_silent_for_too_long_is_a_504(tmp_path: Path, deadline: str) -> None:
    patience = PATIENCE | {deadline: 50}
    async with warm_gateway(tmp_path, **patience) as scene:
        turn = await scene.begin(hang())
        pump = scene.gateway.backend().pump
        assert not pump.was_heard_of_lately()
        for later in (0.0, 49.0, 51.0):
            (shot,) = pump.relays
            assert isinstance(shot, Shot)
            shot.check(turn.at + later)
        got = await scene.caller.read_answer()
        assert (got.status, got.json["error"]["code"]) == (504, "backend_timeout")
        assert outcome(await scene.record()) == (504, "backend_timeout", 1, "absent")
        await turn.left.wait()
        assert scene.made == Made(1, 1)


def held_until(released: trio.Event, *pieces: bytes) -> Behaviour:
    async def behave(turn: Turn) -> None:
        await released.wait()
        await answer(*pieces)(turn)

    return behave


# The client


@pytest.mark.parametrize("rudely", [False, True])
async def test_a_client_that_leaves_before_the_answer_ends_the_engines_work(tmp_path: Path, *, rudely: bool) -> None:
    async with warm_gateway(tmp_path) as scene:
        turn = await scene.begin(hang())
        await scene.caller.leave(rudely=rudely)
        with trio.fail_after(5):
            await turn.left.wait()
        record = await scene.record()
        assert outcome(record) == (499, DEPARTED, 1, "partial")
        assert (record.completion_tokens, record.bytes_out) == (None, 0)
        assert scene.gateway.stages.counters.client_departures == 1
        assert scene.made == Made(1, 1)


async def test_an_answer_that_finds_the_client_gone_is_counted(tmp_path: Path) -> None:
    """The engine has said everything, and what it counted; that nobody takes it is no fault of its connection."""
    async with warm_gateway(tmp_path) as scene:
        released = trio.Event()
        turn = await scene.begin(held_until(released, WHOLE))
        client = scene.client
        client.sock = BrokenSocket(client.sock, BrokenPipeError())  # type: ignore[assignment]
        released.set()
        assert await scene.caller.read_to_end() == b""
        record = await scene.record()
        assert (record.status, counts(record)) == (200, ("exact", 7, 3))
        assert record.bytes_out > len(BODY)  # what was written, whoever took it: as a relay counts it
        assert scene.made == Made(1, 1)
        assert not turn.left.is_set()


SLOW = {"receive_bytes": 4096, "client_send_buffer_bytes": 4096}
WIDE = chat_answer("x" * 60_000)


async def lagging(scene: Scene) -> Client:
    """A whole answer, which the client does not take."""
    await scene.begin(answer(sized(WIDE)))
    client = scene.client
    await wait_until(lambda: client.lagging is not None)
    assert scene.made == Made(1, 1)
    return client


async def test_a_client_that_does_not_read_gets_everything_when_it_does(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path, **SLOW) as scene:
        client = await lagging(scene)
        backend = scene.gateway.backend()
        (relay,) = backend.pump.relays
        assert isinstance(relay, Relay)
        assert 0 < len(relay._pending) <= len(sized(WIDE)) + 1000
        assert (backend.pool.open_connections, backend.pool.idle_connections) == (1, 1)  # it serves others meanwhile
        other = await scene.gateway.connect()
        assert [(await ask(other)).payload for _ in range(2)] == [BODY] * 2
        backend.withdraw("for a test")  # nothing of the backend touches an answer that is complete
        scene.engine.close_idle()
        relay.check(trio.current_time() + 30)
        got = await scene.caller.read_answer()
        assert got.payload == WIDE
        record = await scene.record()
        assert (outcome(record), counts(record)) == ((200, "", 1, "exact"), ("exact", 7, 3))
        assert record.bytes_out == len(got.raw)
        assert client.lagging is None
        await scene.warm()


@pytest.mark.parametrize("blocked", [1, 2])
async def test_a_client_that_has_no_room_at_all_gets_everything_when_it_has(tmp_path: Path, blocked: int) -> None:
    async with warm_gateway(tmp_path) as scene:
        released = trio.Event()
        await scene.begin(held_until(released, sized(NO_USAGE)))
        client = scene.client
        client.sock = BrokenSocket(client.sock, BlockingIOError(), blocked)  # type: ignore[assignment]
        released.set()
        if blocked > 1:
            await wait_until(lambda: client.lagging is not None)
            client.on_ready(OUT, trio.current_time())
        got = await scene.caller.read_answer()
        assert got.payload == NO_USAGE
        record = await scene.record()
        assert outcome(record) == (200, "", 1, "estimated")
        assert record.completion_tokens == len(got.payload) // 4
        assert record.bytes_out == len(got.raw)


async def test_a_client_that_leaves_an_answer_unread_leaves_nothing_behind(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path, **SLOW) as scene:
        await lagging(scene)
        await scene.caller.leave(rudely=True)
        record = await scene.record()
        assert (record.status, counts(record)) == (200, ("exact", 7, 3))
        assert not scene.engine.turns[-1].left.is_set()  # the engine had said everything


async def test_a_client_that_takes_nothing_for_too_long_is_closed(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path, **SLOW) as scene:
        await lagging(scene)
        (relay,) = scene.gateway.backend().pump.relays
        relay.check(trio.current_time() + 61)
        record = await scene.record()
        assert (record.status, record.code, counts(record)) == (200, "client_too_slow", ("exact", 7, 3))
        assert scene.gateway.stages.counters.slow_client_closes == 1


# Draining, withdrawn


async def test_a_drain_that_begins_while_it_waits_closes_after_its_answer(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path) as scene:
        idle = await scene.gateway.connect()
        assert (await ask(idle)).status == 200
        scene.made.forget()
        released = trio.Event()
        await scene.begin(held_until(released, WHOLE))
        scene.gateway.worker._drain.set()
        assert await idle.read_to_end() == b""
        released.set()
        got = await scene.caller.read_answer()
        assert (got.payload, got.headers["connection"]) == (BODY, "close")
        assert await scene.caller.read_to_end() == b""
        assert scene.made == Made(1, 1)


async def test_the_end_of_a_drain_is_a_503(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path, drain_seconds=0.05) as scene:
        turn = await scene.begin(hang())
        scene.gateway.worker._drain.set()
        got = await scene.caller.read_answer()
        assert (got.status, got.json["error"]["code"], got.headers["connection"]) == (503, "draining", "close")
        await turn.left.wait()
        assert outcome(await scene.record()) == (503, "draining", 1, "absent")
        assert scene.made == Made(1, 1)


async def test_a_withdrawn_backend_is_a_503(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path) as scene:
        turn = await scene.begin(hang())
        scene.gateway.backend().withdraw("for a test")
        got = await scene.caller.read_answer()
        assert (got.status, got.json["error"]["code"]) == (503, "backend_withdrawn")
        await turn.left.wait()
        assert outcome(await scene.record()) == (503, "backend_withdrawn", 1, "absent")
        assert scene.made == Made(1, 1)


@pytest.mark.parametrize("may_finish", [True, False])
async def test_a_backend_that_a_reload_takes_away_may_finish_or_is_left_for_another(
    tmp_path: Path, *, may_finish: bool
) -> None:
    async with warm_gateway(tmp_path, engines=2, drain_seconds=30 if may_finish else 0) as scene:
        released = trio.Event()
        scene.behave(once(held_until(released, WHOLE)))
        await scene.caller.ask()
        backends = scene.gateway.stages.registry.backends
        await wait_until(lambda: any(backend.pump.relays for backend in backends.values()))
        (used,) = [name for name, backend in backends.items() if backend.pump.relays]
        assert scene.made == Made(1, 0)
        path = scene.gateway.worker._follower.path
        known = read(path)
        kept = tuple(backend for backend in known.backends if backend.name != used)
        write(path, msgspec.structs.replace(known, backends=kept, generation=2))
        assert await scene.gateway.worker._reload() == ""
        if may_finish:
            released.set()
        got = await scene.caller.read_answer()
        assert (got.payload, got.headers["x-mrproxy-backend"]) == (BODY, used if may_finish else kept[0].name)
        assert outcome(await scene.record()) == (200, "", 1 if may_finish else 2, "exact")
        assert scene.made == Made(1, 0 if may_finish else 2)
        released.set()


# A request that is more than one send


def narrow(scene: Scene) -> None:
    """The pooled connection's socket takes a few kilobytes at a time."""
    scene.gateway.backend().pool.idle[-1].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


LONG = "x" * 60_000


async def test_a_request_that_is_more_than_one_send_arrives_whole(tmp_path: Path) -> None:
    async with warm_gateway(tmp_path) as scene:
        narrow(scene)
        for relays in (1, 2):
            await scene.caller.ask(user=LONG)
            assert (await scene.caller.read_answer()).payload == BODY
            assert scene.engine.turns[-1].request.json["user"] == LONG
            assert outcome(await scene.record()) == (200, "", 1, "exact")
            assert scene.made == Made(relays, relays)
        assert len({id(turn.connection) for turn in scene.engine.turns}) == 1


async def test_an_answer_before_the_request_is_sent_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the request is never sent, and half a request is not followed by another one."""
    async with warm_gateway(tmp_path) as scene:
        narrow(scene)
        connection = scene.engine.turns[-1].connection
        reads = trio.Event()
        receive = connection.stream.receive_some

        async def receive_later(count: int) -> bytes | bytearray:
            await reads.wait()
            return await receive(count)

        connection.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        monkeypatch.setattr(connection.stream, "receive_some", receive_later)
        await scene.caller.ask(user=LONG)
        await wait_until(lambda: scene.made == Made(1, 1))
        (relay,) = scene.gateway.backend().pump.relays
        assert isinstance(relay, Relay)
        assert relay._unsent
        await connection.stream.send_all(WHOLE)
        assert (await scene.caller.read_answer()).payload == BODY
        assert outcome(await scene.record()) == (200, "", 1, "exact")
        reads.set()
        with trio.fail_after(5):
            await connection.left.wait()
        assert len(connection.data) < len(LONG)


# Bugs


async def test_a_bug_before_the_answer_ends_that_request_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with warm_gateway(tmp_path) as scene:
        released = trio.Event()
        turn = await scene.begin(held_until(released, WHOLE))
        with monkeypatch.context() as patch:
            patch.setattr(AnswerCache, "find_repeated", broken)
            released.set()
            got = await scene.caller.read_answer()
        assert (got.status, got.json["error"]["code"]) == (500, "internal_error")
        with trio.fail_after(5):
            await turn.left.wait()
        assert outcome(await scene.record()) == (500, "internal_error", 1, "absent")
        scene.gateway.expected_crashes = 1


async def test_a_bug_after_the_answer_ends_that_client_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with warm_gateway(tmp_path) as scene:
        with monkeypatch.context() as patch:
            patch.setattr(Attempts, "delivered", broken)
            assert (await ask(scene.caller)).payload == BODY
            assert await scene.caller.read_to_end() == b""
        await scene.gateway.settled()
        scene.gateway.expected_crashes = 1


def broken(*_: object) -> None:
    raise RuntimeError("a bug, for a test")
