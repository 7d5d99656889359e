"""Shell. What the scheduler costs by itself, in microseconds: `python -m bench.microscheduler`.

No sockets, one process, best of several rounds (anything slower was somebody else's work). The bars: an uncontended
grant and its release at most 10 µs; submit + dispatch at most 20 µs with 10,000 waiting jobs of 1,000 callers.
Read next: `mrproxy/scheduler/wdrr.py`, docs/scheduler.md.
"""

import sys
import time
from collections.abc import Callable, Iterator

import trio

from mrproxy.scheduler.cost import CostModel
from mrproxy.scheduler.fifo import Fifo
from mrproxy.scheduler.grant import Discipline, Scheduler
from mrproxy.scheduler.job import Job
from mrproxy.scheduler.placement import placement_policy
from mrproxy.scheduler.wdrr import Wdrr

ROUNDS = 7
CALLERS = 1_000
WAITING = 10_000


class CountingBackend:
    """A backend that only counts its slots."""

    __slots__ = (
        "cpu_percent",
        "failure_ewma",
        "gpu_utilisation",
        "in_flight",
        "max_concurrent",
        "memory_percent",
        "name",
        "resident",
        "ttft_seconds",
    )

    def __init__(self, name: str, max_concurrent: int) -> None:
        self.name = name
        self.max_concurrent = max_concurrent
        self.in_flight = 0
        self.ttft_seconds = 0.2
        self.failure_ewma = 0.0
        self.resident = frozenset({"m"})
        self.gpu_utilisation: float | None = None
        self.cpu_percent: float | None = None
        self.memory_percent: float | None = None

    def take(self) -> None:
        self.in_flight += 1

    def release(self) -> None:
        self.in_flight -= 1


class Registry:
    def __init__(self, count: int, max_concurrent: int) -> None:
        self.backends = [CountingBackend(f"b{number}", max_concurrent) for number in range(count)]

    def candidates(self, _model: str) -> list[CountingBackend]:
        return self.backends


class Limits:
    queue_max_jobs = 100_000
    queue_max_jobs_per_flow = 100_000
    queue_deadline_seconds = 3600.0


def scheduler_over(registry: Registry, discipline: Discipline, policy: str) -> Scheduler[CountingBackend]:
    return Scheduler(discipline, placement_policy(policy), registry, Limits())


def best_microseconds(work: Callable[[], int]) -> float:
    """`work` returns how many operations it did."""
    return min(_microseconds(work) for _ in range(ROUNDS))


def _microseconds(work: Callable[[], int]) -> float:
    began = time.perf_counter()
    operations = work()
    return (time.perf_counter() - began) / operations * 1e6


def uncontended(backends: int, policy: str = "least_load", operations: int = 20_000) -> Callable[[], int]:
    scheduler = scheduler_over(Registry(backends, 64), Wdrr(1000, 20_000), policy)

    def work() -> int:
        for number in range(operations):
            grant = scheduler.try_grant(Job("caller", 1, "m", 300, 0.0), number + 1)
            if grant is None:
                raise AssertionError("a slot was free")
            with grant:
                grant.release(280)
        return operations

    return work


def queued(discipline: Discipline, largest_cost: int, operations: int = 10_000) -> Callable[[], int]:
    """Submit one, dispatch one, settle it, with 10,000 waiting throughout."""
    jobs = _jobs(largest_cost)
    for _ in range(WAITING):
        discipline.submit(next(jobs))

    def work() -> int:
        for _ in range(operations):
            discipline.submit(next(jobs))
            job = discipline.next_job("m")
            if job is None:
                raise AssertionError("somebody waits")
            discipline.settle(job, job.cost_tokens * 7 // 8)
        return operations

    return work


def cancelled(discipline: Discipline, operations: int = 10_000) -> Callable[[], int]:
    """Submit one, cancel it, with 10,000 waiting throughout."""
    jobs = _jobs(1000)
    for _ in range(WAITING):
        discipline.submit(next(jobs))

    def work() -> int:
        for _ in range(operations):
            job = next(jobs)
            discipline.submit(job)
            discipline.cancel(job)
        return operations

    return work


def _jobs(largest_cost: int) -> Iterator[Job]:
    """Callers, weights and costs in a fixed pseudo-random order (a linear congruence)."""
    state = 1
    while True:
        state = (state * 1103515245 + 12345) % 2**31
        caller = (state >> 8) % CALLERS
        yield Job(f"caller{caller}", 1 + caller % 10, "m", 1 + (state >> 4) % largest_cost, 0.0)


def estimated(operations: int = 50_000) -> Callable[[], int]:
    costs = CostModel()

    def work() -> int:
        for _ in range(operations):
            costs.estimate("m", 1100, 512)
        return operations

    return work


def learnt(operations: int = 50_000) -> Callable[[], int]:
    costs = CostModel()

    def work() -> int:
        for _ in range(operations):
            costs.learn("m", 1100, 280, 190)
        return operations

    return work


async def handed_over(waiters: int = 2_000) -> float:
    """Wait, hand-over, wake-up and release of one job, its task included: one slot, 2,000 tasks in a row."""
    scheduler = scheduler_over(Registry(1, 1), Wdrr(1000, 20_000), "least_load")
    first = scheduler.try_grant(Job("first", 1, "m", 1, 0.0))

    async def wait(number: int) -> None:
        with await scheduler.wait_grant(Job(f"caller{number % CALLERS}", 1, "m", 300, 0.0)):
            pass

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(waiters):
            nursery.start_soon(wait, number)
        await trio.lowlevel.checkpoint()  # all of them wait now
        if first is not None:
            first.release()
    return (time.perf_counter() - began) / waiters * 1e6


def main() -> None:
    rows: list[tuple[str, float]] = [
        ("try_grant + release, 1 backend", best_microseconds(uncontended(1))),
        ("try_grant + release, 8 backends, least_load", best_microseconds(uncontended(8))),
        ("try_grant + release, 8 backends, affinity", best_microseconds(uncontended(8, "affinity"))),
        ("estimate a cost", best_microseconds(estimated())),
        ("learn from usage", best_microseconds(learnt())),
        ("submit + dispatch + settle, 10,000 of 1,000 callers", best_microseconds(queued(Wdrr(1000, 20_000), 1000))),
        ("  the same, jobs up to 1,000 x the quantum", best_microseconds(queued(Wdrr(1, 20_000), 1000))),
        ("  the same, fifo", best_microseconds(queued(Fifo(), 1000))),
        ("submit + cancel, 10,000 waiting", best_microseconds(cancelled(Wdrr(1000, 20_000)))),
        ("a task that waits and is handed a slot", min(trio.run(handed_over) for _ in range(ROUNDS))),
    ]
    for name, microseconds in rows:
        sys.stdout.write(f"{name:<56}{microseconds:8.2f} µs\n")


if __name__ == "__main__":
    main()
