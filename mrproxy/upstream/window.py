"""Pure. Counts over a sliding window: how many in the last so many seconds, and how many of them were marked.

The window is a ring of ten slots; the oldest slot leaves as a whole, so counts are over between 90 and 100 % of the
window. (Envoy's outlier detection and Hystrix's rolling window do the same, with ten slots, too.)
Read next: `mrproxy/upstream/breaker.py`, `mrproxy/upstream/retry_budget.py`, the users.
"""

_SLOTS = 10


class SlidingCounts:
    """`total` and `marked` hold as of the last call that was given the time."""

    __slots__ = ("_in_slot", "_marks", "_next_slot_at", "_slot", "_slot_seconds", "_totals", "marked", "total")

    def __init__(self, window_seconds: float, now: float) -> None:
        self._slot_seconds = window_seconds / _SLOTS
        self.clear(now)

    def clear(self, now: float) -> None:
        """Forget everything."""
        self.total = 0
        self.marked = 0
        self._totals = [0] * _SLOTS
        self._in_slot = 0  # of the present slot, not in `_totals` yet
        self._marks = [0] * _SLOTS
        self._slot = 0
        self._next_slot_at = now + self._slot_seconds

    def count(self, now: float) -> None:
        """One more in total."""
        if now >= self._next_slot_at:
            self.advance(now)
        self._in_slot += 1
        self.total += 1

    def mark(self, now: float) -> None:
        """One more that is marked; it is not counted in `total` by this."""
        if now >= self._next_slot_at:
            self.advance(now)
        self._marks[self._slot] += 1
        self.marked += 1

    def advance(self, now: float) -> None:
        """Let go what is too old."""
        if now < self._next_slot_at:
            return
        steps = int((now - self._next_slot_at) / self._slot_seconds) + 1
        self._totals[self._slot] = self._in_slot
        self._in_slot = 0
        for _ in range(min(steps, _SLOTS)):
            self._slot = (self._slot + 1) % _SLOTS
            self.total -= self._totals[self._slot]
            self.marked -= self._marks[self._slot]
            self._totals[self._slot] = self._marks[self._slot] = 0
        self._next_slot_at += steps * self._slot_seconds
