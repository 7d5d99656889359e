"""Shell. The hand-over of slots: nobody is forgotten, nothing is held twice, no slot idles."""

import math
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mrproxy.errors import Code, Refused
from mrproxy.scheduler.fifo import Fifo
from mrproxy.scheduler.grant import Grant, Scheduler
from mrproxy.scheduler.job import Job
from mrproxy.scheduler.placement import LeastLoad
from mrproxy.scheduler.wdrr import Wdrr
from tests.scheduler.fakes import FakeBackend, FakeBackends, Limits


def job(flow: str = "u", model: str = "m", cost: int = 100, weight: int = 1) -> Job:
    return Job(flow, weight, model, cost, 0.0)


def scheduler(*backends: FakeBackend, limits: Limits | None = None, **served: list[FakeBackend]) -> Scheduler:
    return Scheduler(Wdrr(1000, 0), LeastLoad(), FakeBackends(served or {"m": list(backends)}), limits or Limits())


class Waiters:
    """Tasks that wait for grants, and what they got. trio shuffles those that wake in the same tick."""

    def __init__(self, scheduler: Scheduler, nursery: trio.Nursery) -> None:
        self.scheduler = scheduler
        self.nursery = nursery
        self.grants: list[Grant] = []
        self.refused: list[Code] = []
        self.scopes: list[trio.CancelScope] = []

    async def add(self, waiting: Job) -> trio.CancelScope:
        scope = trio.CancelScope()
        self.scopes.append(scope)
        self.nursery.start_soon(self._wait, waiting, scope)
        await trio.testing.wait_all_tasks_blocked()
        return scope

    async def _wait(self, waiting: Job, scope: trio.CancelScope) -> None:
        with scope:
            try:
                self.grants.append(await self.scheduler.wait_grant(waiting))
            except Refused as refused:
                self.refused.append(refused.code)

    def flows(self) -> list[str]:
        return [grant.job.flow_id for grant in self.grants]


async def test_a_free_slot_is_granted_at_once_without_a_checkpoint():
    backend = FakeBackend()
    with trio.testing.assert_no_checkpoints():
        grant = scheduler(backend).try_grant(job())
    assert grant is not None
    assert grant.backend is backend
    assert backend.in_flight == 1
    assert grant.queue_seconds == 0


async def test_waiting_with_a_free_slot_does_not_wait():
    with trio.testing.assert_no_checkpoints():
        with await scheduler(FakeBackend()).wait_grant(job()) as grant:
            assert grant.is_held


async def test_a_full_backend_grants_nothing_at_once():
    backend = FakeBackend()
    subject = scheduler(backend)
    with subject.try_grant(job()):
        assert subject.try_grant(job()) is None
    assert subject.try_grant(job()) is not None


async def test_a_grant_is_released_exactly_once():
    backend = FakeBackend(max_concurrent=2)
    subject = scheduler(backend)
    other = subject.try_grant(job())
    with subject.try_grant(job()) as grant:
        grant.release(50)
        grant.release(50)
    assert backend.in_flight == 1
    assert other.is_held
    assert not grant.is_held


async def test_a_freed_slot_goes_to_the_waiter_and_tells_how_long_it_waited(autojump_clock):
    backend = FakeBackend()
    subject = scheduler(backend)
    first = subject.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        await waiters.add(job("late"))
        await trio.sleep(3)
        first.release()
        assert backend.in_flight == 1  # taken before the waiter even runs
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["late"]
        assert waiters.grants[0].queue_seconds == pytest.approx(3)
        assert subject.waiting_total == 0


async def test_only_the_one_whose_turn_it_is_wakes(autojump_clock):
    subject = scheduler(FakeBackend())
    first = subject.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        for flow in ("a", "b", "c"):
            await waiters.add(job(flow, cost=1000))
        first.release()
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["a"]
        assert subject.waiting_total == 2
        nursery.cancel_scope.cancel()
    assert subject.waiting_total == 0


async def test_nobody_overtakes_those_who_wait(autojump_clock):
    backend = FakeBackend()
    subject = scheduler(backend)
    first = subject.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        await waiters.add(job("early"))
        first.release()
        assert subject.try_grant(job("late")) is None
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["early"]


async def test_a_cancelled_waiter_holds_nothing_and_blocks_nobody(autojump_clock):
    backend = FakeBackend()
    subject = scheduler(backend)
    first = subject.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        gone = await waiters.add(job("gone"))
        await waiters.add(job("next"))
        gone.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert subject.waiting_total == 1
        first.release()
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["next"]


async def test_a_slot_granted_before_the_cancellation_is_still_held_by_the_grant_that_is_returned(autojump_clock):
    """The hand-over has woken the task already: trio delivers the value, and Cancelled at the next checkpoint."""
    backend = FakeBackend()
    subject = scheduler(backend)
    first = subject.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        scope = await waiters.add(job("both"))
        first.release()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert backend.in_flight == len(waiters.grants) == 1


async def test_a_waiter_cancelled_before_it_can_receive_passes_the_slot_on(autojump_clock):
    """Capacity appears unannounced, so the job is granted while it joins, inside an already cancelled scope."""
    backend = FakeBackend()
    subject = scheduler(backend)
    first = subject.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        await waiters.add(job("waits"))
        backend.max_concurrent = 3
        with trio.CancelScope() as scope:
            scope.cancel()
            await subject.wait_grant(job("cancelled"))
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["waits"]
        assert backend.in_flight == 2
        assert subject.waiting_total == 0
        first.release()


async def test_a_deadline_ends_the_wait_with_a_retry_after(autojump_clock):
    subject = scheduler(FakeBackend(), limits=Limits(queue_deadline_seconds=5))
    with subject.try_grant(job()):
        with pytest.raises(Refused) as caught:
            await subject.wait_grant(job())
    assert trio.current_time() == pytest.approx(5)
    assert caught.value.code is Code.QUEUE_TIMEOUT
    assert caught.value.retry_after_seconds == 60  # nothing has moved
    assert subject.waiting_total == 0
    assert subject.try_grant(job()) is not None


async def test_a_grant_in_the_tick_of_the_deadline_is_not_lost(autojump_clock):
    """Granted while it joins, with a deadline that is over by then: the wait ends before the channel is read."""
    backend = FakeBackend()
    subject = scheduler(backend, limits=Limits(queue_deadline_seconds=60))
    first = subject.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        await waiters.add(job("waits"))
        backend.max_concurrent = 3
        subject.settings = Limits(queue_deadline_seconds=0)
        with await subject.wait_grant(job("in time")) as grant:
            assert grant.backend is backend
            await trio.testing.wait_all_tasks_blocked()
            assert waiters.flows() == ["waits"]
            assert backend.in_flight == 3
    first.release()


async def test_a_flow_may_queue_only_so_much(autojump_clock):
    subject = scheduler(FakeBackend(), limits=Limits(queue_max_jobs_per_flow=1))
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        with subject.try_grant(job()):
            await waiters.add(job("greedy"))
            await waiters.add(job("greedy"))
            await waiters.add(job("modest"))
            assert waiters.refused == [Code.FLOW_QUEUE_FULL]
            assert subject.waiting_total == 2
            nursery.cancel_scope.cancel()


async def test_all_together_may_queue_only_so_much(autojump_clock):
    subject = scheduler(FakeBackend(), limits=Limits(queue_max_jobs=1))
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        with subject.try_grant(job()):
            await waiters.add(job("a"))
            await waiters.add(job("b"))
            assert waiters.refused == [Code.QUEUE_FULL]
            nursery.cancel_scope.cancel()


async def test_retry_after_follows_the_measured_drain(autojump_clock):
    subject = scheduler(FakeBackend(), limits=Limits(queue_max_jobs_per_flow=4))

    async def work(flow: str) -> None:
        with await subject.wait_grant(job(flow)):
            await trio.sleep(2)

    async with trio.open_nursery() as nursery:
        for number in range(25):
            nursery.start_soon(work, f"u{number}")
        await trio.sleep(31)
        for _ in range(4):
            nursery.start_soon(work, "full")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Refused) as caught:
            await subject.wait_grant(job("full"))
        waiting = subject.waiting_total
        nursery.cancel_scope.cancel()
    assert caught.value.retry_after_seconds == pytest.approx(2 * (waiting + 1), rel=0.1)


async def test_a_model_that_is_routable_nowhere_is_refused_at_once(autojump_clock):
    with pytest.raises(Refused) as caught:
        await scheduler(FakeBackend(is_routable=False)).wait_grant(job())
    assert caught.value.code is Code.NO_BACKEND


async def test_a_job_whose_model_becomes_unroutable_waits_for_its_return(autojump_clock):
    backend = FakeBackend()
    subject = scheduler(backend)
    first = subject.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        await waiters.add(job("patient"))
        backend.is_routable = False
        first.release()
        await trio.testing.wait_all_tasks_blocked()
        assert backend.in_flight == 0  # a draining backend gets nothing new
        backend.is_routable = True
        subject.capacity_changed()
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["patient"]


async def test_at_the_end_of_a_drain_who_waits_is_refused_and_leaves_no_trace(autojump_clock):
    backend = FakeBackend()
    queue = scheduler(backend)
    grant = queue.try_grant(job())
    async with trio.open_nursery() as nursery:
        waiters = Waiters(queue, nursery)
        await waiters.add(job("a"))
        await waiters.add(job("b"))
        queue.refuse_waiting()
        await trio.testing.wait_all_tasks_blocked()
    grant.release()
    assert waiters.refused == [Code.DRAINING, Code.DRAINING]
    assert (queue.waiting_total, backend.in_flight) == (0, 0)


async def test_more_slots_are_filled_when_they_are_announced(autojump_clock):
    backend = FakeBackend()
    subject = scheduler(backend)
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        with subject.try_grant(job()):
            for flow in ("a", "b", "c"):
                await waiters.add(job(flow))
            backend.max_concurrent = 3
            subject.capacity_changed()
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(waiters.flows()) == ["a", "b"]
            nursery.cancel_scope.cancel()


async def test_a_freed_slot_serves_the_waiting_models_in_turn(autojump_clock):
    shared = FakeBackend()
    subject = scheduler(x=[shared], y=[shared])
    first = subject.try_grant(job(model="x"))
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        for _ in range(3):
            await waiters.add(job("ux", model="x"))
        for _ in range(3):
            await waiters.add(job("uy", model="y"))
        first.release()
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            waiters.grants[-1].release()
        await trio.testing.wait_all_tasks_blocked()
        models = [grant.job.model for grant in waiters.grants]
        assert sorted(models[:2]) == sorted(models[2:4]) == sorted(models[4:]) == ["x", "y"]


async def test_a_slot_never_goes_to_a_model_its_backend_does_not_serve(autojump_clock):
    one, two = FakeBackend("one"), FakeBackend("two")
    subject = scheduler(x=[one], y=[two])
    holds_x, holds_y = subject.try_grant(job(model="x")), subject.try_grant(job(model="y"))
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        await waiters.add(job("x", model="x"))
        holds_y.release()
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.grants == []
        assert two.in_flight == 0
        holds_x.release()
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.grants[0].backend is one


async def test_a_retry_takes_a_free_slot_elsewhere_at_once():
    bad, good = FakeBackend("bad"), FakeBackend("good", resident=frozenset())
    subject = scheduler(bad, good)
    grant = subject.try_grant(job())
    assert grant.backend is bad
    with trio.testing.assert_no_checkpoints():
        second = await subject.regrant(grant, {"bad"})
    assert second.backend is good
    assert (bad.in_flight, good.in_flight) == (0, 1)
    grant.release()  # the old one is spent
    second.release()
    assert (bad.in_flight, good.in_flight) == (0, 0)


async def test_a_retry_with_nowhere_else_to_go_keeps_its_slot_and_says_so():
    only = FakeBackend()
    subject = scheduler(only)
    grant = subject.try_grant(job())
    with pytest.raises(Refused) as caught:
        await subject.regrant(grant, {"a"})
    assert caught.value.code is Code.NO_BACKEND
    assert grant.is_held


async def test_a_waiting_retry_goes_first_and_blocks_nobody_on_the_backend_it_excludes(autojump_clock):
    bad, good = FakeBackend("bad"), FakeBackend("good", resident=frozenset())
    subject = scheduler(bad, good)
    failed, running = subject.try_grant(job("failed")), subject.try_grant(job("running"))
    async with trio.open_nursery() as nursery:
        waiters = Waiters(subject, nursery)
        await waiters.add(job("first"))
        await waiters.add(job("second"))

        async def retry() -> None:
            waiters.grants.append(await subject.regrant(failed, {"bad"}))

        nursery.start_soon(retry)
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["first"]  # got the slot the retry gave up
        running.release()
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["first", "failed"]
        assert waiters.grants[1].backend is good
        waiters.grants[1].release()
        await trio.testing.wait_all_tasks_blocked()
        assert waiters.flows() == ["first", "failed", "second"]


async def test_a_cancelled_retry_leaves_no_trace(autojump_clock):
    bad, good = FakeBackend("bad"), FakeBackend("good", resident=frozenset())
    subject = scheduler(bad, good)
    failed, running = subject.try_grant(job("failed")), subject.try_grant(job("running"))
    with trio.move_on_after(1) as scope:
        await subject.regrant(failed, {"bad"})
    assert scope.cancelled_caught
    assert subject.waiting_total == 0
    running.release()
    assert (bad.in_flight, good.in_flight) == (0, 0)
    assert subject.statistics() == ()


async def test_a_new_job_may_exclude_backends_too(autojump_clock):
    bad, good = FakeBackend("bad"), FakeBackend("good", resident=frozenset())
    subject = scheduler(bad, good)
    with subject.try_grant(Job("u", 1, "m", 10, 0.0, {"bad"})) as grant:
        assert grant.backend is good
        async with trio.open_nursery() as nursery:
            waiters = Waiters(subject, nursery)
            await waiters.add(Job("u", 1, "m", 10, 0.0, {"bad"}))
            assert bad.in_flight == 0
            grant.release()
            await trio.testing.wait_all_tasks_blocked()
            assert waiters.grants[0].backend is good


async def test_limits_of_a_reload_apply_to_who_comes_next(autojump_clock):
    subject = scheduler(FakeBackend())
    with subject.try_grant(job()):
        subject.settings = Limits(queue_max_jobs=0)
        with pytest.raises(Refused):
            await subject.wait_grant(job())


@dataclass
class Caller:
    flow: str
    model: str
    cost: int
    true_cost: int | None
    arrives_at: int
    works: int
    leaves_after: int | None
    fails: bool


CALLERS = st.lists(
    st.builds(
        Caller,
        flow=st.sampled_from("abc"),
        model=st.sampled_from("xy"),
        cost=st.integers(1, 400),
        true_cost=st.none() | st.integers(0, 400),
        arrives_at=st.integers(0, 6),
        works=st.integers(0, 3),
        leaves_after=st.none() | st.integers(0, 6),
        fails=st.booleans(),
    ),
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(CALLERS, st.integers(1, 2), st.sampled_from([3, 60]), st.sampled_from(["wdrr", "wdrr with memory", "fifo"]))
def test_any_mix_of_cancels_deadlines_retries_and_releases_balances_to_zero(callers, slots, deadline, discipline):
    """Times are whole seconds, so that arrivals, releases, cancellations and deadlines meet in one tick."""
    disciplines = {"wdrr": Wdrr(100, 0), "wdrr with memory": Wdrr(1, 500), "fifo": Fifo()}
    trio.run(
        Balance(callers, slots, deadline, disciplines[discipline]).run,
        clock=trio.testing.MockClock(autojump_threshold=0),
    )


class Balance:
    """`one` serves x, `two` serves x and y; in every quiet moment no slot idles that a waiting job could use."""

    def __init__(self, callers: list[Caller], slots: int, deadline: int, discipline: Wdrr | Fifo) -> None:
        self.callers = callers
        self.one, self.two = FakeBackend("one", slots), FakeBackend("two", slots)
        backends = FakeBackends({"x": [self.one, self.two], "y": [self.two]})
        limits = Limits(queue_deadline_seconds=deadline)
        self.discipline = discipline
        self.subject = Scheduler(discipline, LeastLoad(), backends, limits)
        self.ended = 0

    async def run(self) -> None:
        async with trio.open_nursery() as watched:
            watched.start_soon(self.watch)
            async with trio.open_nursery() as nursery:
                for caller in self.callers:
                    nursery.start_soon(self.call, caller)
            watched.cancel_scope.cancel()
        assert self.ended == len(self.callers)
        assert self.one.in_flight == self.two.in_flight == 0
        assert self.subject.waiting_total == self.discipline.waiting_total == 0
        assert self.subject.statistics() == ()
        if isinstance(self.discipline, Wdrr):
            assert all(
                flow.in_flight == flow.uncharged_tokens == flow.dead == 0
                for ring in self.discipline._rings.values()
                for flow in ring.flows.values()
            )

    async def call(self, caller: Caller) -> None:
        await trio.sleep(caller.arrives_at)
        job = Job(caller.flow, 1, caller.model, caller.cost, trio.current_time())
        with trio.move_on_after(math.inf if caller.leaves_after is None else caller.leaves_after):
            try:
                await self.work(caller, job)
            except Refused:
                assert not job.is_waiting
        self.ended += 1

    async def work(self, caller: Caller, job: Job) -> None:
        grant = self.subject.try_grant(job) or await self.subject.wait_grant(job)
        with grant:
            await trio.sleep(caller.works)
            if not caller.fails:
                grant.release(caller.true_cost)
                return
            with await self.subject.regrant(grant, {grant.backend.name}) as second:
                assert second.backend is not grant.backend
                await trio.sleep(caller.works)

    async def watch(self) -> None:
        while True:
            await trio.testing.wait_all_tasks_blocked()
            if self.discipline.waiting("x"):
                assert self.one.in_flight == self.one.max_concurrent
            if self.discipline.waiting_total:
                assert self.two.in_flight == self.two.max_concurrent
            await trio.sleep(0.5)
