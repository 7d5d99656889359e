"""Pure. The global retry budget: retries are a small share of requests, so an outage does not multiply the load.

A retry is allowed while the retries of the window stay within `percent` of its requests, or below a small floor, so
that a gateway with little traffic can retry at all. (Finagle's and Linkerd's retry budgets: 20 %, 10 s, and at least
10 retries per second; Envoy's: 20 %, at least 3 at a time.)
Read next: `mrproxy/lifecycle.py`, where attempts are made.
"""

from dataclasses import dataclass

from mrproxy.upstream.window import SlidingCounts

_WINDOW_SECONDS = 10.0
_FLOOR_RETRIES = 10


@dataclass(frozen=True, slots=True)
class RetryBudgetStatistics:
    """The present window."""

    requests: int
    retries: int
    allowed_retries: int


class RetryBudget:
    """One for all backends of a worker."""

    __slots__ = ("_counts", "_floor_retries", "_percent")

    def __init__(
        self, percent: int, now: float, *, window_seconds: float = _WINDOW_SECONDS, floor_retries: int = _FLOOR_RETRIES
    ) -> None:
        """`percent` 0 forbids retries altogether, the floor included."""
        self._percent = percent
        self._floor_retries = floor_retries
        self._counts = SlidingCounts(window_seconds, now)

    def record_request(self, now: float) -> None:
        """A request, whatever the number of its attempts."""
        self._counts.count(now)

    def take(self, now: float) -> bool:
        """Whether one more attempt may be made; True counts it."""
        self._counts.advance(now)
        if self._counts.marked >= self._allowed():
            return False
        self._counts.mark(now)
        return True

    def statistics(self, now: float) -> RetryBudgetStatistics:
        self._counts.advance(now)
        return RetryBudgetStatistics(self._counts.total, self._counts.marked, self._allowed())

    def _allowed(self) -> int:
        if not self._percent:
            return 0
        return max(self._floor_retries, self._counts.total * self._percent // 100)
