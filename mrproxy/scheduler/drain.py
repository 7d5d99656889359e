"""Pure. How fast a queue drains, and so when coming back makes sense: the `Retry-After` of a refusal.

An exponentially decaying count of hand-overs; corrected while younger than its time constant.
Read next: `grant.py`.
"""

from math import exp

_TIME_CONSTANT_SECONDS = 30.0
_MIN_SECONDS = 1.0
_MAX_SECONDS = 60.0


class DrainRate:
    __slots__ = ("_at", "_began_at", "_level")

    def __init__(self, now: float) -> None:
        self._began_at = now
        self._at = now
        self._level = 0.0

    def note(self, now: float) -> None:
        """One waiting job got its slot."""
        self._level = self._level_at(now) + 1.0
        self._at = now

    def per_second(self, now: float) -> float:
        window_seconds = _TIME_CONSTANT_SECONDS * (1.0 - exp((self._began_at - now) / _TIME_CONSTANT_SECONDS))
        return self._level_at(now) / max(window_seconds, 1.0)

    def seconds_for(self, jobs: int, now: float) -> float:
        """Until that many have been served at the present rate: 1 to 60; 60 while nothing moves."""
        per_second = self.per_second(now)
        if jobs >= per_second * _MAX_SECONDS:
            return _MAX_SECONDS
        return max(_MIN_SECONDS, jobs / per_second)

    def _level_at(self, now: float) -> float:
        return self._level * exp((self._at - now) / _TIME_CONSTANT_SECONDS)
