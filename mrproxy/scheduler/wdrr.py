"""Pure. Weighted deficit round robin in tokens: whose job is next, for each model.

One ring per model; a round visits every waiting flow once, in the order they joined. A visit adds weight × quantum
to the flow's deficit, and the flow sends while its deficit covers its head's cost.

Rounds are computed, not walked: `ready_round` is the round whose visit will cover the head, and a heap ordered by
(ready_round, position) yields what a walk would. So neither a small quantum nor a huge job costs empty rounds, and
deficits are brought up to date only when they are needed (`_credit`).

Carried over while a flow has nothing waiting: at most `burst_cap_tokens` of unused allowance (credit), and at most as
much debt. Immediate grants are charged only if they are still in flight when the flow has to join the queue.
Integers throughout, so the bound in docs/scheduler.md is exact. Not thread-safe, never blocks, knows no backends.
Read next: `bound.py` for the guarantee, `grant.py` for the shell.
"""

from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

from mrproxy.scheduler.job import Flow, Job

# below these, cleaning up costs more than it saves
_MIN_STALE_ENTRIES = 64
_MIN_DEAD_JOBS = 32
_MIN_FLOWS_TO_SWEEP = 1024


@dataclass(frozen=True, slots=True)
class FlowStatistics:
    flow_id: str
    weight: int
    waiting: int
    in_flight: int
    deficit_tokens: int


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """The queue of one model: jobs waiting, and the flows they belong to."""

    model: str
    waiting: int
    flows: tuple[FlowStatistics, ...]


class _Ring:
    """The waiting flows of one model, and the accounts of those which were here before."""

    __slots__ = ("backlogged", "flows", "heap", "joined", "position", "round", "sweep_at", "waiting")

    def __init__(self) -> None:
        self.flows: dict[str, Flow] = {}
        self.heap: list[tuple[int, int, int, Flow]] = []  # ready_round, position, stamp, flow
        self.round = 0
        self.position = 0  # how far the pointer has come in this round
        self.joined = 0  # joins so far: they number the positions
        self.waiting = 0  # jobs
        self.backlogged = 0  # flows
        self.sweep_at = _MIN_FLOWS_TO_SWEEP


class Wdrr:
    """The discipline. `submit` → `next_job` → `settle`, or `cancel`; `grant_immediate` → `settle` when nobody waits."""

    __slots__ = ("_burst_cap_tokens", "_quantum_tokens", "_rings", "_waiting_of_flow", "waiting_total")

    def __init__(self, quantum_tokens: int, burst_cap_tokens: int) -> None:
        if quantum_tokens < 1 or burst_cap_tokens < 0:
            raise ValueError("quantum_tokens must be at least 1 and burst_cap_tokens at least 0")
        self._quantum_tokens = quantum_tokens
        self._burst_cap_tokens = burst_cap_tokens
        self._rings: dict[str, _Ring] = {}
        self._waiting_of_flow: dict[str, int] = {}
        self.waiting_total = 0

    def waiting(self, model: str) -> int:
        ring = self._rings.get(model)
        return 0 if ring is None else ring.waiting

    def waiting_of_flow(self, flow_id: str) -> int:
        """Jobs of this caller, over all models."""
        return self._waiting_of_flow.get(flow_id, 0)

    def submit(self, job: Job) -> None:
        ring = self._rings.get(job.model)
        if ring is None:
            ring = self._rings[job.model] = _Ring()
        flow = ring.flows.get(job.flow_id) or self._open_flow(ring, job)
        job.flow = flow
        job.is_waiting = True
        flow.queue.append(job)
        flow.waiting += 1
        ring.waiting += 1
        self.waiting_total += 1
        self._waiting_of_flow[job.flow_id] = self._waiting_of_flow.get(job.flow_id, 0) + 1
        if flow.waiting == 1:
            self._join(ring, flow, job.weight)
        elif job.weight != flow.weight:
            self._credit(ring, flow)  # at the old weight
            self._reweigh(flow, job.weight)
            self._rekey(ring, flow)

    def next_job(self, model: str) -> Job | None:
        """The job whose turn it is, charged by its estimate; None when nobody waits for this model."""
        ring = self._rings.get(model)
        if ring is None or not ring.waiting:
            return None
        flow = self._visit_next(ring)
        job = flow.queue.popleft()
        job.is_waiting = False
        job.uncharged_epoch = -1
        flow.deficit -= job.cost_tokens
        flow.in_flight += 1
        self._uncount(ring, flow)
        if not flow.waiting:
            self._leave(ring, flow)
            return job
        self._drop_dead_heads(flow)
        ready_round = _ready_round(flow)
        if ready_round != flow.ready_round:
            flow.ready_round = ready_round
            flow.stamp += 1
            heapreplace(ring.heap, (ready_round, flow.position, flow.stamp, flow))
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
            self._leave(ring, flow)
        elif flow.queue[0] is job:
            self._drop_dead_heads(flow)
            self._rekey(ring, flow)
        elif flow.dead > _MIN_DEAD_JOBS and flow.dead > flow.waiting:
            flow.queue = deque(queued for queued in flow.queue if queued.is_waiting)
            flow.dead = 0
        return True

    def grant_immediate(self, job: Job) -> None:
        """Account for a grant given while nobody waited for the model."""
        ring = self._rings.get(job.model)
        if ring is None:
            ring = self._rings[job.model] = _Ring()
        flow = ring.flows.get(job.flow_id) or self._open_flow(ring, job)
        job.flow = flow
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
                self._rekey(self._rings[job.model], flow)

    def statistics(self) -> tuple[QueueStatistics, ...]:
        """A frozen snapshot: the models somebody waits for, and who."""
        return tuple(
            QueueStatistics(model, ring.waiting, tuple(self._flow_statistics(ring, f) for f in _in_ring_order(ring)))
            for model, ring in self._rings.items()
            if ring.waiting
        )

    def _flow_statistics(self, ring: _Ring, flow: Flow) -> FlowStatistics:
        self._credit(ring, flow)
        return FlowStatistics(flow.flow_id, flow.weight, flow.waiting, flow.in_flight, flow.deficit)

    def _visit_next(self, ring: _Ring) -> Flow:
        """Move the pointer to the flow whose turn it is; its valid entry is then the heap's top."""
        heap = ring.heap
        while True:
            ready_round, position, stamp, flow = heap[0]
            if stamp == flow.stamp:
                break
            heappop(heap)
        if ready_round > ring.round:
            ring.round = ready_round
            ring.position = position
        elif ready_round == ring.round and position > ring.position:
            ring.position = position
        self._credit(ring, flow)
        return flow

    def _credit(self, ring: _Ring, flow: Flow) -> None:
        """Add the allowance of every visit up to where the pointer is now."""
        visited_round = ring.round if flow.position <= ring.position else ring.round - 1
        if visited_round > flow.visited_round:
            flow.deficit += flow.allowance * (visited_round - flow.visited_round)
            flow.visited_round = visited_round

    def _join(self, ring: _Ring, flow: Flow, weight: int) -> None:
        """Enter the ring with what is carried over: this round's last, or its first if it has had its visit already.

        So the visited always stand before the pointer and the others behind it, and no two flows that wait can ever
        be more than one visit apart: the bound rests on it.
        """
        flow.deficit = self._carried_over(ring, flow)
        flow.epoch += 1
        flow.uncharged_tokens = 0
        self._reweigh(flow, weight)
        ring.joined += 1
        ring.backlogged += 1
        if flow.visited_round < ring.round:
            flow.visited_round = ring.round - 1
            flow.position = ring.joined
        else:
            flow.position = -ring.joined
        self._push(ring, flow, _ready_round(flow))

    def _carried_over(self, ring: _Ring, flow: Flow) -> int:
        missed_rounds = max(0, ring.round - 1 - flow.visited_round)
        cap = self._burst_cap_tokens
        return max(-cap, min(cap, flow.deficit + flow.allowance * missed_rounds) - flow.uncharged_tokens)

    def _leave(self, ring: _Ring, flow: Flow) -> None:
        self._credit(ring, flow)
        flow.queue.clear()
        flow.dead = 0
        flow.stamp += 1
        ring.backlogged -= 1

    def _rekey(self, ring: _Ring, flow: Flow) -> None:
        """The deficit, the weight or the head has changed: so may the round it is ready in."""
        self._credit(ring, flow)
        ready_round = _ready_round(flow)
        if ready_round != flow.ready_round:
            self._push(ring, flow, ready_round)

    def _push(self, ring: _Ring, flow: Flow, ready_round: int) -> None:
        flow.ready_round = ready_round
        flow.stamp += 1
        if len(ring.heap) > 2 * ring.backlogged + _MIN_STALE_ENTRIES:
            ring.heap = [entry for entry in ring.heap if entry[2] == entry[3].stamp]
            heapify(ring.heap)
        heappush(ring.heap, (ready_round, flow.position, flow.stamp, flow))

    def _uncount(self, ring: _Ring, flow: Flow) -> None:
        flow.waiting -= 1
        ring.waiting -= 1
        self.waiting_total -= 1
        left = self._waiting_of_flow[flow.flow_id] - 1
        if left:
            self._waiting_of_flow[flow.flow_id] = left
        else:
            del self._waiting_of_flow[flow.flow_id]

    def _drop_dead_heads(self, flow: Flow) -> None:
        queue = flow.queue
        while not queue[0].is_waiting:
            queue.popleft()
            flow.dead -= 1

    def _reweigh(self, flow: Flow, weight: int) -> None:
        flow.weight = weight
        flow.allowance = weight * self._quantum_tokens

    def _open_flow(self, ring: _Ring, job: Job) -> Flow:
        if len(ring.flows) >= ring.sweep_at:
            self._sweep(ring)
        flow = ring.flows[job.flow_id] = Flow(job.flow_id, job.weight, self._quantum_tokens, ring.round - 1)
        return flow

    def _sweep(self, ring: _Ring) -> None:
        """Forget idle accounts that owe nothing (what they had banked is lost). Amortised: the threshold doubles."""
        ring.flows = {
            flow_id: flow
            for flow_id, flow in ring.flows.items()
            if flow.waiting or flow.in_flight or self._carried_over(ring, flow) < 0
        }
        ring.sweep_at = max(_MIN_FLOWS_TO_SWEEP, 2 * len(ring.flows))


def _ready_round(flow: Flow) -> int:
    """The round whose visit makes the deficit cover the head; the last visited one if it does already."""
    missing_tokens = flow.queue[0].cost_tokens - flow.deficit
    if missing_tokens <= 0:
        return flow.visited_round
    return flow.visited_round - (-missing_tokens // flow.allowance)


def _in_ring_order(ring: _Ring) -> list[Flow]:
    return sorted((flow for flow in ring.flows.values() if flow.waiting), key=lambda flow: flow.position)
