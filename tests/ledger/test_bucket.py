"""The token bucket against an exact oracle."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.ledger.bucket import Bucket


def test_a_new_bucket_holds_one_minutes_worth() -> None:
    bucket = Bucket(60, 100.0)
    assert [bucket.take(1, 100.0) for _ in range(60)] == [0.0] * 60
    assert bucket.take(1, 100.0) == 1.0


def test_a_refused_take_says_when_it_would_fit_and_then_it_does() -> None:
    bucket = Bucket(600, 0.0)
    assert bucket.take(600, 0.0) == 0.0
    wait_seconds = bucket.take(45, 0.0)
    assert wait_seconds == 4.5
    assert bucket.take(45, 4.4) > 0.0
    assert bucket.take(45, 4.5) == 0.0


def test_idle_time_never_fills_a_bucket_above_its_capacity() -> None:
    bucket = Bucket(10, 0.0)
    bucket.take(5, 0.0)
    assert bucket.remaining(1e6) == 10.0
    assert bucket.take(11, 1e6) == 0.0
    assert bucket.remaining(1e6) == -1.0


def test_more_than_a_minutes_worth_needs_a_full_bucket_and_leaves_a_debt() -> None:
    bucket = Bucket(60, 0.0)
    assert bucket.take(1, 0.0) == 0.0
    assert bucket.take(180, 0.0) == 1.0
    assert bucket.take(180, 1.0) == 0.0
    assert bucket.remaining(1.0) == -120.0
    assert bucket.take(1, 1.0) == 121.0


def test_a_limit_of_zero_never_lets_anything_through() -> None:
    bucket = Bucket(0, 0.0)
    assert bucket.take(1, 1e9) == math.inf
    assert bucket.remaining(1e9) == 0.0


@pytest.mark.parametrize(("used", "left"), [(0, 600.0), (30, 300.0), (60, 0.0)])
def test_a_changed_rate_keeps_the_share_that_was_left(used: int, left: float) -> None:
    bucket = Bucket(60, 0.0)
    bucket.take(used, 0.0)
    bucket.resize(600, 0.0)
    assert bucket.remaining(0.0) == left


def test_a_rate_raised_from_zero_starts_full() -> None:
    bucket = Bucket(0, 0.0)
    bucket.resize(10, 5.0)
    assert bucket.remaining(5.0) == 10.0


steps = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 40)), max_size=30)


@given(per_minute=st.integers(1, 100), steps=steps)
def test_what_is_taken_never_exceeds_the_rate_plus_one_minute(per_minute: int, steps: list[tuple[int, int]]) -> None:
    bucket, now, taken = Bucket(per_minute, 0.0), 0, 0
    level = Fraction(per_minute)
    for amount, seconds in steps:
        now += seconds
        level = min(Fraction(per_minute), level + Fraction(per_minute * seconds, 60))
        wait_seconds = bucket.take(amount, float(now))
        if wait_seconds == 0.0:
            taken += amount
            level -= amount
        else:
            assert wait_seconds == pytest.approx(float((min(amount, per_minute) - level) * 60 / per_minute), abs=1e-6)
        assert bucket.remaining(float(now)) == pytest.approx(float(level), abs=1e-6)
    # the last large take may leave a debt, which is never more than what it took
    assert taken <= per_minute + per_minute * now / 60 + max((amount for amount, _ in steps), default=0) + 1e-6


@given(amounts=st.lists(st.integers(0, 500), max_size=10))
def test_giving_back_undoes_taking_exactly(amounts: list[int]) -> None:
    bucket = Bucket(1000, 0.0)
    taken = [amount for amount in amounts if bucket.take(amount, 0.0) == 0.0]
    for amount in taken:
        bucket.give_back(amount)
    assert bucket.remaining(0.0) == 1000.0
