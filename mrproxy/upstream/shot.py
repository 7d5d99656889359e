"""Shell. A shot: an exchange that will probably be one request and one answer, each in one piece.

Most answers that are not streams arrive whole, with a head that repeats the one before. For these a `Relay` with its
forty fields is not made at all: a tenth of the work of such a request. Whatever else happens (half an answer, an error,
a silence, a client that leaves or lags) *unfolds* the shot: a relay takes its place and goes on.
Read next: `pump.py`, whose relays they are; `mrproxy/attempts.py`, the owner.
"""

from typing import Protocol

from mrproxy.canonical.exchange import Exchange
from mrproxy.errors import BackendError
from mrproxy.sockets import GONE, IN, RECEIVE_BYTES
from mrproxy.upstream.answer import Answer, answer_head
from mrproxy.upstream.live import Downstream, Pump
from mrproxy.upstream.pool import Connection
from mrproxy.upstream.pump import Relay


class Owner(Protocol):
    """Whose request it is."""

    def unfold(self, connection: Connection) -> Relay:
        """A relay for the rest; it tells the owner of its end."""

    def delivered(self, body: bytes, now: float) -> None:
        """The client has the whole answer."""


class Shot:
    """`start` it; it ends by `Owner.delivered`, or as a relay."""

    __slots__ = ("_connection", "_downstream", "_exchange", "_first_byte_seconds", "_owner", "_pump", "last_at")
    answer: Answer | None = None  # nothing was heard of it; when something is, it ends

    def __init__(
        self,
        pump: Pump,
        connection: Connection,
        downstream: Downstream,
        exchange: Exchange,
        owner: Owner,
        first_byte_seconds: float,
    ) -> None:
        self._pump = pump
        self._connection = connection
        self._downstream = downstream
        self._exchange = exchange
        self._owner = owner
        self._first_byte_seconds = first_byte_seconds
        self.last_at = 0.0

    def start(self, request: bytes, now: float) -> None:
        """Send the request."""
        exchange, connection, pump = self._exchange, self._connection, self._pump
        self.last_at = exchange.sent_at = now
        exchange.is_sent = True
        pump.relays.add(self)
        pump.poller.sources[connection.fd] = self
        try:
            sent = connection.sock.send(request)
        except OSError:
            sent = 0  # if it is broken, the relay will hear the same
        if sent != len(request):
            self._unfold().send_rest(request[sent:])

    def on_ready(self, flags: int, now: float) -> None:
        """The answer, usually."""
        pump = self._pump
        if flags & GONE:
            self._unfold().on_ready(flags, now)
            return
        if not flags & IN:
            return
        try:
            data = self._connection.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        count = len(data)
        answer, start, length = pump.answers.find_repeated(data)
        if answer is None or start + length != count or count == RECEIVE_BYTES or self._downstream.is_draining:
            self._unfold().receive_first(data, now)
            return
        self._deliver(answer, data[start:], now)

    def _deliver(self, answer: Answer, body: bytes, now: float) -> None:
        exchange, pump = self._exchange, self._pump
        exchange.first_byte_at = now
        exchange.status = answer.head.status
        whole = answer_head(answer, b"content-length: %d\r\n" % len(body), exchange, pump.backend_line, now, body)
        try:
            sent = self._downstream.sock.send(whole)
        except OSError:
            sent = 0  # no room, or the client is gone: the relay will hear the same
        exchange.answer_bytes = sent
        if sent != len(whole):
            self._unfold().deliver_rest(answer, body, whole[sent:], now)
            return
        self._owner.delivered(body, now)
        # Last: a bug in the line above may still unfold, which needs the connection.
        pump.relays.discard(self)
        if answer.head.reusable:
            self._connection.give_back(now)
        else:
            self._connection.close()

    # What ends it before the answer

    def check(self, now: float) -> None:
        """Called now and then: is it late?"""
        total = self._pump.pace.total_deadline_seconds
        if now - self.last_at > self._first_byte_seconds or (total and now - self._exchange.started_at > total):
            self._unfold().check(now)

    def fail(self, error: BackendError) -> None:
        """The backend is withdrawn, or the process ends."""
        self._unfold().fail(error)

    def crash(self) -> None:
        """A bug in the code above."""
        self._unfold().crash()

    def abandon(self) -> None:
        """The client left."""
        self._unfold().abandon()

    def _unfold(self) -> Relay:
        relay = self._owner.unfold(self._connection)
        self._pump.relays.discard(self)
        relay.take_over(self.last_at)
        return relay
