from bench.summary import Spread, can_carry, percentile, spread_of


def test_a_spread_is_the_median_and_the_extremes():
    assert spread_of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert spread_of([]) is None
    assert f"{Spread(2.0, 1.0, 3.0):.1f}" == "2.0 (1.0–3.0)"


def test_percentiles_are_nearest_ranks():
    assert percentile([1, 2, 3, 4], 0.5) == 3
    assert percentile([1, 2, 3, 4], 1.0) == 4


def test_a_percentile_needs_ten_samples_beyond_it():
    assert can_carry(1000, 0.99)
    assert not can_carry(999, 0.99)
    assert can_carry(100, 0.9)
    assert not can_carry(9_999, 0.999)
    assert can_carry(1, 0.5)
