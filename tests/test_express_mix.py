"""Any mix of requests, faults and departures on the express way leaves nothing behind: `run_gateway` checks."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from mrproxy.link.records import JournalRecord
from tests.fakes.behaviours import (
    STREAM_HEAD,
    answer,
    answer_status,
    chat_answer,
    chunk,
    event,
    hang,
    head,
    reset,
    sized,
    whole_stream,
)
from tests.fakes.caller import Caller, chat, request
from tests.fakes.express import Watched, served_again, watched_express
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine

pytestmark = pytest.mark.slow

GOOD = sized(chat_answer())
BEHAVIOURS: list[Behaviour] = [
    *[answer(GOOD), answer(b"".join(whole_stream("a", "b")))] * 20,
    answer(GOOD[:40], GOOD[40:]),
    answer(GOOD, closes=True),
    answer(sized(chat_answer("x" * 300_000))),
    answer(GOOD[:-3], closes=True),
    answer(closes=True),
    answer(head() + b"until the end", closes=True),
    answer(b"nonsense\r\n\r\n"),
    answer_status(400),
    answer_status(429),
    answer_status(500),
    answer_status(503),
    hang(),
    hang(STREAM_HEAD, chunk(event("a"))),
    reset(),
    reset(STREAM_HEAD, chunk(event("a"))),
]
SMALL_BODIES = [*[chat(), chat(stream=True)] * 10, chat("unknown"), b"{"]
BODIES = [*SMALL_BODIES, chat(user="x" * 70_000)]


@pytest.fixture
def express() -> Iterator[Watched]:
    with watched_express() as watched:
        yield watched


def by_chance(chance: random.Random) -> Behaviour:
    async def behave(turn: Turn) -> None:
        await chance.choice(BEHAVIOURS)(turn)

    return behave


async def use(gateway: Gateway, chance: random.Random) -> None:
    """One client's life: some requests, each awaited for a while; then it leaves, well or badly."""
    caller = await gateway.connect(receive_bytes=chance.choice([0, 0, 4096]))
    # A body that fills the receive window behind a request that hangs keeps the FIN behind it, and so unseen.
    is_pipelining = chance.random() < 0.5
    for _ in range(chance.randrange(1, 30)):
        data = request("/v1/chat/completions", chance.choice(SMALL_BODIES if is_pipelining else BODIES))
        if is_pipelining:
            data *= chance.choice([1, 2])
        pieces = chance.choice([[data], [data], [data], [data[:50], data[50:]]])
        try:
            with trio.move_on_after(1) as patience:
                for piece in pieces:
                    await caller.send(piece)
                await caller.read_answer()
        except (trio.BrokenResourceError, AssertionError):  # closed by the gateway, after an answer that broke off
            break
        if patience.cancelled_caught:
            break
    await leave(caller, chance)


async def leave(caller: Caller, chance: random.Random) -> None:
    await caller.leave(rudely=chance.random() < 0.5)


@pytest.mark.parametrize("seed", range(6))
async def test_any_mix_leaves_nothing_behind_and_a_record_of_every_request(
    tmp_path: Path, express: Watched, seed: int
) -> None:
    chance = random.Random(seed)
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(
            tmp_path, a, b, max_concurrent=20, breaker_failures=1000, breaker_min_requests=10_000, max_attempts=2
        ) as gateway,
    ):
        a.behaviour = b.behaviour = by_chance(chance)
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(use, gateway, random.Random(chance.random()))
        await gateway.settled()
        assert express.taken
        check_records(gateway.records(), a, b)
        a.behaviour = b.behaviour = answer(GOOD)
        await served_again(gateway)
        await wait_until(lambda: all(turn.is_over for turn in a.turns + b.turns))


def check_records(records: list[JournalRecord], *engines: FakeEngine) -> None:
    """Every request that an engine saw has one record, and no request has two."""
    ids = [record.request_id for record in records]
    assert len(ids) == len(set(ids))
    seen = {turn.request.headers["x-request-id"] for engine in engines for turn in engine.turns}
    assert seen <= set(ids)
    assert all(record.status for record in records)
    assert all(record.attempts <= 2 for record in records)
