"""Pure. Who may wait, and when the others should come back."""

import pytest

from mrproxy.errors import Code, Refused
from mrproxy.scheduler.admission import Admission
from mrproxy.scheduler.job import Job
from tests.scheduler.fakes import Limits

LIMITS = Limits(queue_max_jobs=10, queue_max_jobs_per_flow=3, queue_deadline_seconds=5)


def refusal(subject: Admission, of_flow: int, in_all: int, now: float = 0.0) -> Refused | None:
    try:
        subject.check(Job("u", 1, "m", 1, now), LIMITS, of_flow=of_flow, in_all=in_all, for_model=in_all, now=now)
    except Refused as refused:
        return refused
    return None


@pytest.mark.parametrize(
    ("of_flow", "in_all", "code"),
    [(2, 9, None), (3, 9, Code.FLOW_QUEUE_FULL), (0, 10, Code.QUEUE_FULL), (3, 10, Code.FLOW_QUEUE_FULL)],
)
def test_a_queue_is_full_for_one_before_it_is_full_for_all(of_flow: int, in_all: int, code: Code | None):
    refused = refusal(Admission(), of_flow, in_all)
    assert (refused and refused.code) == code


def test_the_time_to_come_back_is_what_the_queue_takes_to_drain():
    subject = Admission()
    assert refusal(subject, 0, 0) is None  # the first who waits starts the clock
    for second in range(120):
        subject.note_hand_over("m", float(second))
    assert refusal(subject, 3, 9, now=120.0).retry_after_seconds == pytest.approx(10, rel=0.1)
    timed_out = subject.timed_out("m", LIMITS, for_model=20, now=120.0)
    assert (timed_out.code, timed_out.status) == (Code.QUEUE_TIMEOUT, 503)
    assert timed_out.retry_after_seconds == pytest.approx(20, rel=0.1)


def test_models_drain_by_themselves():
    subject = Admission()
    subject.note_hand_over("never waited for", 1.0)
    assert refusal(subject, 0, 0) is None
    for second in range(120):
        subject.note_hand_over("m", float(second))
    other = Job("u", 1, "other", 1, 0.0)
    with pytest.raises(Refused) as caught:
        subject.check(other, LIMITS, of_flow=3, in_all=5, for_model=5, now=120.0)
    assert caught.value.retry_after_seconds == 60
