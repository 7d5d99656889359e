"""Pure. Weighted deficit round robin in tokens: whose job is next, for each model.

One ring per model; a round visits every waiting flow once. A visit adds weight × quantum to the flow's deficit, and the
flow sends while its deficit covers its head's cost. Rounds are computed, not walked (`ring.py`), so neither a small
quantum nor a huge job costs empty rounds.

Carried over while a flow has nothing waiting: at most `burst_cap_tokens` of unused allowance (credit), and at most as
much debt. Immediate grants are charged only if they are still in flight when the flow has to join the queue.
Integers throughout, so the bound in docs/scheduler.md is exact. Not thread-safe, never blocks, knows no backends.
Read next: `ring.py`, then `bound.py` for the guarantee, `grant.py` for the shell.
"""

from collections import deque

from mrproxy.scheduler.job import Flow, Job
from mrproxy.scheduler.ring import QueueStatistics, Ring

_MIN_DEAD_JOBS = 32  # below it, cleaning up costs more than it saves


class Wdrr:
    """The discipline. `submit` → `next_job` → `settle`, or `cancel`; `grant_immediate` → `settle` when nobody waits."""

    __slots__ = ("_burst_cap_tokens", "_quantum_tokens", "_rings", "_waiting_of_flow", "waiting_total")

    def __init__(self, quantum_tokens: int, burst_cap_tokens: int) -> None:
        if quantum_tokens < 1 or burst_cap_tokens < 0:
            raise ValueError("quantum_tokens must be at least 1 and burst_cap_tokens at least 0")
        self._quantum_tokens = quantum_tokens
        self._burst_cap_tokens = burst_cap_tokens
        self._rings: dict[str, Ring] = {}
        self._waiting_of_flow: dict[str, int] = {}
        self.waiting_total = 0

    def waiting(self, model: str) -> int:
        ring = self._rings.get(model)
        return 0 if ring is None else ring.waiting

    def waiting_of_flow(self, flow_id: str) -> int:
        """Jobs of this caller, over all models."""
        return self._waiting_of_flow.get(flow_id, 0)

    def submit(self, job: Job) -> None:
        ring = self._rings.get(job.model) or self._open_ring(job.model)
        job.flow = flow = ring.flow_of(job)
        job.is_waiting = True
        flow.queue.append(job)
        flow.waiting += 1
        ring.waiting += 1
        self.waiting_total += 1
        self._waiting_of_flow[job.flow_id] = self._waiting_of_flow.get(job.flow_id, 0) + 1
        if flow.waiting == 1:
            ring.join(flow, job.weight)
        elif job.weight != flow.weight:
            ring.change_weight(flow, job.weight)

    def next_job(self, model: str) -> Job | None:
        """The job whose turn it is, charged by its estimate; None when nobody waits for this model."""
        ring = self._rings.get(model)
        if ring is None or not ring.waiting:
            return None
        flow = ring.visit_next()
        job = flow.queue.popleft()
        job.is_waiting = False
        job.uncharged_epoch = -1
        flow.deficit -= job.cost_tokens
        flow.in_flight += 1
        self._uncount(ring, flow)
        if flow.waiting:
            _drop_dead_heads(flow)
            ring.after_grant(flow)
        else:
            ring.leave(flow)
        return job

    def cancel(self, job: Job) -> bool:
        """Take a waiting job out; False if it does not wait (any more). Constant time, amortised."""
        flow = job.flow
        if flow is None or not job.is_waiting:
            return False
        ring = self._rings[job.model]
        job.is_waiting = False
        flow.dead += 1
        self._uncount(ring, flow)
        if not flow.waiting:
            ring.leave(flow)
        elif flow.queue[0] is job:
            _drop_dead_heads(flow)
            ring.rekey(flow)
        elif flow.dead > _MIN_DEAD_JOBS and flow.dead > flow.waiting:
            flow.queue = deque(queued for queued in flow.queue if queued.is_waiting)
            flow.dead = 0
        return True

    def grant_immediate(self, job: Job) -> None:
        """Account for a grant given while nobody waited for the model."""
        ring = self._rings.get(job.model) or self._open_ring(job.model)
        job.flow = flow = ring.flow_of(job)
        job.uncharged_epoch = flow.epoch
        flow.uncharged_tokens += job.cost_tokens
        flow.in_flight += 1

    def settle(self, job: Job, true_cost_tokens: int | None) -> None:
        """The granted job has ended; once per grant. None: the truth is not known, the estimate stands."""
        flow = job.flow
        if flow is None:
            raise ValueError("the job was never granted")
        flow.in_flight -= 1
        if job.uncharged_epoch >= 0:
            if job.uncharged_epoch == flow.epoch:
                flow.uncharged_tokens -= job.cost_tokens
        elif true_cost_tokens is not None and true_cost_tokens != job.cost_tokens:
            flow.deficit += job.cost_tokens - true_cost_tokens
            if flow.waiting:
                self._rings[job.model].rekey(flow)

    def statistics(self) -> tuple[QueueStatistics, ...]:
        """A frozen snapshot: the models somebody waits for, and who."""
        return tuple(ring.statistics(model) for model, ring in self._rings.items() if ring.waiting)

    def _open_ring(self, model: str) -> Ring:
        ring = self._rings[model] = Ring(self._quantum_tokens, self._burst_cap_tokens)
        return ring

    def _uncount(self, ring: Ring, flow: Flow) -> None:
        flow.waiting -= 1
        ring.waiting -= 1
        self.waiting_total -= 1
        left = self._waiting_of_flow[flow.flow_id] - 1
        if left:
            self._waiting_of_flow[flow.flow_id] = left
        else:
            del self._waiting_of_flow[flow.flow_id]


def _drop_dead_heads(flow: Flow) -> None:
    queue = flow.queue
    while not queue[0].is_waiting:
        queue.popleft()
        flow.dead -= 1
