"""Fibers: parked and woken without trio, hosted by a task where they need it, and ended exactly once."""

import gc
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.fibers import Departed, Fiber, Waker


class Bug(Exception):
    pass


class Life:
    """One fiber: `log` is what its coroutine said, `ends` what `ended` was told."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.log: list[object] = []
        self.ends: list[Exception | None] = []
        self.fiber = Fiber(nursery, self.ends.append)
        self.waker: Waker[Any] = Waker(self.fiber)

    def start(self, body: Callable[["Life"], Coroutine[object, Any, None]]) -> None:
        self.fiber.start(body(self))

    @property
    def told(self) -> list[str]:
        return [type(end).__name__ for end in self.ends]


@pytest.fixture
async def life() -> AsyncIterator[Life]:
    async with trio.open_nursery() as nursery:
        yield Life(nursery)


async def wait_twice(life: Life) -> None:
    life.log.append(await life.waker.wait())
    life.log.append(await life.waker.wait())


async def test_a_fiber_runs_at_once_and_ends_once(life: Life) -> None:
    async def body(life: Life) -> None:
        life.log.append("ran")

    life.start(body)
    assert (life.log, life.ends) == (["ran"], [None])
    life.fiber.leave()
    assert life.ends == [None]


async def test_waking_runs_a_parked_fiber_inside_the_call(life: Life) -> None:
    life.start(wait_twice)
    assert life.waker.is_waited_for
    life.waker.wake(1)
    assert (life.log, life.waker.is_waited_for) == ([1], True)
    life.waker.wake(2)
    assert (life.log, life.ends) == ([1, 2], [None])


async def test_a_value_that_comes_early_is_kept_and_a_second_replaces_it(life: Life) -> None:
    life.waker.wake("early")
    life.waker.wake("later")
    life.start(wait_twice)
    assert life.log == ["later"]
    assert life.waker.is_waited_for
    life.waker.wake("last")
    assert life.log == ["later", "last"]


async def test_whoever_is_woken_may_be_woken_again_from_inside(life: Life) -> None:
    async def body(life: Life) -> None:
        life.log.append(await life.waker.wait())
        life.waker.wake("by myself")
        life.log.append(await life.waker.wait())

    life.start(body)
    life.waker.wake("by another")
    assert (life.log, life.ends) == (["by another", "by myself"], [None])


async def test_leaving_a_parked_fiber_raises_where_it_waits(life: Life) -> None:
    async def body(life: Life) -> None:
        try:
            await life.waker.wait()
        finally:
            life.log.append("cleaned up")

    life.start(body)
    life.fiber.leave()
    life.fiber.leave()
    assert (life.log, life.told) == (["cleaned up"], ["Departed"])
    assert not life.waker.is_waited_for


async def test_a_fiber_that_leaves_may_still_wait_to_clean_up(life: Life) -> None:
    async def body(life: Life) -> None:
        try:
            await life.waker.wait()
        except Departed:
            life.log.append(await life.waker.wait())

    life.start(body)
    life.fiber.leave()
    assert life.ends == []
    life.waker.wake("flushed")
    assert (life.log, life.ends) == (["flushed"], [None])


async def test_a_bug_reaches_its_border_once(life: Life) -> None:
    async def body(life: Life) -> None:
        await life.waker.wait()
        raise Bug

    life.start(body)
    life.waker.wake(1)
    assert life.told == ["Bug"]


async def test_a_hosted_fiber_may_use_trio_and_park_again(life: Life) -> None:
    async def body(life: Life) -> None:
        assert not life.fiber.is_task
        await life.fiber.become_task()
        assert life.fiber.is_task
        await life.fiber.become_task()  # is one already
        with trio.move_on_after(5):
            await trio.sleep(0)
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep, 0)
        life.log.append(await life.waker.wait())
        assert not life.fiber.is_task
        await life.fiber.become_task()
        await trio.sleep(0)
        life.log.append("done")

    life.start(body)
    assert life.log == []
    await wait_all_tasks_blocked()
    life.waker.wake("woken")
    assert life.log == ["woken"]
    await wait_all_tasks_blocked()
    assert (life.log, life.ends) == (["woken", "done"], [None])


async def test_a_value_that_comes_while_a_task_hosts_is_kept(life: Life) -> None:
    gate = trio.Event()

    async def body(life: Life) -> None:
        await life.fiber.become_task()
        await gate.wait()
        life.log.append(await life.waker.wait())

    life.start(body)
    await wait_all_tasks_blocked()
    life.waker.wake("meanwhile")
    assert life.log == []
    gate.set()
    await wait_all_tasks_blocked()
    assert (life.log, life.ends) == (["meanwhile"], [None])


async def test_errors_of_trio_reach_the_code_that_waits(life: Life) -> None:
    async def body(life: Life) -> None:
        await life.fiber.become_task()
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(0):
                await trio.sleep_forever()
        raise Bug

    life.start(body)
    await wait_all_tasks_blocked()
    assert life.told == ["Bug"]


async def hosted_for_ever(life: Life) -> None:
    try:
        await life.fiber.become_task()
        life.log.append("hosted")
        await trio.sleep_forever()
    finally:
        life.log.append("cleaned up")


async def test_leaving_a_hosted_fiber_cancels_it(life: Life) -> None:
    life.start(hosted_for_ever)
    await wait_all_tasks_blocked()
    life.fiber.leave()
    life.fiber.leave()
    await wait_all_tasks_blocked()
    assert (life.log, life.ends) == (["hosted", "cleaned up"], [None])


async def test_leaving_before_the_first_hosted_step_is_not_lost(life: Life) -> None:
    life.start(hosted_for_ever)
    life.fiber.leave()
    await wait_all_tasks_blocked()
    assert (life.log[-1], life.ends) == ("cleaned up", [None])


async def test_a_hosted_fiber_that_leaves_and_parks_is_ended_there(life: Life) -> None:
    async def body(life: Life) -> None:
        await life.fiber.become_task()
        life.fiber.leave()
        await life.waker.wait()

    life.start(body)
    await wait_all_tasks_blocked()
    assert life.told == ["Departed"]


async def test_leaving_between_hosts_finds_it_parked(life: Life) -> None:
    async def body(life: Life) -> None:
        await life.fiber.become_task()
        await trio.sleep(0)
        await life.waker.wait()

    life.start(body)
    await wait_all_tasks_blocked()
    assert (life.fiber.is_task, life.ends) == (False, [])
    life.fiber.leave()
    assert life.told == ["Departed"]


async def test_the_end_of_the_nursery_ends_its_hosted_fibers_once() -> None:
    async with trio.open_nursery() as nursery:
        life = Life(nursery)
        life.start(hosted_for_ever)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (life.log, life.ends) == (["hosted", "cleaned up"], [None])
    life.fiber.leave()
    assert life.ends == [None]


async def test_leaving_while_the_nursery_ends_is_still_one_end() -> None:
    async with trio.open_nursery() as nursery:
        life = Life(nursery)
        life.start(hosted_for_ever)
        await wait_all_tasks_blocked()
        life.fiber.leave()
        nursery.cancel_scope.cancel()
    assert (life.log, life.ends) == (["hosted", "cleaned up"], [None])


async def test_calling_trio_without_a_task_is_a_bug_that_is_seen(life: Life) -> None:
    async def body(life: Life) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(RuntimeError, match="become_task"):
        life.start(body)


class Thing:
    """Something that can be seen to be gone."""


@pytest.mark.parametrize("is_early", [True, False])
async def test_a_value_is_gone_when_its_fiber_has_dropped_it(life: Life, is_early: bool) -> None:
    async def body(life: Life) -> None:
        await life.waker.wait()
        await life.waker.wait()

    thing = Thing()
    seen = weakref.ref(thing)
    if is_early:
        life.waker.wake(thing)
    life.start(body)
    if not is_early:
        life.waker.wake(thing)
    del thing
    gc.collect()
    assert seen() is None
    life.waker.wake("end")
    assert life.ends == [None]
