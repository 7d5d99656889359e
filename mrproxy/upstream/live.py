"""Shell. What is live on one backend: its pump, and what a pump knows of exchanges and of clients.

Read next: `pump.py` (relays), `shot.py` (answers in one piece), `bulk.py` (the middle of long bodies).
"""

from collections.abc import Callable
from typing import Protocol

import trio

from mrproxy.counters import Counters
from mrproxy.errors import BackendError
from mrproxy.sockets import Lagging, Poller
from mrproxy.upstream.answer import Answer, AnswerCache
from mrproxy.upstream.bulk import Pipes

SWEEP_SECONDS = 0.25
_LATELY_SECONDS = 5.0


class Downstream(Protocol):
    """The client, as far as a relay knows it."""

    @property
    def sock(self) -> "Sending": ...

    is_draining: bool

    lagging: Lagging | None


class Sending(Protocol):
    """A socket."""

    def send(self, data: bytes, /) -> int: ...
    def fileno(self) -> int: ...


class Live(Protocol):
    """An exchange under way: a `Relay`, or a `Shot`."""

    answer: Answer | None
    last_at: float

    def check(self, now: float) -> None: ...
    def fail(self, error: BackendError) -> None: ...


class Pace(Protocol):
    """The deadlines of a relay, in seconds; 0 is off."""

    @property
    def stream_idle_deadline_seconds(self) -> float: ...
    @property
    def client_write_idle_seconds(self) -> float: ...
    @property
    def total_deadline_seconds(self) -> float: ...
    @property
    def ping_seconds(self) -> float: ...


class Pump:
    """All relays of one backend, in the worker's poller. Somebody has to `check` them now and then."""

    def __init__(
        self, poller: Poller, pace: Pace, counters: Counters, backend_line: bytes, translated_line: bytes = b""
    ) -> None:
        self.poller = poller
        self.pace = pace
        self.counters = counters
        self.backend_line = backend_line
        self.translated_line = translated_line
        self.answers = AnswerCache()
        self.pipes = Pipes()
        self.relays: set[Live] = set()

    def was_heard_of_lately(self) -> bool:
        """Some stream brought something in the last seconds: the backend lives, whatever a probe says."""
        since = self.poller.clock() - _LATELY_SECONDS
        return any(relay.answer is not None and relay.last_at > since for relay in self.relays)

    async def sweep(self, each: Callable[[float], None]) -> None:
        """End relays that are late; `each` is called with the time, for the owner's own sweeping."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            now = trio.current_time()
            self.check(now)
            each(now)

    def check(self, now: float) -> None:
        for relay in list(self.relays):
            relay.check(now)
