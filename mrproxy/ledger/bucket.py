"""Pure. A token bucket that refills continuously: so many per minute, one minute's worth at most.

1. Levels are floats; time is whatever clock the caller uses, and only has to go forwards.
2. Who wants more than a whole minute's worth needs a full bucket and leaves it below zero: a large request waits
   longer, but is never impossible, and the long-run rate holds.
3. Taking and giving back are exact: `give_back` undoes `take`, as if it had never been. It needs no time, because
   the excess over the capacity is cut at the next refill.

Read next: `mrproxy/ledger/accounts.py`, four limits of one key or user.
"""

import math


class Bucket:
    """`per_minute` 0 refuses everything. `level` is what was left at the time `at`."""

    __slots__ = ("at", "capacity", "level", "per_minute", "per_second")

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self.per_second = per_minute / 60.0
        self.capacity = self.level = float(per_minute)
        self.at = now

    def take(self, amount: float, now: float) -> float:
        """0.0 if taken; else nothing was, and it is the seconds until it would fit (`inf` if it never will)."""
        wait_seconds = self.wait(amount, now)
        if not wait_seconds:
            self.level = self.remaining(now) - amount
            self.at = now
        return wait_seconds

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` would fit; 0.0 if it does now, `inf` if it never will. Takes nothing."""
        if not self.per_minute:
            return math.inf
        missing = min(amount, self.capacity) - self.remaining(now)
        return max(0.0, missing / self.per_second)

    def give_back(self, amount: float) -> None:
        """Undo a take, in whole or in part; a negative amount charges more, below zero if need be."""
        self.level += amount

    def remaining(self, now: float) -> float:
        """What could be taken now; below zero after a large take or a charge."""
        level = self.level + (now - self.at) * self.per_second
        return min(self.capacity, level)

    def refill(self, now: float) -> None:
        """Bring `level` up to date."""
        self.level = self.remaining(now)
        self.at = now

    def resize(self, per_minute: int, now: float) -> None:
        """Another rate: what was full stays full, what was empty stays empty."""
        share = self.remaining(now) / self.per_minute if self.per_minute else 1.0
        self.per_minute = per_minute
        self.per_second = per_minute / 60.0
        self.capacity = float(per_minute)
        self.level = share * per_minute
        self.at = now
