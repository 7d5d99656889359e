"""A departure at every single wait of a request's life, once. Nothing may stay behind."""

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.fibers import Fiber
from tests.fakes.behaviours import (
    STREAM_HEAD,
    answer,
    answer_status,
    answer_stream,
    chat_answer,
    chunk,
    cut_into,
    event,
    sized,
)
from tests.fakes.caller import Caller, chat, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine

pytestmark = pytest.mark.slow

ONE = STREAM_HEAD + chunk(event("one"))


class Plan:
    """Ends the fiber under observation at its `n`th wait, as a departure would."""

    def __init__(self, gateway: Gateway, cut_at: int) -> None:
        self.gateway = gateway
        self.cut_at = cut_at
        self.waits = 0
        self.fiber: Fiber | None = None

    def on_ready(self, flags: int, now: float) -> None:
        """In the poller's next round, where departures come from."""
        for client in list(self.gateway.door.clients):
            if client.fiber is self.fiber:
                client.leave()

    def note(self, fiber: Fiber) -> None:
        if fiber is not self.fiber:
            return
        self.waits += 1
        if self.waits == self.cut_at:
            if fiber.is_task:
                fiber.leave()  # cancels what trio waits for, at this very checkpoint
            else:
                self.gateway.stages.poller.again(self)


class Observed:
    """A fiber's coroutine; every value it yields is a wait."""

    def __init__(self, fiber: Fiber, coroutine: Coroutine[object, Any, None], plan: Callable[[], Plan | None]) -> None:
        self._fiber = fiber
        self._coroutine = coroutine
        self._plan = plan

    def send(self, value: object) -> object:
        return self._noted(self._coroutine.send(value))

    def throw(self, error: BaseException) -> object:
        return self._noted(self._coroutine.throw(error))

    def _noted(self, trap: object) -> object:
        plan = self._plan()
        if plan is not None:
            plan.note(self._fiber)
        return trap


Scenario = Callable[[Gateway, Caller, FakeEngine, FakeEngine], Awaitable[None]]


async def a_new_connection(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    gateway.backend("engine-a").pool.close_idle()
    gateway.backend("engine-b").pool.close_idle()
    await caller.ask()
    await caller.read_answer()


async def a_pooled_connection(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    await caller.ask(stream=True)
    await caller.read_answer()


async def a_body_in_pieces(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    for piece in cut_into(request(body=chat()), [5, 100, 190, 200, 210]):
        await caller.send(piece)
        await wait_all_tasks_blocked()
    await caller.read_answer()


async def a_retry(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    faults = iter([answer_status(503), answer(sized(chat_answer())), answer(sized(chat_answer()))])
    a.behaviour = b.behaviour = lambda turn: next(faults)(turn)
    await caller.ask()
    await caller.read_answer()


async def a_stale_connection(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    faults = iter([answer(closes=True), *[answer(sized(chat_answer()))] * 3])
    a.behaviour = b.behaviour = lambda turn: next(faults)(turn)
    await caller.ask()
    await caller.read_answer()


async def an_error_in_the_stream(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    a.behaviour = b.behaviour = answer(ONE, closes=True)
    await caller.ask(stream=True)
    await caller.read_answer()
    await caller.read_to_end()


async def a_refusal(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    await caller.ask("unknown")
    await caller.read_answer()


async def a_turn_in_the_queue(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    goes_on = trio.Event()

    async def behave(turn: Turn) -> None:
        await goes_on.wait()
        await turn.send(sized(chat_answer()))

    a.behaviour = b.behaviour = behave
    count = len(a.turns) + len(b.turns)
    holders = [await gateway.connect() for _ in range(4)]
    for holder in holders:
        await holder.ask()
    await wait_until(lambda: len(a.turns) + len(b.turns) == count + 4)
    await caller.ask()
    await wait_all_tasks_blocked()
    goes_on.set()
    for holder in holders:
        assert (await holder.read_answer()).status == 200
        await holder.leave()
    await caller.read_answer()


async def a_queue_behind_a_failure(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    """Its backend fails, and the other one is full: it waits a second time, with its turn."""
    goes_on = trio.Event()

    async def behave(turn: Turn) -> None:
        if turn.request.headers.get("x-test") == "fails":
            await answer_status(503)(turn)
            return
        await goes_on.wait()
        await turn.send(sized(chat_answer()))

    a.behaviour = b.behaviour = behave
    count = len(a.turns) + len(b.turns)
    holders = [await gateway.connect() for _ in range(3)]
    for holder in holders:
        await holder.ask()
    await wait_until(lambda: len(a.turns) + len(b.turns) == count + 3)
    await caller.ask("m", "X-Test: fails")
    await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()
    goes_on.set()
    for holder in holders:
        assert (await holder.read_answer()).status == 200
        await holder.leave()
    await caller.read_answer()


async def two_in_a_pipeline(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    await caller.send(request(body=chat()) + request("/v1/models", method="GET") + request(body=chat(stream=True)))
    for _ in range(3):
        await caller.read_answer()


async def the_control_plane(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    await caller.send(request("/status", method="GET", key=None))
    await caller.read_answer()


SCENARIOS: list[Scenario] = [
    a_new_connection, a_pooled_connection, a_body_in_pieces, a_retry, a_stale_connection, an_error_in_the_stream,
    a_refusal, a_turn_in_the_queue, a_queue_behind_a_failure, two_in_a_pipeline, the_control_plane,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_a_departure_at_any_wait_leaves_nothing_behind(
    tmp_path: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b:
        await depart_everywhere(tmp_path, scenario, monkeypatch, a, b, answer_stream("one", "two"))


async def depart_everywhere(
    tmp_path: Path,
    scenario: Scenario,
    monkeypatch: pytest.MonkeyPatch,
    a: FakeEngine,
    b: FakeEngine,
    behaviour: Behaviour,
    **settings: object,
) -> None:
    """The scenario undisturbed, then as often as it waits: each time it is left at the next one."""
    plan: Plan | None = None
    start = Fiber.start

    def observe(fiber: Fiber, coroutine: Coroutine[object, Any, None]) -> None:
        if plan is not None and plan.fiber is None:
            plan.fiber = fiber
        start(fiber, Observed(fiber, coroutine, lambda: plan))  # type: ignore[arg-type]

    monkeypatch.setattr(Fiber, "start", observe)
    async with run_gateway(
        tmp_path,
        a,
        b,
        max_concurrent=2,
        breaker_min_requests=100_000,
        breaker_failures=1000,
        retry_budget_percent=100,
        **settings,  # type: ignore[arg-type]
    ) as gateway:
        cut_at, waits = 0, 1
        while cut_at <= waits:  # 0: nothing is cut, and the waits are counted
            a.behaviour = b.behaviour = behaviour
            for engine in (a, b):
                connection = await gateway.backend(engine.name).connect()
                connection.give_back(trio.current_time())
            plan = made = Plan(gateway, cut_at)
            caller = await gateway.connect()
            await wait_until(lambda: made.fiber)  # noqa: B023
            with trio.move_on_after(10) as scope:
                try:
                    await scenario(gateway, caller, a, b)
                except (AssertionError, trio.BrokenResourceError):
                    assert cut_at, "the undisturbed run"
            assert not scope.cancelled_caught, f"hangs when it is cut at wait {cut_at} of {waits}"
            await caller.leave()
            waits = waits if cut_at else made.waits
            plan = None
            await gateway.settled()
            await wait_until(lambda: not gateway.door.clients)
            gateway.callers.clear()
            assert gateway.stages.counters.crashes == 0, (cut_at, gateway.log.lines)
            cut_at += 1
        print(f"{scenario.__name__}: cut at each of {waits} waits")
        assert waits >= 1
