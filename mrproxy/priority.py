"""Shell. Who goes first where processes share a core: control gives way, and a worker may have real-time priority.

A woken worker has a token to pass on, and control may be in the middle of an export. `nice` settles how much of the
core each gets, not who goes first: Linux mostly lets a process finish its turn, some milliseconds, whatever its nice
value and even under SCHED_IDLE (seen on kernel 6.18, by the scheduler's tracepoints). SCHED_RR goes first at once,
sched(7). Shorter turns for the worker (`sched_setattr`) were tried: no help, and 1.5 µs more per token.
"""

import os

# The lowest there is: before all that is not real-time, behind all that is.
_PRIORITY = 1


def go_first() -> bool:
    """This thread, and those it starts, before all others that are not real-time; whether the system allows it."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
    except PermissionError:
        return False
    return True


def give_way(nice: int) -> None:
    """This process goes behind the others, by so much."""
    os.nice(nice)
