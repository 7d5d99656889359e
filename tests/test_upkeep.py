"""What a worker does now and then. The disk: tests/test_captures.py, in a whole worker."""

import subprocess
import sys

import pytest
import trio

from mrproxy.counters import Counters
from mrproxy.dialects.responses.store import ResponseStore
from mrproxy.upkeep import forget_responses, mind_the_disk, watch_lag
from tests.fakes.log import MemoryLog


class Losing:
    """A journal, or captures, that lose what they are told to."""

    def __init__(self):
        self.lost = self.lost_records = self.closed = 0

    def close(self):
        self.closed += 1


async def test_losses_are_said_once_and_only_what_is_new(autojump_clock):
    journal, captures, log = Losing(), Losing(), MemoryLog()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mind_the_disk, journal, captures, log)
        await trio.sleep(6)
        assert not log.lines
        journal.lost_records, captures.lost = 3, 1
        await trio.sleep(10)
        journal.lost_records += 1
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    said = log.events("the disk does not take everything")
    assert said == [{"lost_records": 3, "lost_captures": 1}, {"lost_records": 1, "lost_captures": 0}]


async def test_a_segment_of_captures_ends_every_ten_minutes(autojump_clock):
    captures = Losing()
    with trio.move_on_after(1801):
        await mind_the_disk(Losing(), captures, MemoryLog())
    assert captures.closed == 3


async def test_old_responses_are_forgotten_without_traffic(autojump_clock):
    expired = []

    class Store(ResponseStore):
        def expire(self, now):
            expired.append(now)

    began_at = trio.current_time()
    with trio.move_on_after(130):
        await forget_responses(Store(1, 1, 1.0))
    assert expired == [began_at + 60, began_at + 120]


async def test_lag_is_how_late_a_task_runs_and_the_worst_is_kept(mock_clock):
    counters = Counters()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_lag, counters)
        for late in (0.75, 0.25):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.25 + late)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert counters.event_loop_lag_seconds == 0.25
    assert counters.event_loop_lag_worst_seconds == 0.75


@pytest.mark.slow
def test_what_exists_at_start_is_out_of_the_collectors_sight():
    look = "print(gc.get_freeze_count() > 0, *gc.get_threshold())"
    code = f"import gc; from mrproxy.upkeep import settle_garbage; settle_garbage(); {look}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "20000", "20", "100"]
