"""Pure. What three callers of weights 3:2:1 get of a few slots, in simulated time: WDRR against FIFO."""

import random
from heapq import heappop, heappush

import pytest

from mrproxy.scheduler.bound import completion_bound, jain_index
from mrproxy.scheduler.fifo import Fifo
from mrproxy.scheduler.job import Job
from mrproxy.scheduler.wdrr import Wdrr

WEIGHTS = {"faculty": 3, "staff": 2, "student": 1}
TOKENS_PER_SECOND = 50


class Simulation:
    """Closed loop: each caller keeps `depth` requests open; a slot makes 50 tokens a second."""

    def __init__(self, discipline: Wdrr | Fifo, sizes: dict[str, tuple[int, int]], slots: int, error: float) -> None:
        self.discipline = discipline
        self.sizes = sizes
        self.error = error
        self.random = random.Random(7)
        self.now = 0.0
        self.tokens = dict.fromkeys(WEIGHTS, 0)
        self.running: list[tuple[float, int, Job, int]] = []
        self.started = 0
        for _ in range(24):
            for flow_id in WEIGHTS:
                self.submit(flow_id)
        for _ in range(slots):
            self.start_next()

    def submit(self, flow_id: str) -> None:
        true_cost = self.random.randint(*self.sizes[flow_id])
        estimate = max(1, round(true_cost * self.random.uniform(1 - self.error, 1 + self.error)))
        job = Job(flow_id, WEIGHTS[flow_id], "m", estimate, self.now)
        job.excluded = frozenset({str(true_cost)})  # a place to keep the truth; disciplines do not read it
        self.discipline.submit(job)

    def start_next(self) -> None:
        job = self.discipline.next_job("m")
        true_cost = int(next(iter(job.excluded)))
        self.started += 1
        heappush(self.running, (self.now + true_cost / TOKENS_PER_SECOND, self.started, job, true_cost))

    def run(self, until_tokens: int) -> None:
        while sum(self.tokens.values()) < until_tokens:
            self.now, _, job, true_cost = heappop(self.running)
            self.tokens[job.flow_id] += true_cost
            self.discipline.settle(job, true_cost)
            self.submit(job.flow_id)
            self.start_next()


EQUAL = dict.fromkeys(WEIGHTS, (50, 350))
UNEQUAL = {"faculty": (20, 60), "staff": (100, 900), "student": (500, 2000)}


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("error", [0.0, 0.5])
@pytest.mark.parametrize("slots", [1, 4, 8])
def test_three_backlogged_callers_share_three_to_two_to_one(sizes, error: float, slots: int):
    simulation = Simulation(Wdrr(1000, 20_000), sizes, slots, error)
    simulation.run(until_tokens=1_200_000)
    total = sum(simulation.tokens.values())
    for flow_id, weight in WEIGHTS.items():
        assert simulation.tokens[flow_id] / total == pytest.approx(weight / 6, rel=0.02)
    per_weight = [simulation.tokens[flow_id] / weight for flow_id, weight in WEIGHTS.items()]
    assert jain_index(per_weight) >= 0.999
    largest = max(high for _, high in sizes.values())
    bound = completion_bound(1000, list(WEIGHTS.values()), int(largest * 1.5), 20_000, slots, int(largest * error) + 1)
    assert max(per_weight) - min(per_weight) <= bound


@pytest.mark.parametrize("slots", [1, 4, 8])
def test_fairness_costs_no_throughput(slots: int):
    fair, fifo = Simulation(Wdrr(1000, 20_000), EQUAL, slots, 0.5), Simulation(Fifo(), EQUAL, slots, 0.5)
    for simulation in (fair, fifo):
        simulation.run(until_tokens=200_000)
    assert fair.now <= fifo.now / 0.99


def test_fifo_gives_to_who_asks_for_more():
    simulation = Simulation(Fifo(), UNEQUAL, 4, 0.0)
    simulation.run(until_tokens=200_000)
    assert simulation.tokens["student"] > 10 * simulation.tokens["faculty"]
