"""Shell. The micro-benchmark does what it says it times; no test here looks at a clock."""

import pytest
import trio.testing

from bench import microscheduler
from mrproxy.scheduler.fifo import Fifo
from mrproxy.scheduler.wdrr import Wdrr


@pytest.mark.parametrize("policy", ["least_load", "affinity"])
@pytest.mark.parametrize("backends", [1, 8])
def test_every_uncontended_grant_is_given_back(backends: int, policy: str):
    assert microscheduler.uncontended(backends, policy, operations=10)() == 10


@pytest.mark.parametrize("discipline", [Wdrr(1000, 20_000), Wdrr(1, 0), Fifo()], ids=["wdrr", "small quantum", "fifo"])
def test_ten_thousand_wait_throughout(discipline: Wdrr | Fifo):
    work = microscheduler.queued(discipline, 1000, operations=10)
    assert discipline.waiting_total == 10_000
    assert work() == 10
    assert discipline.waiting_total == 10_000


def test_they_are_of_a_thousand_callers():
    discipline = Wdrr(1000, 0)
    microscheduler.queued(discipline, 1000)
    (queue,) = discipline.statistics()
    assert len(queue.flows) == microscheduler.CALLERS


def test_cancelled_jobs_leave_the_queue_as_it_was():
    discipline = Wdrr(1000, 0)
    assert microscheduler.cancelled(discipline, operations=10)() == 10
    assert discipline.waiting_total == 10_000


def test_costs_are_estimated_and_learnt_as_often_as_asked():
    assert microscheduler.estimated(operations=3)() == microscheduler.learnt(operations=3)() == 3


async def test_every_task_that_waits_is_handed_a_slot(autojump_clock: trio.testing.MockClock):
    assert await microscheduler.handed_over(waiters=20) > 0
