"""Faults of backends: what the client is told, what the breaker learns, who is asked next, and how often."""

from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.fakes.behaviours import (
    LAST_CHUNK,
    STREAM_HEAD,
    answer,
    answer_status,
    chat_answer,
    chunk,
    hang,
    reset,
    sized,
)
from tests.fakes.caller import Answer, Caller
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, Turn, run_engine
from tests.fakes.speaking import BLOCK_START, DIALECTS, block_delta, message_start, speaks

pytestmark = pytest.mark.slow


async def ask(caller: Caller, *, stream: bool = False) -> Answer:
    await caller.ask(stream=stream)
    return await caller.read_answer()


async def ask_many(gateway: Gateway, count: int) -> Counter[int]:
    """So many requests, one after the other, on one connection: how often each status came."""
    caller = await gateway.connect()
    statuses: Counter[int] = Counter()
    for _ in range(count):
        statuses[(await ask(caller)).status] += 1
    return statuses


# Before the first byte: somebody else is asked


async def test_a_refused_connection_is_retried_on_the_other_backend(tmp_path: Path) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        a.refuse()
        caller = await gateway.connect()
        for _ in range(6):
            got = await ask(caller)
            assert (got.status, got.headers["x-mrproxy-backend"]) == (200, "engine-b")
        records = await gateway.wait_records(6)
        assert {record.attempts for record in records} == {1, 2}
        assert gateway.stages.counters.retries == sum(record.attempts - 1 for record in records)


def first_time(fault: Behaviour) -> Behaviour:
    """The first request meets this fault, at whatever engine; all others are answered."""
    is_first = True

    async def behave(turn: Turn) -> None:
        nonlocal is_first
        was_first, is_first = is_first, False
        await (fault if was_first else answer(sized(chat_answer())))(turn)

    return behave


@pytest.mark.parametrize(
    "fault",
    [reset(), answer(closes=True), answer_status(503), answer_status(500), answer_status(529), hang()],
    ids=["reset", "closed", "503", "500", "529", "hang"],
)
async def test_a_fault_before_the_first_byte_is_retried_on_the_other_backend(tmp_path: Path, fault: Behaviour) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, first_byte_deadline_seconds=0.3) as gateway,
    ):
        a.behaviour = b.behaviour = first_time(fault)
        caller = await gateway.connect()
        assert (await ask(caller)).status == 200
        assert (len(a.turns), len(b.turns)) == (1, 1)
        record = await gateway.last_record()
        assert (record.attempts, record.usage_state) == (2, "exact")


async def test_a_connection_that_is_not_accepted_in_time_is_left_for_the_other_backend(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, connect_deadline_seconds=0.3, placement="round_robin") as gateway,
    ):
        a.stop_accepting()
        caller = await gateway.connect()
        for _ in range(2):
            got = await ask(caller)
            assert (got.status, got.headers["x-mrproxy-backend"]) == (200, "engine-b")
        assert not a.turns


async def test_an_only_backend_that_refuses_is_a_502_and_then_a_503_while_its_breaker_rests(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, breaker_failures=3) as gateway:
        engine.refuse()
        caller = await gateway.connect()
        answers = [await ask(caller) for _ in range(4)]
        assert [got.status for got in answers] == [502, 502, 502, 503]
        assert answers[-1].headers["retry-after"].isdigit()
        assert [got.json["error"]["code"] for got in answers] == ["backend_failed"] * 3 + ["no_backend"]
        records = await gateway.wait_records(4)
        assert [record.status for record in records] == [502, 502, 502, 503]
        assert {record.usage_state for record in records} == {"absent"}


@pytest.mark.parametrize(
    ("settings", "behaviour", "status", "code"),
    [
        ({"first_byte_deadline_seconds": 0.3}, hang(), 504, "backend_timeout"),
        ({"first_byte_deadline_seconds": 0.3}, hang(b"HTTP/1.1 200 OK\r\nContent-"), 504, "backend_timeout"),
        ({"total_deadline_seconds": 0.3}, hang(), 504, "backend_timeout"),
        ({}, reset(), 502, "backend_failed"),
        ({}, reset(b"HTTP/1.1 200 OK\r\n"), 502, "backend_failed"),
    ],
)
async def test_an_only_backend_that_fails_is_said_so_with_a_status(
    tmp_path: Path, settings: dict[str, object], behaviour: Behaviour, status: int, code: str
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **settings) as gateway:  # type: ignore[arg-type]
        engine.behaviour = behaviour
        caller = await gateway.connect()
        got = await ask(caller, stream=True)
        assert (got.status, got.json["error"]["code"]) == (status, code)
        record = await gateway.last_record()
        assert (record.status, record.code, record.attempts, record.usage_state) == (status, code, 1, "absent")
        engine.behaviour = answer(sized(chat_answer()))
        assert (await ask(caller)).status == 200  # and the client's connection goes on


async def test_an_engines_own_words_reach_the_client(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = b'{"object":"error","message":"max_tokens is too large","code":400}'
        engine.behaviour = answer(sized(body, status=400))
        caller = await gateway.connect()
        got = await ask(caller, stream=True)
        assert (got.status, got.payload) == (400, body)
        record = await gateway.last_record()
        assert (record.status, record.attempts, record.usage_state) == (400, 1, "absent")
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 0


async def test_an_engines_error_is_the_same_in_every_framing(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = b'{"error":{"message":"no","code":422}}'
        start = b"HTTP/1.1 422 X\r\nContent-Type: application/json\r\n"
        engine.script(
            answer(start + b"Transfer-Encoding: chunked\r\n\r\n", chunk(body[:9]), chunk(body[9:]), LAST_CHUNK),
            answer(start + b"\r\n" + body[:5], body[5:], closes=True),
            answer(sized(body, status=422)[:-10], body[-10:]),
        )
        caller = await gateway.connect()
        for _ in range(3):
            got = await ask(caller)
            assert (got.status, got.payload) == (422, body)


# How often


async def test_no_request_is_tried_more_often_than_max_attempts(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_engine("engine-c") as c,
        run_gateway(tmp_path, a, b, c, max_attempts=2) as gateway,
    ):
        a.behaviour = b.behaviour = c.behaviour = answer_status(503, "Retry-After: 0")
        caller = await gateway.connect()
        got = await ask(caller)
        assert got.status == 503
        assert sum(len(engine.turns) for engine in (a, b, c)) == 2
        assert (await gateway.last_record()).attempts == 2


async def test_no_backend_is_asked_twice_by_one_request(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, max_attempts=5) as gateway,
    ):
        a.behaviour = b.behaviour = reset()
        caller = await gateway.connect()
        assert (await ask(caller)).status == 502
        assert (len(a.turns), len(b.turns)) == (1, 1)


async def test_retries_stay_within_the_budget_when_everything_fails(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, breaker_min_requests=10_000) as gateway,
    ):
        a.behaviour = b.behaviour = answer_status(500)
        count = 100
        assert await ask_many(gateway, count) == {500: count}
        retries = len(a.turns) + len(b.turns) - count
        assert retries == gateway.stages.counters.retries
        assert 10 <= retries <= count * 20 // 100


async def test_no_retry_budget_means_no_retry(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, retry_budget_percent=0) as gateway,
    ):
        a.behaviour = b.behaviour = answer_status(503)
        await ask_many(gateway, 5)
        assert len(a.turns) + len(b.turns) == 5


async def test_a_backend_that_fails_fast_does_not_take_the_others_requests(tmp_path: Path) -> None:
    """503 in a millisecond looks like the least loaded of all: at least 99 % must succeed all the same."""
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        a.behaviour = answer_status(503)
        statuses: Counter[int] = Counter()

        async def caller() -> None:
            statuses.update(await ask_many(gateway, 50))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(caller)
        assert statuses.total() == 400
        assert statuses[200] >= 396, statuses
        assert len(a.turns) <= 40  # and it was not asked for long


async def test_a_backend_that_asks_for_patience_is_not_asked_until_then(tmp_path: Path) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        a.behaviour = answer_status(429, "Retry-After: 3600")
        assert await ask_many(gateway, 30) == {200: 30}
        assert len(a.turns) == 1
        assert not gateway.backend("engine-a").is_routable(trio.current_time())


async def test_an_only_backend_that_asks_for_patience_is_asked_again_after_it(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.script(answer_status(429, "Retry-After: 1"))
        caller = await gateway.connect()
        got = await ask(caller)
        assert (got.status, got.headers["retry-after"]) == (429, "1")
        held = await ask(caller)
        assert (held.status, held.json["error"]["code"]) == (503, "no_backend")
        assert len(engine.turns) == 1
        await wait_until(lambda: gateway.backend().is_routable(trio.current_time()))
        assert (await ask(caller)).status == 200
        assert gateway.backend().breaker.state == "closed"


async def test_an_only_backend_that_is_busy_says_so_itself(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.script(answer_status(503), answer_status(429))
        caller = await gateway.connect()
        for status in (503, 429):
            got = await ask(caller)
            assert (got.status, got.json["error"]["message"]) == (status, "no")
            assert int(got.headers["retry-after"]) >= 1


# Pooled connections


async def test_a_pooled_connection_that_was_closed_meanwhile_is_no_fault_of_the_backend(tmp_path: Path) -> None:
    """The engine closes it just as the request arrives: the request goes again, on a new one, at once."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        assert (await ask(caller)).status == 200
        engine.script(answer(closes=True))
        assert (await ask(caller)).status == 200
        first, stale, fresh = engine.turns
        assert first.connection is stale.connection is not fresh.connection
        assert stale.request == fresh.request
        record = await gateway.last_record(2)
        assert (record.status, record.attempts) == (200, 1)
        breaker = gateway.backend().breaker.statistics(trio.current_time())
        assert (breaker.failures, gateway.stages.counters.retries) == (0, 0)


async def test_a_pooled_connection_that_was_reset_meanwhile_is_no_fault_of_the_backend(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        assert (await ask(caller)).status == 200
        engine.script(reset())
        assert (await ask(caller)).status == 200
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 0


async def test_connections_that_die_idle_leave_the_pool(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        assert (await ask(caller)).status == 200
        assert gateway.backend().pool.idle_connections == 1
        await wait_until(lambda: engine.turns[0].is_over)
        engine.close_idle()
        await wait_until(lambda: not gateway.backend().pool.open_connections)
        assert (await ask(caller)).status == 200
        assert len(engine.turns) == 2


async def test_a_new_connection_that_fails_is_the_backends_fault(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = reset()
        caller = await gateway.connect()
        assert (await ask(caller)).status == 502
        assert len(engine.turns) == 1
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 1


# What was made and not taken


async def test_an_answer_that_fails_its_check_cost_what_the_engine_says(tmp_path: Path) -> None:
    dialect = DIALECTS["openai"]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    async with run_engine(kind="anthropic") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("[]", counts=(40, 2))
        caller = await gateway.connect()
        await caller.send(dialect.ask("x-mrproxy-validate: 1", response_format=schema))
        got = await caller.read_answer()
        record = await gateway.last_record()
        assert (got.status, record.status, record.usage_state) == (502, 502, "exact")
        assert (record.prompt_tokens, record.completion_tokens) == (40, 2)
        await gateway.settled()
        assert gateway.stages.ledger.statistics(trio.current_time())[0].spent_tokens == 42


async def test_a_stream_whose_engine_counted_only_the_prompt_is_counted_by_its_events(tmp_path: Path) -> None:
    """Passed on as it is; the engine ends it before it has said how long it was."""
    pieces = [message_start(40), BLOCK_START, block_delta("one"), block_delta("two")]
    async with run_engine(kind="anthropic") as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(STREAM_HEAD, *map(chunk, pieces), LAST_CHUNK)
        caller = await gateway.connect()
        await caller.send(DIALECTS["anthropic"].ask(stream=True))
        assert (await caller.read_answer()).is_whole
        record = await gateway.last_record()
        assert (record.lane, record.usage_state) == ("straight", "counted")
        assert (record.prompt_tokens, record.completion_tokens) == (40, 2)
