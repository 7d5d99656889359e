"""Between trio and asyncio: values, errors and cancellation cross in both directions, and nothing is left behind."""

import asyncio
import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.storage import bridge as module
from mrproxy.storage.bridge import BridgeClosed, interruptible, open_bridge


@pytest.fixture
async def bridge():
    before = set(threading.enumerate())
    async with open_bridge() as bridge:
        yield bridge
        assert await bridge.run(running_tasks) == 0
    assert set(threading.enumerate()) <= before  # those of others may have ended meanwhile


async def running_tasks():
    return len(asyncio.all_tasks() - {asyncio.current_task()}) - 1  # the bridge's own


class Sleeper:
    """Sleeps on the asyncio side until it is cancelled, and says what it lived through."""

    def __init__(self, result=None, error=None):
        self.started = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        self.result, self.error = result, error
        self.cleaned_up = False

    async def sleep(self):
        self.token.run_sync_soon(self.started.set)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if self.result is not None:
                return self.result
            if self.error is not None:
                raise self.error from None
            raise
        finally:
            await asyncio.sleep(0)
            self.cleaned_up = True


async def add(left, right):
    await asyncio.sleep(0)
    return left + right


async def fail(error):
    raise error


async def test_a_result_comes_back(bridge):
    assert await bridge.run(add, 1, 2) == 3


async def test_many_calls_at_once_get_their_own_results(bridge):
    results = {}

    async def call(number):
        results[number] = await bridge.run(add, number, number)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(call, number)
    assert results == {number: 2 * number for number in range(50)}


async def test_an_error_comes_back_as_it_was_raised(bridge):
    error = KeyError("theirs")
    with pytest.raises(KeyError) as caught:
        await bridge.run(fail, error)
    assert caught.value is error


async def test_a_call_with_wrong_arguments_is_an_error_not_silence(bridge):
    with pytest.raises(TypeError):
        await bridge.run(add, 1)


async def test_cancelling_here_cancels_there_and_waits_for_the_cleaning_up(bridge):
    sleeper = Sleeper()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run, sleeper.sleep)
            await sleeper.started.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert sleeper.cleaned_up


async def test_what_was_finished_all_the_same_returns_its_result(bridge):
    sleeper = Sleeper(result="committed")
    with trio.CancelScope() as scope:

        async def cancel_when_started():
            await sleeper.started.wait()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_when_started)
            result = await bridge.run(sleeper.sleep)
    assert result == "committed"


async def test_an_error_of_the_cleaning_up_is_not_lost(bridge):
    sleeper = Sleeper(error=KeyError("rollback"))
    with pytest.RaisesGroup(KeyError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run, sleeper.sleep)
            await sleeper.started.wait()
            nursery.cancel_scope.cancel()


async def test_a_call_in_a_cancelled_scope_leaves_no_task(bridge):
    with trio.CancelScope() as scope:
        scope.cancel()
        await bridge.run(Sleeper().sleep)
    assert scope.cancelled_caught
    assert await bridge.run(running_tasks) == 0


async def test_a_task_that_asyncio_cancels_is_not_a_cancellation_here(bridge):
    async def cancelled_from_inside():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    with pytest.raises(BridgeClosed):
        await bridge.run(cancelled_from_inside)


async def deaf_until(release, started, token):
    """Work in a thread: cancelling it changes nothing."""
    token.run_sync_soon(started.set)
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        await asyncio.to_thread(release.wait)
        raise


async def test_a_task_that_does_not_end_is_given_up_after_the_deadline(monkeypatch):
    monkeypatch.setattr(module, "CLEANUP_SECONDS", 0.01)
    release = threading.Event()
    started = trio.Event()
    async with open_bridge() as bridge:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bridge.run, deaf_until, release, started, trio.lowlevel.current_trio_token())
                await started.wait()
                scope.cancel()
        assert scope.cancelled_caught
        release.set()


async def test_closing_cancels_what_runs():
    sleeper = Sleeper()
    errors = []

    async def call(bridge):
        try:
            await bridge.run(sleeper.sleep)
        except BridgeClosed as exc:
            errors.append(exc)

    async with trio.open_nursery() as nursery:
        async with open_bridge() as bridge:
            nursery.start_soon(call, bridge)
            await sleeper.started.wait()
    assert len(errors) == 1
    assert sleeper.cleaned_up


async def test_a_closed_bridge_refuses():
    async with open_bridge() as bridge:
        pass
    with pytest.raises(BridgeClosed):
        await bridge.run(add, 1, 2)


async def test_a_call_while_it_closes_is_refused_and_not_forgotten():
    errors = []
    sleeper = Sleeper()

    async def call_when_closing(bridge):
        await sleeper.started.wait()
        while not errors:
            try:
                await bridge.run(add, 1, 2)
            except BridgeClosed as exc:
                errors.append(exc)

    async with trio.open_nursery() as nursery:
        async with open_bridge() as bridge:
            nursery.start_soon(call_when_closing, bridge)
            sleeper.started.set()
            await wait_all_tasks_blocked()
    assert len(errors) == 1


async def test_the_error_of_the_block_comes_out_bare():
    with pytest.raises(KeyError):
        async with open_bridge():
            raise KeyError("the block's")


async def test_cancelling_the_block_ends_the_thread():
    before = set(threading.enumerate())
    with trio.CancelScope() as scope:
        async with open_bridge():
            scope.cancel()
            await trio.sleep_forever()
    assert set(threading.enumerate()) <= before  # those of others may have ended meanwhile


async def test_opening_in_a_cancelled_scope_leaves_no_thread():
    before = set(threading.enumerate())
    with trio.fail_after(5), trio.CancelScope() as scope:
        scope.cancel()
        async with open_bridge():
            await trio.sleep_forever()
    assert set(threading.enumerate()) <= before  # those of others may have ended meanwhile


async def test_cleaning_up_is_not_cancelled_a_second_time_by_closing():
    started, cleaning, token = trio.Event(), trio.Event(), trio.lowlevel.current_trio_token()
    lived_through = []

    async def clean_up_slowly():
        token.run_sync_soon(started.set)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            token.run_sync_soon(cleaning.set)
            await asyncio.to_thread(closing.wait)
            lived_through.append("cleaned up")

    closing = threading.Event()
    async with trio.open_nursery() as nursery:
        async with open_bridge() as bridge:
            nursery.start_soon(bridge.run, clean_up_slowly)
            await started.wait()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await cleaning.wait()
            threading.Timer(0.01, closing.set).start()
    assert lived_through == ["cleaned up"]


async def test_work_in_a_thread_is_interrupted_until_it_ends(bridge):
    interrupts = []
    release = threading.Event()
    started = trio.Event()

    async def interrupt():
        interrupts.append(None)
        if len(interrupts) == 2:  # the first one came too early
            release.set()

    async def call(token):
        await interruptible(deaf_until(release, started, token), interrupt)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run, call, trio.lowlevel.current_trio_token())
            await started.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert len(interrupts) == 2


async def test_work_that_ends_while_it_is_interrupted_returns_its_result(bridge):
    sleeper = Sleeper(result="committed")

    async def interrupt():
        pass

    async def call():
        return await interruptible(sleeper.sleep(), interrupt)

    async def cancel_when_started(scope):
        await sleeper.started.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_when_started, scope)
            assert await bridge.run(call) == "committed"
