"""The express way: who goes it, that nobody can tell, and that whatever goes wrong on it leaves nothing behind.

`run_gateway` checks after every test that no slot, lease, relay, entry or connection is left.
"""

import gc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.attempts import Attempts
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
)
from tests.fakes.express import Watched, ask, blurred, served_again, told, warmed, watched_express
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine

pytestmark = pytest.mark.slow

OK = answer(sized(chat_answer()))


@pytest.fixture
def express() -> Iterator[Watched]:
    with watched_express() as watched:
        yield watched


async def drop_idle(engine: FakeEngine, gateway: Gateway) -> None:
    """The engine closes its connections, and the gateway has seen it."""
    await wait_until(lambda: all(turn.is_over for turn in engine.turns))
    engine.close_idle()
    await wait_until(lambda: not gateway.backend(engine.name).pool.open_connections)


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


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_of_it_is_left_for_the_garbage_collector(
    tmp_path: Path, express: Watched, *, stream: bool
) -> None:
    """A cycle per request is cold memory for the next one, and a pause now and then: 5 % of the time, measured."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer_stream("a", "b") if stream else OK
        caller = await gateway.connect()
        await ask(caller, stream=stream)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(5):
                await ask(caller, stream=stream)
            await gateway.settled()
            gc.collect()
            left = {type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("mrproxy.")}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        assert (express.taken, left) == (5, set())


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


# When it cannot be gone


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
        path = gateway.worker._follower.path
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
        if len(pieces) > 1:  # a head alone stays here until the first event
            await caller.read_until(event("a"))
        await caller.leave(rudely=rudely)
        with trio.fail_after(5):
            await turn.left.wait()
        assert express.taken == 1
        record = (await gateway.wait_records(2))[-1]
        assert (record.status, record.code) == (200 if len(pieces) > 1 else 499, "client_departed")
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


# Bugs


@pytest.mark.parametrize("broken", ["_settle", "_succeeded"])
async def test_a_bug_after_a_streams_end_ends_that_client_only(
    tmp_path: Path, express: Watched, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        engine.script(answer_stream("one"))
        await caller.ask(stream=True)
        await caller.read_answer()  # not what was asked before: this one goes the ordinary way
        engine.script(answer_stream("one"))
        taken = express.taken
        with monkeypatch.context() as patch:
            patch.setattr(Attempts, broken, lambda *_: 1 / 0)
            got = await ask(caller, stream=True)
            assert got.status == 200
            assert await caller.read_to_end() == b""
            await gateway.settled()
        assert express.taken == taken + 1
        (said,) = gateway.log.events("unexpected error")
        assert (said["where"], said["kind"], said["line"].partition(":")[0]) == (
            "connection",
            "ZeroDivisionError",
            "test_express.py",
        )
        gateway.expected_crashes = 1
        records = await gateway.wait_records(3)
        assert [record.status for record in records] == [200] * 3
        assert len({record.request_id for record in records}) == 3
        await served_again(gateway)
