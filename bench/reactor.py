"""Shell. One epoll and one timer heap: the loop under the mock engines and under the load generator.

Why not trio here: at 20,000 tokens a second a task switch per token (4 to 9 µs) would make the generator the thing
that is measured. Rules: everything is non-blocking and on one thread; a handler never trusts event flags alone (a
file descriptor may have been closed and reused within one batch), it reads and believes the read; timers are
callbacks that return when they are due again, so a stream's clock costs one `heapreplace` per token.

Time is `time.monotonic_ns`. epoll's own timeout counts in milliseconds; sleeps shorter than 2 ms go through `select`
on the epoll's descriptor, which counts in microseconds.
"""

import select
import time
from collections.abc import Callable
from heapq import heappop, heappush, heapreplace

READ = select.EPOLLIN | select.EPOLLRDHUP
WRITE = select.EPOLLOUT

Handler = Callable[[int], None]
# Called with the moment it was due for; returns when it is due again, or 0.
TimerCallback = Callable[[int], int]

# After so many timers the sockets get their turn: an overloaded mock must still see its clients leave.
MAX_TIMERS_PER_ROUND = 256


class Reactor:
    __slots__ = ("_epoll", "_fd", "_firing_at", "_granularity_seconds", "_handlers", "_order", "_stopped", "_timers")

    def __init__(self, granularity_seconds: float = 0.0002) -> None:
        self._epoll = select.epoll()
        self._fd = self._epoll.fileno()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[int, int, TimerCallback]] = []
        self._order = 0
        self._firing_at = 0
        self._granularity_seconds = granularity_seconds
        self._stopped = False

    def register(self, fd: int, handler: Handler, events: int = READ) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def call_at(self, due_ns: int, callback: TimerCallback) -> None:
        self._order += 1
        # Never before the timer that is firing now: `_fire_due` relies on that one staying first in the heap.
        heappush(self._timers, (max(due_ns, self._firing_at + 1), self._order, callback))

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._epoll.close()

    def run(self) -> None:
        """Serve until `stop()`."""
        self._stopped = False
        handlers = self._handlers
        while not self._stopped:
            wait_seconds = self._fire_due()
            for fd, events in self._poll(wait_seconds):
                handler = handlers.get(fd)
                if handler is not None:
                    handler(events)

    def run_until(self, due_ns: int) -> None:
        self.call_at(due_ns, self._stop_at)
        self.run()

    def _stop_at(self, _due_ns: int) -> int:
        self._stopped = True
        return 0

    def _poll(self, wait_seconds: float) -> list[tuple[int, int]]:
        if wait_seconds <= 0:
            return self._epoll.poll(0)
        if wait_seconds < 0.002:
            if not select.select((self._fd,), (), (), wait_seconds)[0]:
                return []
            return self._epoll.poll(0)
        # Rounded down to whole milliseconds, so that the last stretch goes through select.
        return self._epoll.poll(min(int(wait_seconds * 1000) / 1000, 60.0))

    def _fire_due(self) -> float:
        """Run what is due; returns the seconds until the next timer: 60 without one, 0 if some are still due."""
        timers = self._timers
        now = time.monotonic_ns()
        self._firing_at = now
        for _ in range(MAX_TIMERS_PER_ROUND):
            if not timers:
                return 60.0
            due, order, callback = timers[0]
            if due > now:
                return max((due - time.monotonic_ns()) / 1e9, self._granularity_seconds)
            due = callback(due)
            if due:
                heapreplace(timers, (due, order, callback))
            else:
                heappop(timers)
            if self._stopped:
                break
        return 0.0
