"""Pure. Log-bucketed histograms of nanoseconds: constant relative error, mergeable, small.

HdrHistogram's layout: values below 128 have a bucket each, every further doubling has 64, so a value is known to within
1/64 (1.6 %). Merging adds counts; nothing is lost that a single histogram over all samples would have had.
"""

from collections.abc import Iterable

_SUB_BITS = 6
_SUB_COUNT = 1 << _SUB_BITS


def bucket_of(value: int) -> int:
    shift = value.bit_length() - _SUB_BITS - 1
    if shift <= 0:
        return max(value, 0)
    return (shift << _SUB_BITS) + (value >> shift)


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The values [low, high) that fall into a bucket."""
    if bucket < 2 * _SUB_COUNT:
        return bucket, bucket + 1
    shift = (bucket >> _SUB_BITS) - 1
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low, low + (1 << shift)


class Histogram:
    __slots__ = ("_counts", "count", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.minimum = 0
        self.maximum = 0

    def record(self, value: int) -> None:
        shift = value.bit_length() - _SUB_BITS - 1
        bucket = (shift << _SUB_BITS) + (value >> shift) if shift > 0 else max(value, 0)
        counts = self._counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self.total += value
        if value > self.maximum:
            self.maximum = value
        if value < self.minimum or not self.count:
            self.minimum = value
        self.count += 1

    def record_all(self, values: Iterable[int]) -> None:
        for value in values:
            self.record(value)

    def merge(self, other: "Histogram") -> None:
        if not other.count:
            return
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.minimum = min(self.minimum, other.minimum) if self.count else other.minimum
        self.maximum = max(self.maximum, other.maximum)
        self.count += other.count
        self.total += other.total

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def percentile(self, share: float) -> float:
        """The middle of the bucket that holds the sample of that rank, within the extremes seen; 0 when empty."""
        if not self.count:
            return 0.0
        rank = min(self.count - 1, int(share * self.count))
        seen = 0
        for bucket, count in sorted(self._counts.items()):
            seen += count
            if seen > rank:
                low, high = bucket_bounds(bucket)
                return min(max((low + high - 1) / 2, self.minimum), self.maximum)
        raise AssertionError("the counts do not add up to count")

    def buckets(self) -> list[tuple[int, int]]:
        """(bucket, count) in order, as it is stored."""
        return sorted(self._counts.items())

    @classmethod
    def from_buckets(cls, buckets: Iterable[tuple[int, int]], minimum: int, maximum: int, total: int) -> "Histogram":
        histogram = cls()
        histogram._counts = dict(buckets)
        histogram.count = sum(histogram._counts.values())
        histogram.minimum, histogram.maximum, histogram.total = minimum, maximum, total
        return histogram
