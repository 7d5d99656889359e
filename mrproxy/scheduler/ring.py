"""Pure. One model's ring: the flows that wait, in what order their visits come, and the accounts of those that left.

`ready_round` is the round whose visit will make a flow's deficit cover its head. A heap ordered by (ready_round,
position) yields what walking the ring would; an entry is valid while its stamp is the flow's. Deficits are brought up
to date only when they are needed (`credit`).
Read next: `wdrr.py`, which owns the rings.
"""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

from mrproxy.scheduler.job import Flow, Job

# below these, cleaning up costs more than it saves
_MIN_STALE_ENTRIES = 64
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


class Ring:
    """The waiting flows of one model, and the accounts of those which were here before."""

    __slots__ = (
        "_burst_cap_tokens",
        "_heap",
        "_joined",
        "_position",
        "_quantum_tokens",
        "_round",
        "_sweep_at",
        "backlogged",
        "flows",
        "waiting",
    )

    def __init__(self, quantum_tokens: int, burst_cap_tokens: int) -> None:
        self._quantum_tokens = quantum_tokens
        self._burst_cap_tokens = burst_cap_tokens
        self._heap: list[tuple[int, int, int, Flow]] = []  # ready_round, position, stamp, flow
        self._round = 0
        self._position = 0  # how far the pointer has come in this round
        self._joined = 0  # joins so far: they number the positions
        self._sweep_at = _MIN_FLOWS_TO_SWEEP
        self.flows: dict[str, Flow] = {}
        self.waiting = 0  # jobs
        self.backlogged = 0  # flows

    def visit_next(self) -> Flow:
        """Move the pointer to the flow whose turn it is; its valid entry is then the heap's top."""
        heap = self._heap
        while True:
            ready_round, position, stamp, flow = heap[0]
            if stamp == flow.stamp:
                break
            heappop(heap)
        if ready_round > self._round:
            self._round = ready_round
            self._position = position
        elif ready_round == self._round and position > self._position:
            self._position = position
        self.credit(flow)
        return flow

    def after_grant(self, flow: Flow) -> None:
        """The flow that was just visited has sent its head and has more: in this visit, or a later one."""
        ready_round = _ready_round(flow)
        if ready_round != flow.ready_round:
            flow.ready_round = ready_round
            flow.stamp += 1
            heapreplace(self._heap, (ready_round, flow.position, flow.stamp, flow))

    def credit(self, flow: Flow) -> None:
        """Add the allowance of every visit up to where the pointer is now."""
        visited_round = self._round if flow.position <= self._position else self._round - 1
        if visited_round > flow.visited_round:
            flow.deficit += flow.allowance * (visited_round - flow.visited_round)
            flow.visited_round = visited_round

    def join(self, flow: Flow, weight: int) -> None:
        """Enter the ring with what is carried over: this round's last, or its first if it has had its visit already.

        So the visited always stand before the pointer and the others behind it, and no two flows that wait can ever
        be more than one visit apart: the bound rests on it.
        """
        flow.deficit = self._carried_over(flow)
        flow.epoch += 1
        flow.uncharged_tokens = 0
        self._reweigh(flow, weight)
        self._joined += 1
        self.backlogged += 1
        if flow.visited_round < self._round:
            flow.visited_round = self._round - 1
            flow.position = self._joined
        else:
            flow.position = -self._joined
        self._push(flow, _ready_round(flow))

    def leave(self, flow: Flow) -> None:
        self.credit(flow)
        flow.queue.clear()
        flow.dead = 0
        flow.stamp += 1
        self.backlogged -= 1

    def change_weight(self, flow: Flow, weight: int) -> None:
        """Of a flow that waits; the visits it has had count at the old one."""
        self.credit(flow)
        self._reweigh(flow, weight)
        self.rekey(flow)

    def rekey(self, flow: Flow) -> None:
        """The deficit, the weight or the head has changed: so may the round it is ready in."""
        self.credit(flow)
        ready_round = _ready_round(flow)
        if ready_round != flow.ready_round:
            self._push(flow, ready_round)

    def flow_of(self, job: Job) -> Flow:
        flow = self.flows.get(job.flow_id)
        if flow is None:
            if len(self.flows) >= self._sweep_at:
                self._sweep()
            flow = Flow(job.flow_id, job.weight, self._quantum_tokens, self._round - 1)
            self.flows[job.flow_id] = flow
        return flow

    def statistics(self, model: str) -> QueueStatistics:
        """Flows in ring order."""
        flows = sorted((flow for flow in self.flows.values() if flow.waiting), key=lambda flow: flow.position)
        return QueueStatistics(model, self.waiting, tuple(self._statistics_of(flow) for flow in flows))

    def _statistics_of(self, flow: Flow) -> FlowStatistics:
        self.credit(flow)
        return FlowStatistics(flow.flow_id, flow.weight, flow.waiting, flow.in_flight, flow.deficit)

    def _carried_over(self, flow: Flow) -> int:
        missed_rounds = max(0, self._round - 1 - flow.visited_round)
        cap = self._burst_cap_tokens
        return max(-cap, min(cap, flow.deficit + flow.allowance * missed_rounds) - flow.uncharged_tokens)

    def _reweigh(self, flow: Flow, weight: int) -> None:
        flow.weight = weight
        flow.allowance = weight * self._quantum_tokens

    def _push(self, flow: Flow, ready_round: int) -> None:
        flow.ready_round = ready_round
        flow.stamp += 1
        if len(self._heap) > 2 * self.backlogged + _MIN_STALE_ENTRIES:
            self._heap = [entry for entry in self._heap if entry[2] == entry[3].stamp]
            heapify(self._heap)
        heappush(self._heap, (ready_round, flow.position, flow.stamp, flow))

    def _sweep(self) -> None:
        """Forget idle accounts that owe nothing (what they had banked is lost). Amortised: the threshold doubles."""
        self.flows = {
            flow_id: flow
            for flow_id, flow in self.flows.items()
            if flow.waiting or flow.in_flight or self._carried_over(flow) < 0
        }
        self._sweep_at = max(_MIN_FLOWS_TO_SWEEP, 2 * len(self.flows))


def _ready_round(flow: Flow) -> int:
    """The round whose visit makes the deficit cover the head; the last visited one if it does already."""
    missing_tokens = flow.queue[0].cost_tokens - flow.deficit
    if missing_tokens <= 0:
        return flow.visited_round
    return flow.visited_round - (-missing_tokens // flow.allowance)
