"""Shell. Raw non-blocking sockets under trio: the edge-triggered poller, accepting, connecting, bridging.

A `Poller` is one epoll of our own in which a socket is registered once, for its whole life, edge-triggered and for
everything (readable, writable, peer gone). One task waits for that epoll and then calls the sources of every ready
socket, synchronously: no task switch and no `epoll_ctl` per event. trio's own `wait_readable` costs both, each time.
Rules: a source tries the system call first and waits after EAGAIN or a short read (epoll(7), "edge-triggered");
whoever stops before that remembers it and asks `again`.
Who uses it: the front door for its clients and each backend's pump for its connections, all in one poller per worker.
"""

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final, Protocol, Self

import trio

IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT
# The peer closed its writing half, or all of it, or the connection broke: it is not waiting for us any more.
GONE: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_EVERYTHING: Final = IN | OUT | select.EPOLLRDHUP | select.EPOLLET

RECEIVE_BYTES: Final = 65536
_SOURCES_AT_ONCE: Final = 256
# After so many events other tasks get a turn. 64 events are about a millisecond.
_EVENTS_PER_TURN: Final = 64
# 500 events a second keep a poller in its own epoll.
_LINGER_SECONDS: Final = 0.002
# Trio's deadlines are late by that much at most, which none minds; its sockets end a turn, see `_Trio`.
# A trip through trio's run loop with cold caches is 40 µs: each 4 ms, it is 6 % of what a token costs at 200 streams.
_TURN_SECONDS: Final = 0.02
# The first turn, before trio's sockets are watched; and all, should they ever be out of reach.
_SHORT_TURN_SECONDS: Final = 0.004
# The most that a TLS record holds (RFC 8446 §5.1): a peer that takes one is not idle.
_RECORD_BYTES: Final = 16384
# A TLS goodbye that the peer does not read is not waited for longer.
_GOODBYE_SECONDS: Final = 2.0


class Source(Protocol):
    """A registered socket's owner. `flags` are epoll's; `now` is trio time, read once per batch."""

    def on_ready(self, flags: int, now: float) -> None: ...


class Lagging(Protocol):
    """Who waits until a client has room again."""

    def on_client_writable(self, now: float) -> None: ...


class _Runnable(trio.abc.Instrument):
    """The tasks that trio has scheduled and not yet run: while there are any, nobody may linger.

    A set and not a count: tasks that were scheduled before we looked took a count below zero for good.
    """

    def __init__(self) -> None:
        self.tasks: set[trio.lowlevel.Task] = set()

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self.tasks.add(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.tasks.discard(task)


class _Trio:
    """Trio's own sockets (accepting, connecting, TLS, threads that are done) as a source of ours: they end a turn.

    Watched only while we linger: trio watches us otherwise, and two epolls may not watch each other (ELOOP).
    """

    def __init__(self, poller: "Poller") -> None:
        self._poller = poller
        self._fd = trio_epoll_fd()
        self.is_ready = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def on_ready(self, _flags: int, _now: float) -> None:
        self.is_ready = True

    def watch(self) -> float:
        """How long the next turn may be."""
        self.is_ready = False
        if self._fd < 0:
            return _SHORT_TURN_SECONDS
        if not self._poller.is_registered(self._fd):
            trio.lowlevel.notify_closing(self._poller.fileno())  # trio keeps what it watched once, and forgets it so
            self._poller.register(self._fd, self)
        return _TURN_SECONDS

    def leave(self) -> None:
        self._poller.unregister(self._fd)


def trio_epoll_fd() -> int:
    """Of the present run. A private name (as of trio 0.35); -1 if it is not there any more: then turns stay short."""
    try:
        return int(trio._core._run.GLOBAL_RUN_CONTEXT.runner.io_manager._epoll.fileno())
    except AttributeError:
        return -1


class Poller:
    """An edge-triggered epoll and its sources. One per worker.

    `crashed(source, error)` is the border: a bug in one source must not stop the others.
    """

    def __init__(self, crashed: Callable[[Source, Exception], None]) -> None:
        self._epoll = select.epoll()
        self._crashed = crashed
        self._again: deque[Source] = deque()
        # By descriptor; whoever is registered may put another in its place. A list touches one cache line where a dict
        # touches three. The last place is no descriptor's, so that -1, a closed one, is harmless.
        self.sources: list[Source | None] = [None] * _SOURCES_AT_ONCE
        self.now = 0.0
        # Called after a batch of events in which something set `has_ended`: for what is cheaper for many at once.
        self.after_batch: Callable[[], None] = lambda: None
        self.has_ended = False
        self.is_serving = False
        # trio's time in one call instead of the four of trio.current_time(); a MockClock is honoured.
        self.clock: Callable[[], float] = trio.current_time

    def fileno(self) -> int:
        return self._epoll.fileno()

    def register(self, fd: int, source: Source) -> None:
        while fd >= len(self.sources) - 1:
            self.sources[-1] = None
            self.sources += [None] * _SOURCES_AT_ONCE
        self.sources[fd] = source
        self._epoll.register(fd, _EVERYTHING)

    def unregister(self, fd: int) -> None:
        """Before the socket is closed. Events already fetched for it find no source."""
        if self.is_registered(fd):
            self.sources[fd] = None
            self._epoll.unregister(fd)

    def is_registered(self, fd: int) -> bool:
        return 0 <= fd < len(self.sources) and self.sources[fd] is not None

    def again(self, source: Source) -> None:
        """Serve this source once more in the next round, as readable."""
        self._again.append(source)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve events for ever; the caller's nursery owns the task.

        Going back to trio after each event costs more than the event (12 µs: run loop, nested epoll, epoll_ctl). So
        while nobody else is runnable we linger in our own epoll, and return when it was silent for _LINGER_SECONDS,
        when a task became runnable, when one of trio's sockets is ready, or after _TURN_SECONDS.
        """
        self.clock = trio.lowlevel.current_clock().current_time
        self.now = self.clock()
        runnable = _Runnable()
        trio.lowlevel.add_instrument(runnable)
        try:
            task_status.started()
            with _Trio(self) as trios:
                await self._serve_for_ever(runnable.tasks, trios)
        finally:
            trio.lowlevel.remove_instrument(runnable)

    async def _serve_for_ever(self, waiting: set[trio.lowlevel.Task], trios: _Trio) -> None:
        epoll, again, clock = self._epoll, self._again, self.clock
        fd = epoll.fileno()
        while True:
            if not again:
                trios.leave()
                await trio.lowlevel.wait_readable(fd)
            turn_ends_at = clock() + _SHORT_TURN_SECONDS
            while True:
                events = epoll.poll(0 if again or waiting else _LINGER_SECONDS, _EVENTS_PER_TURN)
                self.now = now = clock()
                if events:
                    self._serve(events)
                elif not again and not waiting:
                    break
                if again:
                    self._serve_again()
                if waiting or trios.is_ready or now > turn_ends_at:
                    await trio.lowlevel.checkpoint()
                    turn_ends_at = clock() + trios.watch()

    def _serve(self, events: list[tuple[int, int]]) -> None:
        sources, now = self.sources, self.now
        self.is_serving = True
        for fd, flags in events:
            source = sources[fd]
            if source is not None:
                try:
                    source.on_ready(flags, now)
                except Exception as error:
                    self._crashed(source, error)
        self.is_serving = False
        if self.has_ended:
            self._end_batch()

    def _end_batch(self) -> None:
        self.has_ended = False
        self.after_batch()

    def _serve_again(self) -> None:
        self.is_serving = True
        for _ in range(len(self._again)):
            source = self._again.popleft()
            try:
                source.on_ready(IN, self.now)
            except Exception as error:
                self._crashed(source, error)
        self.is_serving = False
        if self.has_ended:
            self._end_batch()

    def close(self) -> None:
        self._epoll.close()
        self.sources = [None] * len(self.sources)


async def accept_some(listener: socket.socket) -> list[tuple[socket.socket, str]]:
    """Wait for connections and accept what is there: (non-blocking socket, peer address). Raises OSError.

    One wake-up serves a burst; at most 64, so that a flood of connections leaves turns to others.
    """
    await trio.lowlevel.wait_readable(listener.fileno())
    accepted: list[tuple[socket.socket, str]] = []
    while len(accepted) < _EVENTS_PER_TURN:
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            break
        except OSError:
            if accepted:  # out of descriptors: serve those we have, the next call reports it
                break
            raise
        sock.setblocking(False)
        if listener.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.append((sock, address[0] if isinstance(address, tuple) else ""))
    return accepted


async def connect_tcp(host: str, port: int) -> socket.socket:
    """A connected non-blocking socket with TCP_NODELAY; tries every address in turn. Raises OSError.

    Cancelled closes what was opened.
    """
    error: OSError | None = None
    addresses = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in addresses:
        raw = trio.socket.socket(family, kind, protocol)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await raw.connect(address)
        except OSError as exc:
            raw.close()
            error = exc
        except BaseException:
            raw.close()
            raise
        else:
            return _detached(raw)
    raise error or OSError(f"no address for {host}")


async def connect_unix(path: str) -> socket.socket:
    """A connected non-blocking Unix socket. Raises OSError."""
    raw = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await raw.connect(path)
    except BaseException:
        raw.close()
        raise
    return _detached(raw)


def _detached(raw: trio.socket.SocketType) -> socket.socket:
    """Take a socket out of trio's hands; it stays non-blocking."""
    plain = socket.socket(fileno=raw.detach())
    plain.setblocking(False)
    return plain


async def bridge(
    outer: trio.abc.Stream, inner: socket.socket, *, write_idle_seconds: float, most_inward_bytes: float = inf
) -> None:
    """Copy between a stream and a socket until either side closes; closes both.

    It also ends when `outer` takes nothing for `write_idle_seconds` (0: no matter how long), and before `outer` has
    said more than `most_inward_bytes`.

    This is the slow path of TLS (the fast code keeps a plain socket, the other end of a pair) and of WebSockets. Two
    copies and a pair of tasks per connection; when one side ends, both end, so a departure is seen through it.
    """
    plain = trio.SocketStream(trio.socket.from_stdlib_socket(inner))
    try:
        async with trio.open_nursery() as nursery:
            both = nursery.cancel_scope
            nursery.start_soon(_copy, outer, plain, both, inf, most_inward_bytes)
            nursery.start_soon(_copy, plain, outer, both, write_idle_seconds or inf, inf)
    finally:
        await trio.aclose_forcefully(plain)
        with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
            await outer.aclose()


async def _copy(
    source: trio.abc.ReceiveStream,
    sink: trio.abc.SendStream,
    both: trio.CancelScope,
    idle_seconds: float,
    most_bytes: float,
) -> None:
    try:
        while (data := await source.receive_some(RECEIVE_BYTES)) and len(data) <= most_bytes:
            most_bytes -= len(data)
            for start in range(0, len(data), _RECORD_BYTES):
                with trio.fail_after(idle_seconds):
                    await sink.send_all(data[start : start + _RECORD_BYTES])
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ssl.SSLError):
        pass
    both.cancel(reason="one side of the bridge closed")
