import itertools

import pytest

from bench.arrivals import constant, poisson


def test_constant_arrivals_are_evenly_spaced():
    assert list(constant(4, 1)) == [0, 0.25, 0.5, 0.75]


def test_poisson_arrivals_repeat_under_a_seed_and_have_the_rate():
    first = list(poisson(100, 100, seed=7))
    assert first == list(poisson(100, 100, seed=7))
    assert first != list(poisson(100, 100, seed=8))
    assert first == sorted(first)
    assert len(first) == pytest.approx(10_000, rel=0.05)
    gaps = [b - a for a, b in itertools.pairwise(first)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.05)  # of an exponential distribution the two are equal
