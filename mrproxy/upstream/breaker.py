"""Pure. The circuit breaker of one backend: the single state that routing, metrics and the status page read.

1. Closed: everything passes. It opens after so many failures to connect in a row, or when at least `ratio_percent`
   of at least `min_requests` requests within the window failed.
2. Open: nothing passes for a while. The while doubles each time the backend fails its test, up to a maximum.
3. Half open: one request passes, as a probe. It succeeds: closed. It fails: open again, for twice as long.
   A probe of which nothing is heard (its client left) is given up after the while, or at once by `abandon`.
4. A 429 is no failure: the backend works and asks for patience. It does not count, and it answers a probe well;
   `hold` keeps the backend out of routing for as long as `Retry-After` says, in any state.
5. A client that leaves feeds nothing. `is_open` moves nothing; `allows` also takes the probe.

Moves are made in `_move` only, by the table. Read next: `mrproxy/upstream/window.py`.
"""

import enum
from dataclasses import dataclass

from mrproxy.upstream.window import SlidingCounts


class BreakerState(enum.StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Failure(enum.StrEnum):
    """What an attempt can die of, as far as the breaker cares."""

    CONNECT = "connect"  # refused, unreachable, reset before anything was sent, too slow to accept
    TIMEOUT = "timeout"  # no first byte, or silence in mid-stream
    SERVER_ERROR = "server_error"  # 5xx, 503 included; an answer that breaks off
    RATE_LIMITED = "rate_limited"  # 429


class _Event(enum.Enum):
    TRIPPED = "too many failures"
    RESTED = "the open time is over"
    SUCCEEDED = "the probe went well"
    FAILED = "the probe failed"


# What is not in the table does not move anything: a late answer to a request from before it opened, for instance.
_MOVES = {
    (BreakerState.CLOSED, _Event.TRIPPED): BreakerState.OPEN,
    (BreakerState.OPEN, _Event.RESTED): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, _Event.SUCCEEDED): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, _Event.FAILED): BreakerState.OPEN,
}
# A module global is one lookup less than an enum's attribute on the path of every request.
_CLOSED = BreakerState.CLOSED


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """The settings `breaker_*`."""

    failures: int = 3
    ratio_percent: int = 50
    min_requests: int = 10
    window_seconds: float = 30.0
    open_seconds: float = 5.0
    max_open_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """`retry_in_seconds`: until something may pass again; 0 if it may now."""

    state: BreakerState
    consecutive_connect_failures: int
    requests: int
    failures: int
    times_opened: int
    retry_in_seconds: float


class Breaker:
    """`state` is what to show; ask `is_open` before choosing the backend and `allows` when sending."""

    __slots__ = (
        "_connect_failures", "_counts", "_held_until", "_open_seconds", "_open_until", "_policy", "_probe_until",
        "is_at_ease", "state", "times_opened",
    )  # fmt: skip

    def __init__(self, policy: BreakerPolicy, now: float) -> None:
        self._policy = policy
        self._counts = SlidingCounts(policy.window_seconds, now)
        self._connect_failures = 0
        self._open_seconds = policy.open_seconds
        self._open_until = now
        self._probe_until = now
        self._held_until = now
        self.state = BreakerState.CLOSED
        self.is_at_ease = True  # closed, and nobody asked for patience: what routing needs to know nearly always
        self.times_opened = 0

    def is_open(self, now: float) -> bool:
        """Whether a request would be turned away now; moves nothing."""
        if now < self._held_until:
            return True
        if self.state is _CLOSED:
            self.is_at_ease = True
            return False
        return now < (self._open_until if self.state is BreakerState.OPEN else self._probe_until)

    def allows(self, now: float) -> bool:
        """Whether this request may go; in a breaker that has rested it is the probe, and the only one."""
        if self.is_open(now):
            return False
        if self.state is not _CLOSED:
            self._move(_Event.RESTED, now)
            self._probe_until = now + self._open_seconds
        return True

    def record_success(self, now: float) -> None:
        """An attempt was answered, with any status that is no failure of the backend's (a 404 is fine)."""
        self._connect_failures = 0
        self._counts.count(now)
        if self.state is not _CLOSED:
            self._move(_Event.SUCCEEDED, now)

    def record_failure(self, kind: Failure, now: float) -> None:
        """An attempt failed by the backend's fault. Never for one that its client gave up."""
        if kind is Failure.RATE_LIMITED:
            self._connect_failures = 0
            self._move(_Event.SUCCEEDED, now)
            return
        self._connect_failures = self._connect_failures + 1 if kind is Failure.CONNECT else 0
        self._counts.count(now)
        self._counts.mark(now)
        self._move(_Event.TRIPPED if self.state is _CLOSED and self._is_too_much() else _Event.FAILED, now)

    def abandon(self, now: float) -> None:
        """The probe's client left before anything was known: the next request may be the probe."""
        self._probe_until = min(self._probe_until, now)

    def hold(self, seconds: float, now: float) -> None:
        """The backend asked to be left alone (`Retry-After`); a longer hold stands."""
        self._held_until = max(self._held_until, now + seconds)
        self.is_at_ease = False

    def statistics(self, now: float) -> BreakerStatistics:
        self._counts.advance(now)
        until = {
            BreakerState.CLOSED: now,
            BreakerState.OPEN: self._open_until,
            BreakerState.HALF_OPEN: self._probe_until,
        }[self.state]
        return BreakerStatistics(
            state=self.state,
            consecutive_connect_failures=self._connect_failures,
            requests=self._counts.total,
            failures=self._counts.marked,
            times_opened=self.times_opened,
            retry_in_seconds=max(0.0, until - now, self._held_until - now),
        )

    def _is_too_much(self) -> bool:
        policy, counts = self._policy, self._counts
        if self._connect_failures >= policy.failures:
            return True
        return counts.total >= policy.min_requests and counts.marked * 100 >= counts.total * policy.ratio_percent

    def _move(self, event: _Event, now: float) -> None:
        following = _MOVES.get((self.state, event))
        if following is None:
            return
        match following:
            case BreakerState.OPEN:
                if event is _Event.FAILED:
                    self._open_seconds = min(self._open_seconds * 2.0, self._policy.max_open_seconds)
                self._open_until = now + self._open_seconds
                self.times_opened += 1
            case BreakerState.CLOSED:
                # Failures from before must not open it again at once.
                self._counts.clear(now)
                self._connect_failures = 0
                self._open_seconds = self._policy.open_seconds
            case BreakerState.HALF_OPEN:
                pass
        self.is_at_ease = False
        self.state = following
