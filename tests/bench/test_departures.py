import pytest

from bench.departures import is_within, measure, pair_departures, percentiles


def test_departures_are_paired_in_order_of_time():
    assert pair_departures([20_000_000, 10_000_000], [11_000_000, 22_000_000]) == [1.0, 2.0]
    assert pair_departures([1, 2], [1]) == [0.0]


def test_an_unnoticed_departure_is_never_within_the_limit():
    assert is_within([1.0, 2.0], 2, 100.0)
    assert not is_within([1.0], 2, 100.0)
    assert not is_within([1.0, 200.0], 2, 100.0)
    assert percentiles([]) == ["–", "–", "–"]
    assert percentiles([1.0]) == ["1.00", "1.00", "1.00"]


@pytest.mark.slow
def test_an_engine_itself_notices_every_departure(engine):
    delays = measure(engine, engine.url, True, 5, 0.005)
    assert len(delays) == 5
    assert all(0 <= delay < 1000 for delay in delays)
