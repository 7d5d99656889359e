import pytest

from bench.procfs import Usage
from bench.soak import MIX, SoakLoad, SoakOutcome


def test_the_slope_is_that_of_the_second_half():
    minute = 60_000_000_000
    growing = [Usage(index * minute, {}, 1000 * index, 5) for index in range(10)]
    warming = [Usage(index * minute, {}, min(1000 * index, 4000), 5) for index in range(10)]
    assert SoakOutcome(samples=growing).slope_per_minute("rss_bytes") == pytest.approx(1000)
    assert SoakOutcome(samples=warming).slope_per_minute("rss_bytes") == pytest.approx(0)
    assert SoakOutcome(samples=growing[:2]).slope_per_minute("rss_bytes") == 0.0


@pytest.mark.slow
def test_the_mix_is_played_and_what_is_unexpected_is_counted(engine):
    outcome = SoakLoad(engine, 20).run(0.6)
    assert set(outcome.done) == set(MIX)
    # A bare engine knows no keys: it answers what a gateway would refuse.
    assert list(outcome.unexpected) == ["wrong key: 200"]
    assert outcome.samples
