"""Shell. One client's connection: reads heads and bodies, writes answers, notices that the client has left.

The socket is registered in the poller for its whole life, so the same events serve three purposes: bytes of a request
wake the connection's fiber, room to write wakes it or the relay that lags, and a departure while a request is under
way ends the fiber, wherever it waits. A half-close counts as leaving, as in nginx.
Deadlines are kept by the door's sweep (`deadline_at`), not by a cancel scope each: 5 µs a request, measured.
Read next: `mrproxy/lifecycle.py`, which drives it.
"""

import enum
import socket
from collections.abc import Callable
from typing import Protocol

from mrproxy.accept.heads import Head, HeadCache
from mrproxy.config import Settings
from mrproxy.errors import ClientError, Code
from mrproxy.fibers import Departed, Fiber, Waker
from mrproxy.sockets import GONE, IN, OUT, RECEIVE_BYTES, Lagging, Poller
from mrproxy.wire.chunked import ChunkedDecoder

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# The socket is closed this long after a refusal, so that a client that still uploads can read it (RFC 9112 §9.6).
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 20
_PIPELINED_AT_ONCE = 16
# Old browsers sent one behind a form. nginx takes any number.
_MAX_EMPTY_LINES = 8
_NEVER = float("inf")


class Wake(enum.Enum):
    READY = enum.auto()
    LATE = enum.auto()
    DRAIN = enum.auto()
    BEGUN = enum.auto()  # an express request needs the fiber after all


class Begun(Protocol):
    """A request that went the express way and is under way, or ended in a way that needs the fiber."""

    def abandon(self) -> None:
        """The client left, or everything ends."""


# Tries to serve the next request without waking the fiber; false, with nothing changed, if that cannot be done.
Express = Callable[["Client", Head], bool]


class Client:
    """A connection. `is_busy` is true while a request is being served: then a departure ends the fiber.

    `address` is whom its last request came from: behind a trusted proxy another one than `peer_address`.
    """

    __slots__ = (
        "_express", "_heads", "_idle_head", "_inbox", "_is_idle", "_last_head", "_poller", "_pushed_back", "_reader",
        "_writer", "address", "begun", "content_length", "deadline_at", "fiber",
        "has_unread_body", "is_busy", "is_draining", "is_gone", "is_readable", "is_tunnel", "lagging", "peer_address",
        "requests", "settings", "sock",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        poller: Poller,
        heads: HeadCache,
        settings: Settings,
        fiber: Fiber,
        express: Express | None = None,
    ) -> None:
        self.sock = sock
        self.address = self.peer_address = address
        self.settings = settings
        self.fiber = fiber
        self.deadline_at = poller.clock() + settings.head_deadline_seconds
        self.content_length = -1
        self.has_unread_body = False
        self.is_busy = False
        self.is_draining = False
        self.is_gone = False
        self.is_readable = False
        self.is_tunnel = False
        self.lagging: Lagging | None = None
        self.requests = 0
        self.begun: Begun | None = None
        self._express = express
        self._last_head: Head | None = None
        self._is_idle = False
        self._idle_head: Head | None = None  # while idle: the head that an express request must repeat
        self._poller = poller
        self._heads = heads
        self._inbox = b""
        self._pushed_back = b""
        self._reader: Waker[Wake] = Waker(fiber)
        self._writer: Waker[Wake] = Waker(fiber)

    # Events, called by the door

    def on_ready(self, flags: int, now: float) -> None:
        if flags & (IN | GONE):
            self.is_readable = True
            if flags & GONE:
                self.is_gone = True
                if self.is_busy:
                    self.leave()
                    return
            if self._reader.is_waited_for and not self.is_busy:
                head = self._idle_head
                if head is None or self._express is None or self.is_gone or not self._express(self, head):
                    self._reader.wake(Wake.READY)
        if flags & OUT:
            if self.lagging is not None:
                self.lagging.on_client_writable(now)
            elif self._writer.is_waited_for:
                self._writer.wake(Wake.READY)

    def on_late(self) -> None:
        """The deadline has passed."""
        if self._reader.is_waited_for:
            self._reader.wake(Wake.LATE)
        elif self._writer.is_waited_for:
            self._writer.wake(Wake.LATE)

    def on_drain(self) -> None:
        """Idle connections close now, busy ones after their answer."""
        self.is_draining = True
        if self.is_tunnel:
            self.leave()  # a WebSocket has no end to wait for
        elif self._is_idle and self._reader.is_waited_for and not self.is_busy:
            self._reader.wake(Wake.DRAIN)

    def leave(self) -> None:
        """End the connection, whatever it is doing."""
        begun = self.begun
        if begun is not None:
            begun.abandon()
        self.fiber.leave()

    # The express way, called by mrproxy/express.py

    def receive_now(self) -> bytes:
        """What the socket has, without waiting; empty if there is nothing (more)."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except OSError:
            return b""
        self.is_readable = not data or len(data) == RECEIVE_BYTES
        return data

    def push_back(self, data: bytes) -> None:
        """Not for the express way: the fiber reads it as if it had just arrived."""
        self._pushed_back = data

    def set_begun(self, begun: Begun) -> None:
        self.begun = begun
        self.is_busy = True
        self.deadline_at = _NEVER

    def end_begun(self) -> None:
        """The express request is complete; who has been waiting for that goes on."""
        self.begun = None
        self.requests += 1
        self.end()
        if self.is_draining:
            self._reader.wake(Wake.DRAIN)
        elif self.is_readable:
            self._reader.wake(Wake.READY)

    def hand_over(self) -> None:
        """The express request needs the fiber: `next_head` returns None and `begun` is set."""
        self._reader.wake(Wake.BEGUN)

    # Reading a request

    async def next_head(self) -> Head | None:
        """The next request's head; None when the connection is over. `content_length` is its length or -1.

        Raises ClientError (the head is wrong or late) and Departed.
        """
        settings = self.settings
        inbox = self._inbox
        if inbox and self.requests % _PIPELINED_AT_ONCE == 0:
            await self._give_turn()  # a pipeline may be of answers that need no backend
        empty_lines = 0
        if inbox:
            self.deadline_at = self._poller.now + settings.head_deadline_seconds
        while True:
            if inbox:
                end = inbox.find(b"\r\n\r\n")
                if end == 0 or (end < 0 and inbox[:2] == b"\r\n"):
                    empty_lines += 1
                    if empty_lines > _MAX_EMPTY_LINES:
                        raise ClientError(Code.BAD_REQUEST, "empty lines in place of a request", closes=True)
                    inbox = inbox[2:]  # an empty line before a request line is skipped (RFC 9112 §2.2)
                    continue
                if end >= 0:
                    break
                if inbox != b"\r":
                    self._check_unfinished_head(inbox)
            if not inbox:
                self._is_idle, self._idle_head = True, self._last_head
            data = await self._receive(Code.HEAD_TIMEOUT if inbox else None)
            self._is_idle, self._idle_head = False, None
            if not data:
                if inbox and not self.is_draining:
                    raise Departed
                return None
            if not inbox:
                self.deadline_at = self._poller.now + settings.head_deadline_seconds
            inbox = inbox + data if inbox else data
        end += 4
        if end > settings.max_head_bytes:
            self._check_unfinished_head(inbox[:end])
        self._inbox = inbox[end:]
        self.requests += 1
        head, length = self._heads.find(inbox[:end], settings.max_headers, settings.max_target_bytes)
        self.content_length = length
        self.has_unread_body = length > 0 or head.http.chunked
        self._last_head = None
        return head

    def keep_head(self, head: Head) -> None:
        """Its caller is known: remember it, for the next requests with the same one."""
        if head.key:
            self._heads.keep(head)
        if head.is_plain and head.repetition is not None:
            self._last_head = head

    def _check_unfinished_head(self, inbox: bytes) -> None:
        settings = self.settings
        line_end = inbox.find(b"\r\n")
        if line_end < 0 and len(inbox) > settings.max_target_bytes + 32:
            raise ClientError(Code.TARGET_TOO_LONG, "request line too long", closes=True)
        if len(inbox) > settings.max_head_bytes:
            raise ClientError(
                Code.HEAD_TOO_LARGE, f"request head larger than {settings.max_head_bytes} bytes", closes=True
            )
        if inbox.count(b"\n") != inbox.count(b"\r\n"):
            raise ClientError(Code.BAD_REQUEST, "bare LF in the request head", closes=True)
        if inbox[0] < 32 or inbox[0] > 126:
            raise ClientError(Code.BAD_REQUEST, "this is not an HTTP/1.1 request", closes=True)

    async def read_body(self, head: Head, max_bytes: int | None = None) -> bytes:
        """The whole body, of `max_body_bytes` or `max_bytes` at most.

        Raises ClientError (too large, too slow, malformed) and Departed.
        """
        if max_bytes is None:
            max_bytes = self.settings.max_body_bytes
        length = self.content_length
        inbox = self._inbox
        if length > max_bytes:
            raise _too_large(max_bytes)
        if 0 <= length <= len(inbox):
            self._inbox = inbox[length:]
            self.has_unread_body = False
            return inbox[:length] if self._inbox else inbox
        if head.http.chunked:
            return await self._read_chunked(head, max_bytes)
        if length < 0:
            return b""
        await self._continue(head)
        body = bytearray(inbox)
        self._inbox = b""
        while len(body) < length:
            self.deadline_at = self._poller.now + self.settings.body_idle_seconds
            data = await self._receive(Code.BODY_TIMEOUT)
            if not data:
                raise Departed
            body += data
            if self.is_readable:
                await self._give_turn()
        self._inbox = bytes(body[length:])
        self.has_unread_body = False
        return bytes(memoryview(body)[:length])

    async def _read_chunked(self, head: Head, max_bytes: int) -> bytes:
        await self._continue(head)
        decoder = ChunkedDecoder()
        body = bytearray()
        data = self._inbox
        self._inbox = b""
        while True:
            try:
                body += decoder.receive_data(data)
            except ValueError as exc:
                raise ClientError(Code.BAD_REQUEST, f"malformed chunked body: {exc}", closes=True) from None
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
            if decoder.is_done:
                self._inbox = decoder.rest
                self.has_unread_body = False
                return bytes(body)
            self.deadline_at = self._poller.now + self.settings.body_idle_seconds
            if self.is_readable:
                await self._give_turn()
            data = await self._receive(Code.BODY_TIMEOUT)
            if not data:
                raise Departed

    async def _give_turn(self) -> None:
        """Who sends as fast as we read must not keep the poller from everybody else."""
        self._poller.again(self)
        await self._reader.wait()

    async def _continue(self, head: Head) -> None:
        if head.http.expects_continue and not self._inbox:
            await self.send_all(_CONTINUE)

    def skip_body(self, head: Head) -> bool:
        """Drop an unread body that has arrived already; false when the connection must close because of it."""
        if not self.has_unread_body:
            return True
        if head.http.chunked or self.content_length > len(self._inbox):
            return False
        self._inbox = self._inbox[self.content_length :]
        self.has_unread_body = False
        return True

    async def _receive(self, late: Code | None) -> bytes:
        """What the socket has; waits if there is nothing. Empty when it is over (or, `late` None, idle too long)."""
        sock = self.sock
        while True:
            if self._pushed_back:
                data, self._pushed_back = self._pushed_back, b""
                return data
            if self.is_readable:
                try:
                    data = sock.recv(RECEIVE_BYTES)
                except BlockingIOError:
                    self.is_readable = False
                except OSError:
                    raise Departed from None
                else:
                    # After a short read the next arrival makes an event (epoll(7)), unless the peer closed already.
                    self.is_readable = len(data) == RECEIVE_BYTES or self.is_gone
                    return data
            elif self.is_draining and late is None:
                return b""
            else:
                wake = await self._reader.wait()
                if wake is Wake.LATE and late is not None:
                    raise ClientError(late, "the request did not arrive in time", closes=True)
                if wake is not Wake.READY:
                    return b""

    def begin(self) -> None:
        """A request is under way: from here a departure cancels. Raises Departed when it has happened already."""
        if self.is_gone:
            raise Departed
        self.is_busy = True
        self.deadline_at = _NEVER

    def end(self) -> None:
        """The request is over; the idle time begins."""
        self.is_busy = False
        self.deadline_at = self._poller.now + self.settings.keep_alive_idle_seconds

    # Writing an answer

    async def send_all(self, data: bytes) -> None:
        """Write everything. Raises Departed when the client is gone or takes nothing for too long."""
        view = memoryview(data)
        while True:
            try:
                sent = self.sock.send(view)
            except BlockingIOError:
                sent = 0
            except OSError:
                raise Departed from None
            view = view[sent:]
            if not view:
                return
            self.deadline_at = self._poller.now + self.settings.client_write_idle_seconds
            if await self._writer.wait() is not Wake.READY:
                raise Departed

    def send_at_once(self, data: bytes) -> bool:
        """Write a few bytes without waiting; false if they were not taken whole, and the stream cannot go on."""
        try:
            return self.sock.send(data) == len(data)
        except OSError:
            return False

    async def linger(self) -> None:
        """Say goodbye so that the last answer is read: stop writing, then read and drop for a moment."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return
        dropped = 0
        self.is_draining = False
        self.deadline_at = self._poller.clock() + _LINGER_SECONDS
        while dropped < _LINGER_BYTES and (data := await self._receive(None)):
            dropped += len(data)

    def detach(self) -> socket.socket:
        """The socket, out of the poller; the caller owns it. For a tunnel."""
        self._poller.unregister(self.sock.fileno())
        return socket.socket(fileno=self.sock.detach())

    def take_inbox(self) -> bytes:
        """What was read beyond the request: a tunnel's first bytes."""
        inbox, self._inbox = self._inbox, b""
        return inbox


def _too_large(limit: int) -> ClientError:
    return ClientError(Code.BODY_TOO_LARGE, f"request body larger than {limit} bytes", closes=True)
