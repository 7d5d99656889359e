"""Pure. The line of jobs that wait for another backend than the one that failed them."""

from mrproxy.scheduler.job import Job
from mrproxy.scheduler.retries import RetryLine


def job(*excluded: str, model: str = "m") -> Job:
    return Job("u", 1, model, 1, 0.0, set(excluded))


def line(*jobs: Job) -> RetryLine:
    subject = RetryLine()
    for retried in jobs:
        subject.add(retried)
    return subject


def test_first_come_first_served_among_equal_exclusions():
    first, second = job("a"), job("a")
    subject = line(first, second)
    assert [subject.next_job("m", "b") for _ in range(3)] == [first, second, None]


def test_a_backend_is_never_given_a_job_that_excludes_it():
    for_b, for_a = job("a"), job("b")
    subject = line(for_b, for_a)
    assert subject.next_job("m", "a") is for_a
    assert subject.next_job("m", "a") is None
    assert subject.next_job("m", "b") is for_b


def test_models_wait_apart():
    assert line(job("a", model="x")).next_job("y", "b") is None


def test_a_job_that_left_is_not_served_and_leaves_nothing_behind():
    gone = job("a", "c")
    subject = line(gone)
    assert [subject.discard(gone), subject.discard(gone)] == [True, False]
    assert subject.next_job("m", "b") is None
    assert subject._lines == {}
    assert not line().discard(job())
