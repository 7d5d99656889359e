"""Clients that leave: in every phase, and at every single wait of a request's life. Nothing may stay behind."""

import socket
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes.behaviours import (
    STREAM_HEAD,
    answer,
    chat_answer,
    chunk,
    event,
    hang,
    sized,
    usage_event,
)
from tests.fakes.caller import Caller, chat, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Turn, run_engine

pytestmark = pytest.mark.slow

RUDELY = pytest.mark.parametrize("rudely", [False, True], ids=["FIN", "RST"])
# The first request of a backend makes a connection; a later one finds it in the pool, and goes another way.
WARM = pytest.mark.parametrize("is_warm", [False, True], ids=["new connection", "pooled connection"])
ONE = STREAM_HEAD + chunk(event("one"))


async def warm_up(gateway: Gateway, caller: Caller, is_warm: bool) -> int:
    """How many requests have been made."""
    if is_warm:
        await caller.ask()
        assert (await caller.read_answer()).status == 200
        await gateway.last_record()
    return int(is_warm)


async def left(turn: Turn, since: float) -> None:
    """The engine sees that it is left; how long that took is printed, for people."""
    with trio.fail_after(10):
        await turn.left.wait()
    assert turn.connection.left_at is not None
    print(f"the engine saw it after {(turn.connection.left_at - since) * 1000:.2f} ms")


@RUDELY
async def test_a_client_that_leaves_the_queue_leaves_no_trace_at_a_backend(tmp_path: Path, rudely: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_concurrent=1) as gateway:
        engine.script(hang(ONE))
        holder = await gateway.connect()
        await holder.ask(stream=True)
        await engine.wait_turn()
        waiting = await gateway.connect()
        await waiting.ask()
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 1)
        await waiting.leave(rudely=rudely)
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 0)
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (499, "client_departed", "absent")
        assert (record.backend, record.attempts, record.prompt_tokens) == ("", 0, None)
        assert len(engine.turns) == 1
        assert gateway.backend().in_flight == 1  # the holder's


async def test_those_behind_one_that_left_the_queue_get_their_turn(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_concurrent=1) as gateway:
        goes_on = trio.Event()

        async def behave(turn: Turn) -> None:
            await goes_on.wait()
            await turn.send(sized(chat_answer()))

        engine.behaviour = behave
        callers = [await gateway.connect() for _ in range(4)]
        for index, caller in enumerate(callers):
            await caller.ask()
            await wait_until(lambda: gateway.stages.scheduler.waiting_total == index)  # noqa: B023
        await callers[1].leave()
        await callers[2].leave(rudely=True)
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 1)
        goes_on.set()
        assert (await callers[0].read_answer()).status == 200
        assert (await callers[3].read_answer()).status == 200
        assert len(engine.turns) == 2


@RUDELY
async def test_a_client_that_leaves_while_we_connect_ends_that(tmp_path: Path, rudely: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, connect_deadline_seconds=30) as gateway:
        engine.stop_accepting()
        caller = await gateway.connect()
        await caller.ask()
        await wait_until(lambda: gateway.backend().in_flight == 1)
        await caller.leave(rudely=rudely)
        await gateway.settled()
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (499, "client_departed", "absent")
        assert record.prompt_tokens is None
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 0


@RUDELY
@WARM
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_first_byte_frees_the_backend(
    tmp_path: Path, rudely: bool, is_warm: bool, stream: bool
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        before = await warm_up(gateway, caller, is_warm)
        engine.behaviour = hang()
        await caller.ask(stream=stream)
        turn = await engine.wait_turn(before + 1)
        since = trio.current_time()
        await caller.leave(rudely=rudely)
        await left(turn, since)
        record = await gateway.last_record(before + 1)
        assert (record.status, record.code, record.usage_state) == (499, "client_departed", "partial")
        assert record.prompt_tokens  # the engine has got it
        assert not record.completion_tokens
        await gateway.settled()
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 0
        assert gateway.stages.counters.client_departures == 1


@RUDELY
@WARM
async def test_a_client_that_leaves_a_stream_pays_for_what_it_got(tmp_path: Path, rudely: bool, is_warm: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        before = await warm_up(gateway, caller, is_warm)
        engine.behaviour = hang(ONE, chunk(event("two")), chunk(event("three")))
        await caller.ask(stream=True)
        await caller.read_until(event("three"))
        since = trio.current_time()
        await caller.leave(rudely=rudely)
        await left(engine.turns[before], since)
        record = await gateway.last_record(before + 1)
        assert (record.status, record.code, record.usage_state) == (200, "client_departed", "partial")
        assert record.completion_tokens == 3
        assert record.prompt_tokens
        await gateway.settled()
        spent = gateway.stages.ledger.statistics(trio.current_time())[0].spent_tokens
        assert spent == before * 10 + record.prompt_tokens + 3


@WARM
async def test_a_client_that_leaves_while_the_engine_talks_ends_it(tmp_path: Path, is_warm: bool) -> None:
    """No pause of the engine is needed to notice it."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:

        async def talk(turn: Turn) -> None:
            await turn.send(STREAM_HEAD)
            while not turn.left.is_set():
                await turn.send(chunk(event("more")))
                await wait_all_tasks_blocked()

        caller = await gateway.connect()
        before = await warm_up(gateway, caller, is_warm)
        engine.behaviour = talk
        await caller.ask(stream=True)
        await caller.read_until(event("more"))
        since = trio.current_time()
        await caller.leave()
        await left(engine.turns[before], since)
        assert (await gateway.last_record(before + 1)).usage_state == "partial"


@WARM
async def test_a_client_that_leaves_while_it_lags_ends_the_stream(tmp_path: Path, is_warm: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, client_send_buffer_bytes=32768) as gateway:
        caller = await gateway.connect(receive_bytes=4096)
        before = await warm_up(gateway, caller, is_warm)
        engine.behaviour = hang(STREAM_HEAD + chunk(event("x" * 900)) * 300)
        await caller.ask(stream=True)
        await wait_until(lambda: any(client.lagging for client in gateway.door.clients))
        since = trio.current_time()
        await caller.leave()
        await left(engine.turns[before], since)
        assert (await gateway.last_record(before + 1)).code == "client_departed"


@WARM
async def test_a_client_that_leaves_after_the_usage_was_said_was_served(tmp_path: Path, is_warm: bool) -> None:
    """SDKs hang up at the end marker, before the last chunk."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        before = await warm_up(gateway, caller, is_warm)
        engine.behaviour = hang(ONE, chunk(usage_event(6, 1)) + chunk(b"data: [DONE]\n\n"))
        await caller.ask(stream=True)
        await caller.read_until(b"[DONE]")
        await caller.leave()
        record = await gateway.last_record(before + 1)
        assert (record.status, record.code, record.usage_state) == (200, "", "exact")
        assert (record.prompt_tokens, record.completion_tokens) == (6, 1)


async def test_a_half_closed_client_has_left(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = hang()
        caller = await gateway.connect()
        await caller.ask()
        turn = await engine.wait_turn()
        caller.stream.socket.shutdown(socket.SHUT_WR)
        await left(turn, trio.current_time())
        assert (await gateway.last_record()).code == "client_departed"


async def test_a_client_that_leaves_in_its_head_or_body_asked_nothing(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        whole = request(body=chat())
        head_bytes = whole.index(b"\r\n\r\n") + 4
        for place in (0, 1, 30, head_bytes - 1):
            caller = await gateway.connect()
            await caller.send(whole[:place])
            await wait_all_tasks_blocked()
            await caller.leave()
            await wait_until(lambda: not gateway.door.clients)
        assert not gateway.records()
        for count, place in enumerate((head_bytes, head_bytes + 1, len(whole) - 1), 1):
            caller = await gateway.connect()
            await caller.send(whole[:place])
            await wait_all_tasks_blocked()
            await caller.leave()
            record = await gateway.last_record(count)
            assert (record.status, record.usage_state, record.prompt_tokens) == (499, "absent", None)
        assert not engine.turns


async def test_a_thousand_departures_leave_the_worker_as_it_was(tmp_path: Path) -> None:
    """In all phases at once; the balance at the end of `run_gateway` is the claim."""
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_concurrent=20) as gateway:
        engine.behaviour = hang(ONE)
        for _ in range(20):
            callers = [await gateway.connect() for _ in range(50)]
            for caller in callers:
                await caller.ask(stream=True)
            for index, caller in enumerate(callers):
                await caller.leave(rudely=bool(index % 2))
        await gateway.settled()
        engine.behaviour = answer(sized(chat_answer()))
        caller = await gateway.connect()
        await caller.ask()
        assert (await caller.read_answer()).status == 200
