"""Shell. The wall clock: for records, expiries and names of files, never for measuring.

Durations come from `trio.current_time()`, which tests can replace. Whoever needs the wall clock is given a `Clock`;
`utc_now` is the real one and is handed over by who builds a process (`worker.py`, `controlling.py`, `supervisor.py`).
"""

import time
from collections.abc import Callable

Clock = Callable[[], float]


def utc_now() -> float:
    """Seconds since 1970-01-01T00:00Z."""
    return time.time()  # noqa: TID251  the one place where the wall clock is read
