"""Shell. Who goes first where processes share a core: a worker has short turns and gets them soon, control gives way.

A woken worker has a token to pass on, and control may be in the middle of an export. Linux lets the running process
finish its turn (some milliseconds) unless the other one has asked for shorter turns: `sched_setattr` with a slice
(kernel 6.12 or newer; sched(7), "EEVDF"). Older kernels ignore or refuse it, which changes nothing.
Measured with everything on one core (`bench compare --busy`): docs/benchmarks.md.
"""

import ctypes
import os
import platform

# The shortest that the kernel takes (kernel/sched/syscalls.c).
WORKER_SLICE_SECONDS = 0.0001

_SYS_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_NANOSECONDS = 1_000_000_000


class _Attributes(ctypes.Structure):
    """`struct sched_attr`, sched_setattr(2)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("sched_policy", ctypes.c_uint32),
        ("sched_flags", ctypes.c_uint64),
        ("sched_nice", ctypes.c_int32),
        ("sched_priority", ctypes.c_uint32),
        ("sched_runtime", ctypes.c_uint64),
        ("sched_deadline", ctypes.c_uint64),
        ("sched_period", ctypes.c_uint64),
    )


def ask_for_short_turns(seconds: float = WORKER_SLICE_SECONDS) -> bool:
    """For this thread; whether the kernel agreed."""
    number = _SYS_SCHED_SETATTR.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    wanted = _Attributes(
        size=ctypes.sizeof(_Attributes),
        sched_policy=os.SCHED_OTHER,
        sched_nice=os.getpriority(os.PRIO_PROCESS, 0),
        sched_runtime=int(seconds * _NANOSECONDS),
    )
    return bool(ctypes.CDLL(None, use_errno=True).syscall(number, 0, ctypes.byref(wanted), 0) == 0)


def give_way(nice: int) -> None:
    """This process goes behind the others, by so much."""
    os.nice(nice)
