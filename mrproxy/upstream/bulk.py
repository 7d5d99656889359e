"""Shell. The middle of a long answer that nobody has to read: from the backend's socket to the client's, by splice(2).

The bytes go through a pipe in the kernel and never enter the process. A relay whose answer has a length and whose tap
looks at its end only (images, audio, embeddings) makes a `Bulk`, which takes its place in the poller, moves its share
and gives the place back: the end of the body is the relay's again. Deadlines stay with the relay all the time, and
whatever ends it ends its bulk: the pipe goes back to its pool if it is empty, else it is closed with what is in it.
Backpressure: nothing is read while the pipe holds what the client does not take.
Edge-triggered, as all sources of the poller: it reads and writes until EAGAIN, or asks to be served again.
What goes wrong on the backend's side is left for the relay to find: it reads the same socket, and hears the same.
Read first: `pump.py`.
"""

import fcntl
import os
from contextlib import suppress
from os import SPLICE_F_MOVE, SPLICE_F_NONBLOCK, splice
from typing import Protocol

from mrproxy.canonical.exchange import Exchange
from mrproxy.sockets import GONE, Lagging, Poller

# Shorter rests are not worth two more system calls and a pipe.
BULK_BYTES = 65536
_FLAGS = SPLICE_F_NONBLOCK | SPLICE_F_MOVE
# As much as a relay reads in a row: then others have their turn. It is the size of a pipe, too: 8 MiB at 64 KiB a time
# cost half of what copying costs (470 µs per MiB), and a little less so.
_TURN_BYTES = 262144
# Two descriptors each. Whoever finds none left copies, as before.
_MAX_PIPES = 64
_MAX_IDLE = 4


class Pipe:
    """Both ends of one, non-blocking."""

    __slots__ = ("inlet", "outlet")

    def __init__(self) -> None:
        """Raises OSError: out of descriptors."""
        self.outlet, self.inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # The user's share of pipe memory may be used up (pipe(7), pipe-user-pages-soft): a small one does it, too.
        with suppress(OSError):
            fcntl.fcntl(self.inlet, fcntl.F_SETPIPE_SZ, _TURN_BYTES)

    def close(self) -> None:
        """With what is in it."""
        os.close(self.inlet)
        os.close(self.outlet)


class Pipes:
    """One backend's pipes: `open_pipes` are idle or in use, at most _MAX_PIPES."""

    def __init__(self) -> None:
        self._idle: list[Pipe] = []
        self.open_pipes = 0

    @property
    def idle_pipes(self) -> int:
        return len(self._idle)

    def take(self) -> Pipe | None:
        """An empty pipe; None if there are too many, or no descriptors."""
        if self._idle:
            return self._idle.pop()
        if self.open_pipes >= _MAX_PIPES:
            return None
        try:
            pipe = Pipe()
        except OSError:
            return None
        self.open_pipes += 1
        return pipe

    def give_back(self, pipe: Pipe, *, is_empty: bool) -> None:
        """What is left in a pipe belongs to nobody: such a one is closed."""
        if is_empty and len(self._idle) < _MAX_IDLE:
            self._idle.append(pipe)
        else:
            self._close(pipe)

    def close_idle(self) -> None:
        while self._idle:
            self._close(self._idle.pop())

    def _close(self, pipe: Pipe) -> None:
        pipe.close()
        self.open_pipes -= 1


class Owner(Protocol):
    """The relay."""

    exchange: Exchange
    last_at: float

    @property
    def is_waiting(self) -> bool:
        """The client has not taken yet what came before."""

    def resume(self, left: int, flags: int, now: float) -> None:
        """The bulk is over, with so many bytes of its share not moved; `flags` came with the last events."""

    def abandon(self) -> None: ...

    def crash(self) -> None: ...


class Taker(Protocol):
    """The client."""

    lagging: Lagging | None


class Bulk:
    """`share` bytes on their way from one socket to another. Begins when it is first served; ends by `Owner.resume`,
    or by `release`."""

    __slots__ = (
        "_backend_fd", "_client", "_client_fd", "_flags", "_held", "_left", "_owner", "_pipe", "_pipes", "_poller",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        poller: Poller,
        pipes: Pipes,
        pipe: Pipe,
        backend_fd: int,
        client: Taker,
        client_fd: int,
        share: int,
    ) -> None:
        self._owner = owner
        self._poller = poller
        self._pipes = pipes
        self._pipe: Pipe | None = pipe
        self._backend_fd = backend_fd
        self._client = client
        self._client_fd = client_fd
        self._left = share
        self._held = 0  # in the pipe
        self._flags = 0

    @property
    def is_lagging(self) -> bool:
        """The pipe holds what the client has not taken."""
        return self._held > 0

    def on_ready(self, flags: int, now: float) -> None:
        """The backend's socket has something."""
        self._flags |= flags & GONE
        if self._pipe is None or self._held or self._owner.is_waiting:
            return  # over, and served once more; or the client lags
        self._move(self._pipe, now)

    def on_client_writable(self, now: float) -> None:
        """The client has room again."""
        pipe = self._pipe
        if pipe is not None and self._drain(pipe, now):
            self._client.lagging = None
            self._move(pipe, now)

    def crash(self) -> None:
        """A bug in the code above."""
        self._owner.crash()

    def release(self) -> None:
        """It moves nothing more."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pipes.give_back(pipe, is_empty=not self._held)
        if self._client.lagging is self:
            self._client.lagging = None

    def _move(self, pipe: Pipe, now: float) -> None:
        stops_at = max(0, self._left - _TURN_BYTES)
        while self._left > stops_at:
            if not self._fill(pipe, self._left - stops_at, now) or not self._drain(pipe, now):
                return
        if self._left:
            self._poller.again(self)
        else:
            self._hand_back(now)

    def _fill(self, pipe: Pipe, most: int, now: float) -> bool:
        """The empty pipe, from the backend. False: there is nothing, or nothing more."""
        try:
            count = splice(self._backend_fd, pipe.inlet, most, flags=_FLAGS)
        except BlockingIOError:
            return False
        except OSError:
            count = 0  # broken, or a kind of socket that cannot do this
        if not count:
            self._hand_back(now)
            return False
        self._left -= count
        self._held = count
        self._owner.last_at = now
        return True

    def _drain(self, pipe: Pipe, now: float) -> bool:
        """To the client. False: it does not take everything now, or is gone."""
        while self._held:
            try:
                sent = splice(pipe.outlet, self._client_fd, self._held, flags=_FLAGS)
            except BlockingIOError:
                self._client.lagging = self
                return False
            except OSError:
                self._owner.abandon()
                return False
            self._held -= sent
            self._owner.exchange.answer_bytes += sent
            self._owner.last_at = now
        return True

    def _hand_back(self, now: float) -> None:
        self.release()
        self._owner.resume(self._left, self._flags, now)
