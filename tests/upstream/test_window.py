"""Sliding counts against a list of everything that happened."""

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.upstream.window import SlidingCounts


def test_what_is_older_than_the_window_is_forgotten() -> None:
    counts = SlidingCounts(10.0, 0.0)
    counts.count(0.0)
    counts.mark(0.5)
    counts.count(9.5)
    assert (counts.total, counts.marked) == (2, 1)
    counts.advance(10.0)
    assert (counts.total, counts.marked) == (1, 0)
    counts.advance(1e9)
    assert (counts.total, counts.marked) == (0, 0)
    counts.count(1e9 + 0.5)
    assert counts.total == 1


@given(st.lists(st.tuples(st.integers(0, 120), st.booleans()), max_size=60))
def test_counts_cover_at_least_nine_tenths_of_the_window_and_no_more_than_all(steps: list[tuple[int, bool]]) -> None:
    counts, now, seen = SlidingCounts(100.0, 0.0), 0, []
    for seconds, is_marked in steps:
        now += seconds
        (counts.mark if is_marked else counts.count)(float(now))
        seen.append((now, is_marked))
        for marked, found in ((False, counts.total), (True, counts.marked)):
            surely = sum(at > now - 90 for at, kind in seen if kind is marked)
            at_most = sum(at > now - 100 for at, kind in seen if kind is marked)
            assert surely <= found <= at_most
