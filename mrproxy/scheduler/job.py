"""Pure. What waits (`Job`) and on whose account it waits (`Flow`): the two records the disciplines work on.

Plain slotted classes, not dataclasses: a `Job` is made for every request, also for those that never wait.
A flow here is one caller *in one model's ring*: its deficit is never shared between rings (docs/scheduler.md says why).
Read next: `wdrr.py`, which moves them; `grant.py`, which turns a chosen job into a slot.
"""

from collections import deque
from collections.abc import Set as AbstractSet


class Job:
    """One request that wants one slot of a backend serving `model`.

    `excluded` names backends that already failed it. The rest is private to the scheduler.
    """

    __slots__ = (
        "cost_tokens",
        "excluded",
        "flow",
        "flow_id",
        "is_waiting",
        "model",
        "submitted_at",
        "uncharged_epoch",
        "weight",
    )

    def __init__(
        self,
        flow_id: str,
        weight: int,
        model: str,
        cost_tokens: int,
        submitted_at: float,
        excluded: AbstractSet[str] | None = None,
    ) -> None:
        self.flow_id = flow_id
        self.weight = weight
        self.model = model
        self.cost_tokens = cost_tokens
        self.submitted_at = submitted_at
        self.excluded = excluded
        self.is_waiting = False
        self.flow: Flow | None = None
        # the flow's epoch in which it was granted without being charged; -1: it was charged
        self.uncharged_epoch = -1


class Flow:
    """One caller's place and account in one model's ring; `wdrr.py` explains the fields."""

    __slots__ = (
        "allowance",
        "dead",
        "deficit",
        "epoch",
        "flow_id",
        "in_flight",
        "position",
        "queue",
        "ready_round",
        "stamp",
        "uncharged_tokens",
        "visited_round",
        "waiting",
        "weight",
    )

    def __init__(self, flow_id: str, weight: int, quantum_tokens: int, visited_round: int) -> None:
        self.flow_id = flow_id
        self.weight = weight
        self.allowance = weight * quantum_tokens  # tokens each visit adds
        self.deficit = 0  # tokens it may still spend, as of visited_round; below zero: debt
        self.visited_round = visited_round  # the last round whose allowance is in the deficit
        self.ready_round = 0  # the first round whose visit makes the deficit cover the head
        self.position = 0  # place in the ring, given when it joins
        self.stamp = 0  # which of its heap entries is the valid one
        self.queue: deque[Job] = deque()  # its head, if any, is a live job
        self.waiting = 0  # live jobs in the queue
        self.dead = 0  # cancelled jobs still in the queue
        self.in_flight = 0  # granted and not settled
        self.epoch = 0  # how often it has joined the ring
        self.uncharged_tokens = 0  # its immediate grants of this epoch that are still in flight
