"""Shell. The rest of a body whose answer is complete: read and dropped, so that its connection can be used again.

An engine's stream says that it has ended (`[DONE]`, `message_stop`, `done: true`) before its body does, sometimes long
before: servers send the last chunk on its own, and some close what they have open first. The client of a translated
answer does not wait for that. Bounded in time and size; whatever is odd closes the connection.
Read first: `pump.py`, whose relay leaves it behind.
"""

from mrproxy.errors import BackendError
from mrproxy.sockets import GONE, RECEIVE_BYTES
from mrproxy.upstream.answer import Answer
from mrproxy.upstream.live import Pump
from mrproxy.upstream.pool import Connection
from mrproxy.wire.chunked import ChunkedDecoder

_PATIENCE_SECONDS = 10.0
_MAX_BYTES = 65536


class Rest:
    """It begins with its making, in the relay's place, and ends by the connection's return to the pool or its close.

    `missing`: bytes of a body with a length; of one in chunks the `decoder` knows. `may_be_there`: no event will tell
    of what has arrived already.
    """

    __slots__ = ("_begun_at", "_connection", "_decoder", "_dropped_bytes", "_is_ending", "_missing", "_pump", "last_at")
    answer: Answer | None = None  # what is said now is no sign of life

    def __init__(
        self,
        pump: Pump,
        connection: Connection,
        decoder: ChunkedDecoder | None,
        missing: int,
        now: float,
        *,
        may_be_there: bool,
    ) -> None:
        self._pump = pump
        self._connection = connection
        self._decoder = decoder
        self._missing = missing
        self._dropped_bytes = 0
        self._is_ending = False
        self._begun_at = self.last_at = now
        pump.relays.add(self)
        pump.poller.sources[connection.fd] = self
        if may_be_there:
            pump.poller.again(self)

    def on_ready(self, flags: int, now: float) -> None:
        if self not in self._pump.relays:
            return  # it ended before its turn came
        if flags & GONE:
            self._is_ending = True
        while True:
            try:
                data = self._connection.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            is_all = len(data) < RECEIVE_BYTES and not self._is_ending
            if not data or self._has_ended(data):
                self._leave(is_clean=bool(data) and is_all, now=now)
                return
            if is_all:
                return

    def check(self, now: float) -> None:
        """Called now and then: does it take too long?"""
        if now - self._begun_at > _PATIENCE_SECONDS:
            self._leave(is_clean=False, now=now)

    def fail(self, _: BackendError) -> None:
        """The backend is withdrawn, or the process ends."""
        self._leave(is_clean=False, now=self.last_at)

    def crash(self) -> None:
        """A bug in the code above."""
        self._leave(is_clean=False, now=self.last_at)

    def _has_ended(self, data: bytes) -> bool:
        """The body has, or our patience; `_missing` is not 0 if it was no clean end."""
        self._dropped_bytes += len(data)
        decoder = self._decoder
        if decoder is None:
            self._missing -= len(data)
            return self._missing <= 0
        try:
            decoder.receive_data(data)
        except ValueError:
            self._missing = -1
            return True
        if decoder.is_done:
            self._missing = -len(decoder.rest)
        elif self._dropped_bytes > _MAX_BYTES:
            self._missing = -1
        return decoder.is_done or self._missing < 0

    def _leave(self, *, is_clean: bool, now: float) -> None:
        self._pump.relays.discard(self)
        if is_clean and not self._missing:
            self._connection.give_back(now)
        else:
            self._connection.close()
