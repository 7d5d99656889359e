"""Pure. The bound of docs/scheduler.md: against an exact ledger of service, and as arithmetic."""

from fractions import Fraction
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrproxy.scheduler.bound import completion_bound, fairness_bound, jain_index
from mrproxy.scheduler.job import Job
from mrproxy.scheduler.wdrr import Wdrr

MAX_CHARGE = 60
FLOWS = 4


class ServiceLedger:
    """Service of each flow in two measures, and how far each pair drifts apart while both have jobs waiting."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights
        self.waiting = [0] * len(weights)
        self.granted_true = [0] * len(weights)
        self.charged = [0] * len(weights)
        self.extremes: dict[tuple[int, int, str], tuple[Fraction, Fraction]] = {}
        self.lows: dict[tuple[int, int], Fraction] = {}

    def check_nobody_overtakes(self, bound_of_pair) -> None:
        """One-sided, and whatever the other does: leaves, banks, comes back."""
        for one, two in permutations(range(len(self.weights)), 2):
            if not self.waiting[two]:
                self.lows.pop((one, two), None)
                continue
            ahead = Fraction(self.granted_true[one], self.weights[one])
            ahead -= Fraction(self.granted_true[two], self.weights[two])
            low = self.lows[one, two] = min(ahead, self.lows.get((one, two), ahead))
            assert ahead - low <= bound_of_pair(self.weights[one], self.weights[two])

    def check(self, bound_of_pair) -> None:
        for one, two in combinations(range(len(self.weights)), 2):
            for measure in ("granted_true", "charged"):
                self._check_pair(one, two, measure, bound_of_pair(self.weights[one], self.weights[two]))

    def _check_pair(self, one: int, two: int, measure: str, bound: Fraction) -> None:
        if not (self.waiting[one] and self.waiting[two]):
            self.extremes.pop((one, two, measure), None)
            return
        service = getattr(self, measure)
        ahead = Fraction(service[one], self.weights[one]) - Fraction(service[two], self.weights[two])
        low, high = self.extremes.get((one, two, measure), (ahead, ahead))
        low, high = min(low, ahead), max(high, ahead)
        self.extremes[one, two, measure] = low, high
        assert high - low <= bound, measure


class Run:
    """A queue with a few slots, and the ledger beside it; each step is followed by a check of every pair."""

    def __init__(self, weights: list[int], quantum: int, cap: int, slots: int, max_error: int) -> None:
        self.subject = Wdrr(quantum, cap)
        self.ledger = ServiceLedger(weights)
        self.slots = slots
        self.max_error = max_error
        self.bound_of_pair = lambda one, two: fairness_bound(quantum, (one, two), MAX_CHARGE, cap, slots, max_error)
        self.one_sided = lambda one, two: quantum + self.bound_of_pair(one, two)
        self.forgives = slots * max_error > cap
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.true_cost: dict[Job, int] = {}

    def step(self, kind: str, number: int, cost: int, error: int) -> None:
        if kind == "submit":
            self.submit(number % FLOWS, cost, error)
        elif kind == "grant" and len(self.running) < self.slots:
            self.grant()
        elif kind == "settle" and self.running:
            self.settle(self.running.pop(number % len(self.running)))
        elif kind == "cancel" and self.waiting:
            gone = self.waiting.pop(number % len(self.waiting))
            self.subject.cancel(gone)
            self.ledger.waiting[int(gone.flow_id)] -= 1
        self.check()

    def check(self) -> None:
        self.ledger.check(self.bound_of_pair)
        if not self.forgives:
            self.ledger.check_nobody_overtakes(self.one_sided)

    def submit(self, flow: int, cost: int, error: int) -> None:
        job = Job(str(flow), self.ledger.weights[flow], "m", cost, 0.0)
        self.true_cost[job] = max(0, cost + max(-self.max_error, min(self.max_error, error)))
        if not self.waiting and len(self.running) < self.slots:
            self.subject.grant_immediate(job)
            self.running.append(job)
            return
        self.subject.submit(job)
        self.waiting.append(job)
        self.ledger.waiting[flow] += 1

    def grant(self) -> None:
        job = self.subject.next_job("m")
        assert (job is None) == (not self.waiting)
        if job is not None:
            self.waiting.remove(job)
            self.running.append(job)
            flow = int(job.flow_id)
            self.ledger.granted_true[flow] += self.true_cost[job]
            self.ledger.charged[flow] += job.cost_tokens
            self.check()  # still counted as waiting: the interval ends just before it leaves
            self.ledger.waiting[flow] -= 1

    def settle(self, job: Job) -> None:
        was_charged = job.uncharged_epoch < 0
        self.subject.settle(job, self.true_cost[job])
        if was_charged:
            self.ledger.charged[int(job.flow_id)] += self.true_cost[job] - job.cost_tokens


KINDS = st.sampled_from(["submit", "submit", "submit", "grant", "grant", "settle", "settle", "cancel"])
STEPS = st.lists(
    st.tuples(KINDS, st.integers(0, 11), st.integers(1, MAX_CHARGE), st.integers(-MAX_CHARGE, MAX_CHARGE)),
    min_size=20,
    max_size=150,
)


@settings(max_examples=60, deadline=None)
@given(
    STEPS,
    st.lists(st.integers(1, 10), min_size=FLOWS, max_size=FLOWS),
    st.integers(1, 100),
    st.sampled_from([0, 10, 200]),
    st.integers(1, 4),
    st.sampled_from([0, 20, MAX_CHARGE]),
)
@pytest.mark.slow
def test_no_two_backlogged_flows_drift_apart_further_than_the_bound_and_nobody_overtakes_one(
    steps, weights, quantum, cap, slots, max_error
):
    run = Run(weights, quantum, cap, slots, max_error)
    for step in steps:
        run.step(*step)


def test_the_bound_is_reached_but_for_two_tokens():
    """One flow saves for a big job and then sends small ones, while the other does it the other way round."""
    big = 500
    subject = Wdrr(1, 0)
    for cost in [big] + [1] * big:
        subject.submit(Job("one", 1, "m", cost, 0.0))
    for cost in [1] * (big - 1) + [big]:
        subject.submit(Job("two", 1, "m", cost, 0.0))
    ahead = low = high = 0
    while subject.waiting("m") > 1:
        job = subject.next_job("m")
        ahead += job.cost_tokens if job.flow_id == "one" else -job.cost_tokens
        low, high = min(low, ahead), max(high, ahead)
    assert high - low == fairness_bound(1, (1, 1), big) - 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1000, (1, 1), 500), 1000 + 500 + 500),
        ((1000, (2, 1), 500), 1000 + 250 + 500),
        ((1000, (3, 2, 1), 600), 1000 + 300 + 600),
        ((1000, (1, 1), 500, 200), 1000 + 700 + 700),
        ((1000, (1, 1), 500, 200, 4, 10), 1000 + 780 + 780),
        ((1, (3, 7), 1), Fraction(1) + Fraction(1, 3) + Fraction(1, 7)),
    ],
)
def test_the_bound_is_quantum_plus_each_flows_span_over_its_weight(arguments, expected):
    assert fairness_bound(*arguments) == expected


def test_counted_at_completion_what_is_in_flight_comes_on_top():
    at_grant = fairness_bound(1000, (2, 1), 500, 0, 4, 10)
    assert completion_bound(1000, (2, 1), 500, 0, 4, 10) == at_grant + 4 * 510 * Fraction(3, 2)


@pytest.mark.parametrize(("values", "expected"), [([1, 1, 1], 1.0), ([1, 0], 0.5), ([0, 0], 1.0), ([4, 2], 0.9)])
def test_jain_is_one_for_equals_and_one_over_n_for_a_monopoly(values, expected):
    assert jain_index(values) == pytest.approx(expected)
