"""Pure. The oracle: deficit round robin as in the paper, one visit after the other, with exact deficits.

It follows the rules of docs/scheduler.md literally and shares no code with `wdrr.py`: a pointer really moves, an
allowance is really added at each visit, in every round, however empty.
"""

from dataclasses import dataclass, field

from mrproxy.scheduler.job import Job


@dataclass(eq=False)
class WalkedFlow:
    flow_id: str
    weight: int
    deficit: int = 0
    jobs: list[Job] = field(default_factory=list)
    place: int = 0
    visited_round: int = 0  # the last round in which the pointer reached it, or would have


class WalkedRing:
    def __init__(self, quantum_tokens: int, cap_tokens: int) -> None:
        self.quantum_tokens = quantum_tokens
        self.cap_tokens = cap_tokens
        self.known: dict[str, WalkedFlow] = {}
        self.round = 0
        self.pointer = 0
        self.places = 0

    def submit(self, job: Job) -> None:
        flow = self.known.get(job.flow_id)
        if flow is None:
            flow = self.known[job.flow_id] = WalkedFlow(job.flow_id, job.weight, visited_round=self.round - 1)
        if not flow.jobs:
            flow.deficit = max(-self.cap_tokens, min(self.cap_tokens, flow.deficit))
            self.places += 1
            flow.place = self.places if flow.visited_round < self.round else -self.places
        flow.jobs.append(job)

    def cancel(self, job: Job) -> None:
        self.known[job.flow_id].jobs.remove(job)

    def settle(self, job: Job, true_cost: int) -> None:
        self.known[job.flow_id].deficit += job.cost_tokens - true_cost

    def next_job(self) -> Job | None:
        if not any(flow.jobs for flow in self.known.values()):
            return None
        while True:
            ready = [flow for flow in self.waiting() if flow.deficit >= flow.jobs[0].cost_tokens]
            if ready:
                flow = min(ready, key=lambda flow: (flow.visited_round, flow.place))
                flow.deficit -= flow.jobs[0].cost_tokens
                return flow.jobs.pop(0)
            self.move_on()

    def waiting(self) -> list[WalkedFlow]:
        return sorted((flow for flow in self.known.values() if flow.jobs), key=lambda flow: flow.place)

    def move_on(self) -> None:
        """To the next waiting flow of this round, or to the first of the next; idle flows bank what they miss."""
        for flow in self.waiting():
            if flow.place > self.pointer and flow.visited_round < self.round:
                self.pointer = flow.place
                self.visit(flow)
                return
        for flow in self.known.values():
            if not flow.jobs and flow.visited_round < self.round:
                self.visit(flow)
        self.round += 1
        self.pointer = -self.places - 1

    def visit(self, flow: WalkedFlow) -> None:
        flow.visited_round = self.round
        flow.deficit += flow.weight * self.quantum_tokens

    def drain(self) -> list[Job]:
        jobs = []
        while (job := self.next_job()) is not None:
            jobs.append(job)
        return jobs
