"""Pure. The rate a queue drains at."""

import pytest

from mrproxy.scheduler.drain import DrainRate


def drained(per_second: float, seconds: float) -> DrainRate:
    subject = DrainRate(100.0)
    for number in range(int(per_second * seconds)):
        subject.note(100.0 + number / per_second)
    return subject


@pytest.mark.parametrize("per_second", [0.5, 2.0, 50.0])
@pytest.mark.parametrize("seconds", [10.0, 60.0, 600.0])
def test_a_steady_rate_is_measured_young_or_old(per_second: float, seconds: float):
    assert drained(per_second, seconds).per_second(100.0 + seconds) == pytest.approx(per_second, rel=0.25)


def test_the_time_until_a_place_in_the_queue_is_served():
    assert drained(2.0, 60.0).seconds_for(20, 160.0) == pytest.approx(10, rel=0.1)


def test_it_is_between_a_second_and_a_minute():
    assert drained(100.0, 60.0).seconds_for(1, 160.0) == 1
    assert drained(0.5, 60.0).seconds_for(10_000, 160.0) == 60
    assert DrainRate(0.0).seconds_for(1, 0.0) == 60


def test_a_queue_that_stalled_is_forgotten():
    assert drained(2.0, 60.0).seconds_for(20, 400.0) == 60
