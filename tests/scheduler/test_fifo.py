"""Pure. First come, first served."""

import pytest

from mrproxy.scheduler.fifo import Fifo
from mrproxy.scheduler.job import Job


def job(flow: str = "u", model: str = "m") -> Job:
    return Job(flow, 1, model, 100, 0.0)


def test_jobs_leave_in_the_order_they_came_whoever_sent_them():
    subject = Fifo()
    jobs = [job(flow) for flow in "aaab"]
    for waiting in jobs:
        subject.submit(waiting)
    assert [subject.next_job("m") for _ in range(5)] == [*jobs, None]


def test_models_queue_apart():
    subject = Fifo()
    x, y = job(model="x"), job(model="y")
    subject.submit(x)
    subject.submit(y)
    assert (subject.waiting("x"), subject.waiting("z"), subject.waiting_total, subject.waiting_of_flow("u")) == (
        1,
        0,
        2,
        2,
    )
    assert subject.next_job("y") is y


def test_a_cancelled_job_is_never_served_and_can_be_cancelled_once():
    subject = Fifo()
    jobs = [job() for _ in range(3)]
    for waiting in jobs:
        subject.submit(waiting)
    assert [subject.cancel(jobs[0]), subject.cancel(jobs[0])] == [True, False]
    assert [subject.next_job("m"), subject.next_job("m"), subject.next_job("m")] == [*jobs[1:], None]
    assert subject.waiting_of_flow("u") == 0


@pytest.mark.parametrize("keep", [0, 1])
def test_memory_of_cancelled_jobs_is_bounded(keep: int):
    subject = Fifo()
    for _ in range(keep):
        subject.submit(job())
    for _ in range(1000):
        waiting = job()
        subject.submit(waiting)
        subject.cancel(waiting)
    assert len(subject._queues["m"]) < 100
    assert subject.waiting("m") == keep


def test_nothing_is_charged():
    subject = Fifo()
    granted = job()
    subject.grant_immediate(granted)
    subject.settle(granted, 5000)
    assert subject.statistics() == ()


def test_statistics_count_who_waits():
    subject = Fifo()
    for flow in "aba":
        subject.submit(job(flow))
    (queue,) = subject.statistics()
    assert (queue.model, queue.waiting) == ("m", 3)
    assert [(flow.flow_id, flow.waiting) for flow in queue.flows] == [("a", 2), ("b", 1)]
