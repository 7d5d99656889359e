"""Pure. First come, first served, with the interface of `wdrr.py`: what fairness is compared against.

It charges nothing and remembers nothing about callers: `--scheduler fifo`.
Read next: `wdrr.py`.
"""

from collections import Counter, deque

from mrproxy.scheduler.job import Job
from mrproxy.scheduler.ring import FlowStatistics, QueueStatistics

_MIN_DEAD_JOBS = 32


class Fifo:
    """One queue per model, in order of arrival."""

    __slots__ = ("_dead", "_queues", "_waiting", "_waiting_of_flow", "waiting_total")

    def __init__(self) -> None:
        self._queues: dict[str, deque[Job]] = {}
        self._waiting: dict[str, int] = {}
        self._dead: dict[str, int] = {}
        self._waiting_of_flow: dict[str, int] = {}
        self.waiting_total = 0

    def waiting(self, model: str) -> int:
        return self._waiting.get(model, 0)

    def waiting_of_flow(self, flow_id: str) -> int:
        return self._waiting_of_flow.get(flow_id, 0)

    def submit(self, job: Job) -> None:
        job.is_waiting = True
        self._queues.setdefault(job.model, deque()).append(job)
        self._count(job, 1)

    def next_job(self, model: str) -> Job | None:
        if not self._waiting.get(model):
            return None
        queue = self._queues[model]
        job = queue.popleft()
        while not job.is_waiting:
            self._dead[model] -= 1
            job = queue.popleft()
        job.is_waiting = False
        self._count(job, -1)
        return job

    def cancel(self, job: Job) -> bool:
        """Take a waiting job out; False if it does not wait (any more). Constant time, amortised."""
        if not job.is_waiting:
            return False
        job.is_waiting = False
        self._count(job, -1)
        dead = self._dead[job.model] = self._dead.get(job.model, 0) + 1
        if dead > _MIN_DEAD_JOBS and dead > self._waiting[job.model]:
            self._queues[job.model] = deque(queued for queued in self._queues[job.model] if queued.is_waiting)
            self._dead[job.model] = 0
        return True

    def grant_immediate(self, job: Job) -> None:
        """Nothing is charged here."""

    def settle(self, job: Job, true_cost_tokens: int | None) -> None:
        """Nothing was charged."""

    def statistics(self) -> tuple[QueueStatistics, ...]:
        """A frozen snapshot; flows in the order of their first waiting job, their weights for the reader only."""
        return tuple(_statistics(model, self._queues[model]) for model, waiting in self._waiting.items() if waiting)

    def _count(self, job: Job, change: int) -> None:
        self.waiting_total += change
        self._waiting[job.model] = self._waiting.get(job.model, 0) + change
        of_flow = self._waiting_of_flow.get(job.flow_id, 0) + change
        if of_flow:
            self._waiting_of_flow[job.flow_id] = of_flow
        else:
            del self._waiting_of_flow[job.flow_id]


def _statistics(model: str, queue: deque[Job]) -> QueueStatistics:
    jobs = [job for job in queue if job.is_waiting]
    weights = {job.flow_id: job.weight for job in jobs}
    flows = (
        FlowStatistics(flow_id, weights[flow_id], n, 0, 0) for flow_id, n in Counter(j.flow_id for j in jobs).items()
    )
    return QueueStatistics(model, len(jobs), tuple(flows))
