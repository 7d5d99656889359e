"""Shell. What a worker does now and then, beside its requests: each is a task of its own or happens once.

None of it is on a request's way. `app.py` draws the tasks.
"""

import gc
import itertools
from typing import Protocol

import trio

from mrproxy.counters import Counters
from mrproxy.dialects.responses.store import ResponseStore
from mrproxy.link.capture import CaptureWriter
from mrproxy.link.journal import Writer

_LAG_SECONDS = 0.25
_FORGET_SECONDS = 60.0
_DISK_SECONDS = 5.0
# Ten minutes.
_CAPTURE_SEGMENT_CHECKS = 120


class DiskLog(Protocol):
    """What is said here is for a human to act upon."""

    def error(self, event: str, *, lost_records: int, lost_captures: int) -> None: ...


async def mind_the_disk(journal: Writer, captures: CaptureWriter, log: DiskLog) -> None:
    """Say what it did not take, for whoever writes is on a request's way; and end segments of captures in time.

    A segment that is being written cannot be removed, and what is captured is not to lie on the disk for long.
    """
    lost = 0, 0
    for number in itertools.count(1):
        await trio.sleep(_DISK_SECONDS)
        now_lost = journal.lost_records, captures.lost
        if now_lost != lost:
            records, bodies = (now - before for now, before in zip(now_lost, lost, strict=True))
            log.error("the disk does not take everything", lost_records=records, lost_captures=bodies)
        lost = now_lost
        if number % _CAPTURE_SEGMENT_CHECKS == 0:
            captures.close()


async def forget_responses(responses: ResponseStore) -> None:
    """Those that are too old, without traffic too."""
    while True:
        await trio.sleep(_FORGET_SECONDS)
        responses.expire(trio.current_time())


async def watch_lag(counters: Counters) -> None:
    """How late a task runs that wanted to run at a certain time: what every other task waits, too."""
    while True:
        due_at = trio.current_time() + _LAG_SECONDS
        await trio.sleep_until(due_at)
        lag = trio.current_time() - due_at
        counters.event_loop_lag_seconds = lag
        counters.event_loop_lag_worst_seconds = max(lag, counters.event_loop_lag_worst_seconds)


def settle_garbage() -> None:
    """What exists now exists for good: keep it out of the collector's sight, and let it look less often.

    A request makes few objects that refer to each other; with the default threshold (700) the collector would run
    every tenth request. docs/benchmarks.md has the pauses.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
