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

    __slots__ = ("at", "level", "per_minute", "per_second")

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self.per_second = per_minute / 60.0
        self.level = float(per_minute)
        self.at = now

    def take(self, amount: float, now: float) -> float:
        """0.0 if taken; else nothing was, and it is the seconds until it would fit (`inf` if it never will)."""
        capacity = self.per_minute
        level = self.level + (now - self.at) * self.per_second
        if level > capacity:
            level = float(capacity)
        self.level = level
        self.at = now
        if level >= amount <= capacity:
            self.level = level - amount
            return 0.0
        return self._take_large(amount)

    def give_back(self, amount: float) -> None:
        """Undo a take, in whole or in part; a negative amount charges more, below zero if need be."""
        self.level += amount

    def remaining(self, now: float) -> float:
        """What could be taken now; below zero after a large take or a charge."""
        level = self.level + (now - self.at) * self.per_second
        return level if level < self.per_minute else float(self.per_minute)

    def resize(self, per_minute: int, now: float) -> None:
        """Another rate: what was full stays full, what was empty stays empty."""
        share = self.remaining(now) / self.per_minute if self.per_minute else 1.0
        self.per_minute = per_minute
        self.per_second = per_minute / 60.0
        self.level = share * per_minute
        self.at = now

    def _take_large(self, amount: float) -> float:
        """The rare half of `take`: too little is left, or more is wanted than fits. The level is fresh."""
        if not self.per_minute:
            return math.inf
        missing = min(amount, self.per_minute) - self.level
        if missing > 0.0:
            return missing / self.per_second
        self.level -= amount
        return 0.0
