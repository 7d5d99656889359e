"""A value that many want is asked for once."""

import pytest
import trio

from mrproxy.control.mindrouter.fresh import Fresh


async def test_many_who_want_it_at_once_ask_once(autojump_clock):
    fresh, asked, found = Fresh[int](5.0), [], []

    async def ask() -> int:
        asked.append(trio.current_time())
        await trio.sleep(1)
        return len(asked)

    async def want() -> None:
        found.append(await fresh.get(ask))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(want)
    await trio.sleep(4.9)
    assert await fresh.get(ask) == 1
    assert (len(asked), found) == (1, [1] * 10)
    await trio.sleep(0.2)
    assert await fresh.get(ask) == 2


async def test_a_failure_is_not_kept_and_the_next_one_asks(autojump_clock):
    fresh, asked = Fresh[int](5.0), []

    async def ask() -> int:
        asked.append(1)
        await trio.sleep(1)
        if len(asked) == 1:
            raise ValueError
        return 7

    found = []

    async def want() -> None:
        found.append(await fresh.get(ask))

    async def fail() -> None:
        with pytest.raises(ValueError):
            await fresh.get(ask)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(want)
    assert found == [7]


async def test_whoever_is_cancelled_while_asking_leaves_it_to_the_next(autojump_clock):
    fresh = Fresh[int](5.0)

    async def never() -> int:
        await trio.sleep_forever()
        raise AssertionError

    async def ask() -> int:
        return 7

    with trio.move_on_after(1):
        await fresh.get(never)
    assert await fresh.get(ask) == 7
