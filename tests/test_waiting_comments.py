"""Streams that wait for their turn say so, if configured: a comment now and then, and from then on all is in-stream."""

from pathlib import Path

import pytest
import trio

from tests.fakes.behaviours import answer_status, answer_stream, event, hang
from tests.fakes.gateway import run_gateway, wait_until
from tests.fakes.loop_engine import run_engine

pytestmark = pytest.mark.slow

COMMENT = b": waiting\n\n"


async def test_a_stream_that_waits_says_so_and_then_streams(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, max_concurrent=1, waiting_comment_seconds=0.1) as gateway,
    ):
        engine.script(hang(), answer_stream("one", "two"))
        first, second = await gateway.connect(), await gateway.connect()
        await first.ask()
        await engine.wait_turn()
        await second.ask(stream=True)
        head = await second.read_until(COMMENT)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        await first.leave()
        got = await second.read_until(b"0\r\n\r\n")
        assert event("one") in got
        assert event("two") in got
        assert b"HTTP/1.1" not in got, "one head is enough"
        await wait_until(lambda: len(gateway.records()) == 2)
        record = gateway.records()[-1]
        assert (record.status, record.code, record.usage_state) == (200, "", "exact")


async def test_a_wait_that_fails_after_a_comment_ends_in_the_stream(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(
            tmp_path, engine, max_concurrent=1, waiting_comment_seconds=0.1, queue_deadline_seconds=0.35
        ) as gateway,
    ):
        engine.script(hang())
        first, second = await gateway.connect(), await gateway.connect()
        await first.ask()
        await engine.wait_turn()
        await second.ask(stream=True)
        got = await second.read_to_end()
        assert COMMENT in got
        assert b'"code":"queue_timeout"' in got
        assert got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        await first.leave()


async def test_an_engines_refusal_after_a_comment_is_said_in_the_stream(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, max_concurrent=1, waiting_comment_seconds=0.1) as gateway,
    ):
        engine.script(hang(), answer_status(400))
        first, second = await gateway.connect(), await gateway.connect()
        await first.ask()
        await engine.wait_turn()
        await second.ask(stream=True)
        await second.read_until(COMMENT)
        await first.leave()
        got = await second.read_to_end()
        assert b"data: {" in got
        assert got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_a_request_that_does_not_stream_hears_nothing_while_it_waits(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(
            tmp_path, engine, max_concurrent=1, waiting_comment_seconds=0.05, queue_deadline_seconds=0.3
        ) as gateway,
    ):
        engine.script(hang())
        first, second = await gateway.connect(), await gateway.connect()
        await first.ask()
        await engine.wait_turn()
        await second.ask()
        assert (await second.read_answer()).status == 503
        await first.leave()


async def test_a_client_that_leaves_after_a_comment_has_departed(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, max_concurrent=1, waiting_comment_seconds=0.05) as gateway,
    ):
        engine.script(hang())
        first, second = await gateway.connect(), await gateway.connect()
        await first.ask()
        await engine.wait_turn()
        await second.ask(stream=True)
        await second.read_until(COMMENT)
        await second.leave()
        record = await gateway.last_record()
        assert (record.code, record.usage_state, record.attempts) == ("client_departed", "absent", 0)
        assert gateway.stages.counters.client_departures == 1
        await first.leave()


async def test_who_leaves_in_the_moment_of_its_turn_passes_the_slot_on(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, max_concurrent=1, waiting_comment_seconds=60) as gateway,
    ):
        engine.script(hang(), answer_stream("one"))
        first, second, third = [await gateway.connect() for _ in range(3)]
        await first.ask(stream=True)
        await engine.wait_turn()
        (holding,) = (client for client in gateway.door.clients if client.is_busy)
        await second.ask(stream=True)
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 1)
        (waiting,) = (client for client in gateway.door.clients if client.is_busy and client is not holding)
        await third.ask(stream=True)
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 2)
        holding.leave()  # as in one batch of the poller's events: the slot is handed to the second,
        assert gateway.stages.scheduler.waiting_total == 1
        waiting.leave()  # who leaves before its task has run
        with trio.fail_after(2):
            assert (await third.read_answer()).status == 200
        records = await gateway.wait_records(3)
        assert [record.code for record in records] == ["client_departed", "client_departed", ""]


async def test_a_bug_beside_a_wait_gives_the_slot_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, max_concurrent=1, waiting_comment_seconds=60) as gateway,
    ):
        engine.script(hang())
        granted = trio.Event()

        async def break_down(*_: object) -> None:
            with trio.CancelScope(shield=True):
                await granted.wait()
            raise ZeroDivisionError

        monkeypatch.setattr("mrproxy.lifecycle.comment_while_waiting", break_down)
        first, second = await gateway.connect(), await gateway.connect()
        await first.ask(stream=True)
        await engine.wait_turn()
        await second.ask(stream=True)
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 1)
        await first.leave()
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 0)
        granted.set()
        assert await second.read_to_end() == b""
        gateway.expected_crashes = 1
        await gateway.settled()
