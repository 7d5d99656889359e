"""Pure. Numbers out of samples: percentiles that the sample count can carry, medians with spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of a few repetitions, and their extremes."""

    median: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}}–{self.high:{spec}})"


def spread_of(values: Sequence[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank of an ordered, non-empty sequence; `share` in 0..1."""
    rank = min(len(ordered) - 1, int(share * len(ordered)))
    return ordered[rank]


def can_carry(count: int, share: float) -> bool:
    """A percentile is shown only if at least ten samples lie beyond it."""
    return round(count * (1 - share), 6) >= 10 or share <= 0.5
