"""Turns keep beginnings apart."""

import trio

from mrproxy.upstream.turns import Turns


async def test_all_at_once_begin_one_after_the_other(autojump_clock: trio.abc.Clock) -> None:
    turns, begun = Turns(0.5), []

    async def begin() -> None:
        await turns.wait()
        begun.append(trio.current_time() - started_at)

    started_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(begin)
    assert begun == [0.0, 0.5, 1.0, 1.5]
    await trio.sleep(10)
    await begin()
    assert begun[-1] == 11.5
