"""Shell. The hot path of the project: a token's way from its engine's socket to its client's.

A read that is exactly whole chunks, ends where an event ends and cannot hold the usage is sent on as it came: one
`recv`, one `send`, nothing decoded. Everything else is the subclass's (`pump.py`), the slower way.
At 200 streams every token finds the caches cold, so what counts is how much code and how many objects it touches:
- What it needs of its stream stands side by side: the slots of a base class come first, sorted by name.
- A short read's buffer comes from Python's small blocks, not from malloc. Most events fit.
- A bound method in a slot is taken out before it is called: `self._recv(n)` would be looked up the slow way (3.11).
- `find`, not `in`: bytes in bytes makes a TypeError inside of CPython 3.11, each time, and drops it.
Figures: docs/benchmarks.md. Whatever is changed here is measured first and after.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mrproxy.counters import Histogram
from mrproxy.dialects.usage import Tap
from mrproxy.sockets import GONE, IN, RECEIVE_BYTES
from mrproxy.upstream.live import Downstream
from mrproxy.upstream.pool import Connection
from mrproxy.wire.chunked import CHUNK_LINES, count_whole_chunks

# With its header of 33 bytes it is the largest object (512 bytes) that pymalloc makes.
SHORT_READ_BYTES: Final = 479
_BOUNDS = Histogram.bounds
_LONGEST_CHUNK: Final = len(CHUNK_LINES)


class Flow(ABC):
    """`_is_fast` says whether the fast way may be tried: chunks come and go, the next read begins with one and with an
    event, and nothing waits to be sent in either direction. Who changes any of that sets it."""

    __slots__ = (
        "_client_send", "_inter_token", "_is_fast", "_marker", "_passed_bytes", "_passed_events", "_read_bytes",
        "_recv", "_tail", "last_at",
    )  # fmt: skip

    def __init__(self, connection: Connection, downstream: Downstream, tap: Tap, inter_token: Histogram) -> None:
        self._client_send = downstream.sock.send
        self._inter_token = inter_token
        self._is_fast = False
        self._marker = tap.marker
        self._passed_bytes = 0
        self._passed_events = 0
        self._read_bytes = SHORT_READ_BYTES
        self._recv: Callable[[int], bytes] = connection.sock.recv
        self._tail = tap.tail
        self.last_at = 0.0

    def on_ready(self, flags: int, now: float) -> None:
        """The backend's socket has something."""
        if not self._is_fast or flags & GONE:
            self._on_ready(flags, now)
            return
        recv = self._recv
        try:
            data = recv(self._read_bytes)
        except BlockingIOError:
            return
        except OSError as exc:
            self._receive_failed(exc)
            return
        count = len(data)
        if count == self._read_bytes:
            self._receive_long(data, now)
            return
        is_one = count < _LONGEST_CHUNK and data.startswith(CHUNK_LINES[count])
        events = 1 if is_one else count_whole_chunks(data)
        if not events or not data.endswith(self._tail) or data.find(self._marker) >= 0:
            self._on_data(data, now)
            return
        # The counts stay in this object until the end: fewer cache lines.
        self._passed_events += events
        self._passed_bytes += count
        gap = now - self.last_at
        self.last_at = now
        histogram = self._inter_token
        histogram.counts[bisect_left(_BOUNDS, gap)] += 1
        histogram.sum_seconds += gap
        send = self._client_send
        try:
            sent = send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._client_left()
            return
        if sent != count:
            self._lag(data[sent:])

    def _receive_long(self, data: bytes, now: float) -> None:
        """A read that took all it could: there may be more, of which no event will tell. So will the next ones."""
        if self._read_bytes < RECEIVE_BYTES:
            self._read_bytes = RECEIVE_BYTES
            recv = self._recv
            with suppress(OSError):  # nothing more; or it broke, and the read below finds its end
                data += recv(RECEIVE_BYTES - len(data))  # the rest of the event: one read, one write
        self._on_data(data, now)
        self._on_ready(IN, now)

    @abstractmethod
    def _on_ready(self, flags: int, now: float) -> None:
        """The slower way: read, until there is nothing more. Does nothing while the client lags, or after the end."""

    @abstractmethod
    def _on_data(self, data: bytes, now: float) -> None:
        """The slower way for what has been read; empty: the backend has closed."""

    @abstractmethod
    def _receive_failed(self, exc: OSError) -> None: ...

    @abstractmethod
    def _client_left(self) -> None: ...

    @abstractmethod
    def _lag(self, rest: bytes) -> None:
        """The client did not take this."""
