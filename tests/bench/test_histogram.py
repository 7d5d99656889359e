from hypothesis import given
from hypothesis import strategies as st

from bench.histogram import Histogram, bucket_bounds, bucket_of

VALUES = st.integers(0, 10**12)


@given(VALUES)
def test_a_value_lies_within_its_bucket_and_is_known_to_one_part_in_64(value):
    low, high = bucket_bounds(bucket_of(value))
    assert low <= value < high
    assert high - low <= max(1, value / 64)


@given(VALUES)
def test_buckets_follow_each_other_without_gap(value):
    bucket = bucket_of(value)
    assert bucket_bounds(bucket)[1] == bucket_bounds(bucket + 1)[0]


@given(st.lists(VALUES), st.lists(VALUES))
def test_merging_equals_recording_all(first, second):
    one, other, both = Histogram(), Histogram(), Histogram()
    one.record_all(first)
    other.record_all(second)
    both.record_all(first + second)
    one.merge(other)
    assert one.buckets() == both.buckets()
    assert (one.count, one.total, one.minimum, one.maximum) == (both.count, both.total, both.minimum, both.maximum)


@given(st.lists(VALUES, min_size=1), st.floats(0, 1))
def test_a_percentile_is_within_two_percent_of_the_sample_of_its_rank(values, share):
    histogram = Histogram()
    histogram.record_all(values)
    exact = sorted(values)[min(len(values) - 1, int(share * len(values)))]
    assert abs(histogram.percentile(share) - exact) <= exact / 64 + 1


@given(st.lists(VALUES, min_size=1))
def test_buckets_restore_the_histogram(values):
    histogram = Histogram()
    histogram.record_all(values)
    restored = Histogram.from_buckets(histogram.buckets(), histogram.minimum, histogram.maximum, histogram.total)
    assert restored.mean == histogram.mean
    assert restored.percentile(0.9) == histogram.percentile(0.9)


def test_an_empty_histogram_has_no_numbers():
    assert Histogram().percentile(0.5) == 0.0
    assert Histogram().mean == 0.0


def test_a_negative_delay_counts_as_zero():
    histogram = Histogram()
    histogram.record(-5)
    assert histogram.buckets() == [(0, 1)]
