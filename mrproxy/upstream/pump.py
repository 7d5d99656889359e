"""Shell. The relay: one live stream of a backend's pump (`live.py`). The worker's poller runs it.

Per token: one `recv`, one `send`, no task switch, no `epoll_ctl`, no allocation that outlives it: that is in `flow.py`.
Here is everything else, the slower way: chunk framing decoded, payload through the tap, framed anew.
The request's own fiber waits for `finished` and keeps what it holds; leaving the relay's `with` ends it, whatever the
reason: it is out of the poller, and an unfinished connection is closed, never pooled.
Backpressure: what the client does not take is kept (one read at most), the backend is not read meanwhile.
The middle of a long body with a length, which no tap has to see, is moved by a `Bulk` (`bulk.py`) in its place.
Read first: `flow.py`.
"""

import enum
import errno
import socket
from typing import Protocol, Self

from mrproxy.canonical.exchange import Exchange
from mrproxy.canonical.request import MEDIA
from mrproxy.dialects.tapping import TranslatingTap
from mrproxy.dialects.usage import Tap
from mrproxy.errors import BackendError, Code, Phase
from mrproxy.sockets import GONE, IN, OUT, RECEIVE_BYTES
from mrproxy.upstream.answer import MAX_HEAD_BYTES, Answer, answer_head, early_head, is_page
from mrproxy.upstream.bulk import BULK_BYTES, Bulk
from mrproxy.upstream.flow import Flow
from mrproxy.upstream.live import Downstream, Pump
from mrproxy.upstream.pool import Connection
from mrproxy.upstream.rest import Rest
from mrproxy.wire.chunked import LAST_CHUNK, ChunkedDecoder

# A backend's error is read whole before anybody decides about it; what is longer than this is cut.
_HELD_BYTES = 65536
_FULL_READS_AT_ONCE = 4  # 256 KiB, about 0.2 ms
_CHUNKED_LINE = b"transfer-encoding: chunked\r\n"


class Outcome(enum.Enum):
    """How a relay ended."""

    COMPLETE = enum.auto()  # the client has the whole answer
    HELD = enum.auto()  # an error answer, complete; the client has nothing
    FAILED = enum.auto()  # `error` says what the backend did
    CLIENT_GONE = enum.auto()
    CLIENT_SLOW = enum.auto()
    TUNNEL = enum.auto()  # 101: both sides speak something else now


class _Body(enum.Enum):
    """How the backend frames its body."""

    HEAD = enum.auto()  # not there yet
    SIZED = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()


# A module's global is found faster than a member of an enum: 20 ns, a dozen times per request.
_HEAD, _SIZED, _CHUNKED, _UNTIL_CLOSE = _Body.HEAD, _Body.SIZED, _Body.CHUNKED, _Body.UNTIL_CLOSE
_COMPLETE = Outcome.COMPLETE


class Finish(Protocol):
    """Who is told how a relay ended: the `Waker` of a fiber, or an express request."""

    def wake(self, value: Outcome, /) -> None: ...


class Relay(Flow):
    """One exchange on one connection. `start`, wait until `finished` is woken, and leave the `with`."""

    __slots__ = (
        "_body", "_bulk", "_decoder", "_downstream", "_ends_after_flush", "_finished", "_first_byte_seconds", "_frames",
        "_has_no_body", "_head_bytes", "_holds_errors", "_is_ending", "_is_http10", "_is_released", "_last_read_bytes",
        "_missing", "_owes_head", "_pending", "_pinged_at", "_pump", "_tap", "_translating", "_unsent", "answer",
        "connection", "error", "exchange", "held", "outcome",
    )  # fmt: skip

    def __init__(
        self,
        pump: Pump,
        connection: Connection,
        downstream: Downstream,
        exchange: Exchange,
        tap: Tap,
        first_byte_seconds: float,
        finished: Finish,
        *,
        holds_errors: bool = True,
        is_http10: bool = False,
        has_no_body: bool = False,
    ) -> None:
        super().__init__(connection, downstream, tap, pump.counters.inter_token)
        self._pump = pump
        self.connection = connection
        self._downstream = downstream
        self._tap = tap
        self._translating = tap if isinstance(tap, TranslatingTap) else None
        self._pinged_at = 0.0
        self._first_byte_seconds = first_byte_seconds
        self._holds_errors = holds_errors
        self._is_http10 = is_http10
        self._has_no_body = has_no_body
        self._body = _HEAD
        self._bulk: Bulk | None = None
        self._head_bytes = b""
        self._last_read_bytes = 0
        self._missing = 0
        self._decoder: ChunkedDecoder | None = None
        self._frames = False
        self._owes_head = False
        self._is_ending = False
        self._is_released = False
        self._unsent: bytes | memoryview = b""
        self._pending = b""
        self._ends_after_flush = False
        self.exchange = exchange
        self.answer: Answer | None = None
        self.held: bytearray | None = None
        self.error: BackendError | None = None
        self.outcome: Outcome | None = None
        self._finished = finished

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()  # does nothing after its end

    def abandon(self) -> None:
        """The client left, or the process ends: the backend sees it at once."""
        if self.outcome is None:
            self._finish(Outcome.CLIENT_GONE)

    # Sending the request

    def start(self, request: bytes, now: float) -> None:
        """Send the request; the answer's events follow by themselves."""
        self.last_at = self.exchange.sent_at = now
        self.exchange.is_sent = True
        self._pump.relays.add(self)
        self._pump.poller.sources[self.connection.fd] = self
        self._unsent = request
        self._send_request()

    def take_over(self, sent_at: float) -> None:
        """In the place of a shot, which has sent the request (`shot.py`)."""
        self.last_at = sent_at
        self._pump.relays.add(self)
        self._pump.poller.sources[self.connection.fd] = self

    def send_rest(self, request: bytes) -> None:
        """Of the request."""
        self._unsent = request
        self._send_request()

    def receive_first(self, data: bytes, now: float) -> None:
        """The first bytes of the answer; empty if it ended."""
        if not data:
            self._end_of_input()
            return
        self._receive(data, now)
        if self.outcome is None and not self._pending:
            self.on_ready(IN, now)  # what came meanwhile makes no event of its own after a read of all there was

    def deliver_rest(self, answer: Answer, body: bytes, rest: bytes, now: float) -> None:
        """The answer is complete, and the client has taken all but the rest of it."""
        self.answer = answer
        self._body = _SIZED
        self.last_at = now
        self._tap.receive_whole(body)
        self._release(is_clean=True)
        self._send_last(rest)

    def _send_request(self) -> None:
        try:
            sent = self.connection.sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as exc:
            self._broke(exc, Phase.SEND)
            return
        # A view: of a file, a copy of the rest for each piece that is taken would cost more than sending it.
        self._unsent = memoryview(self._unsent)[sent:] if sent < len(self._unsent) else b""

    # Receiving the answer

    def _on_ready(self, flags: int, now: float) -> None:
        if flags & GONE:
            self._is_ending = True
        if self._unsent and flags & OUT:
            self.last_at = now
            self._send_request()
        if self._pending or self._is_released:
            return  # the client lags: the kernel keeps it, and the backend feels it
        full_reads = 0
        while True:
            try:
                data = self._recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError as exc:
                self._receive_failed(exc)
                return
            self._on_data(data, now)
            if self._pending or not data or self.outcome is not None:
                return
            # After a short read the next arrival makes an event (epoll(7)), unless the end came already.
            if len(data) < RECEIVE_BYTES:
                if not self._is_ending:
                    return
            elif (full_reads := full_reads + 1) == _FULL_READS_AT_ONCE:
                self._pump.poller.again(self)  # a fast bulk answer takes turns with everybody else's tokens
                return

    def _on_data(self, data: bytes, now: float) -> None:
        if data:
            self._receive(data, now)
        else:
            self._end_of_input()

    def _receive_failed(self, exc: OSError) -> None:
        self._broke(exc, Phase.STREAM)

    def _client_left(self) -> None:
        self._finish(Outcome.CLIENT_GONE)

    def _receive(self, data: bytes, now: float) -> None:
        self._last_read_bytes = len(data)
        if self._body is not _HEAD:
            if self.held is None and not self._owes_head:
                self._inter_token.observe(now - self.last_at)
            self.last_at = now
            self._receive_body(data, b"")
            return
        if not self._head_bytes:
            answer, start, length = self._pump.answers.find_repeated(data)
            if answer is not None:
                if length == len(data) - start and not (self._tap.cuts or self._has_no_body or self.exchange.is_early):
                    self._deliver_whole(answer, data[start:], now)
                else:
                    self._begin(answer, length, data[start:], now)
                return
        raw = self._head_bytes + data
        while True:
            end = raw.find(b"\r\n\r\n") + 4
            if end < 4:
                self._head_bytes = raw
                if len(raw) > MAX_HEAD_BYTES:
                    self._fail_answer("its answer head is too large")
                return
            try:
                answer, length = self._pump.answers.find(raw[:end])
            except ValueError as exc:
                self._fail_answer(str(exc))
                return
            raw = raw[end:]
            if answer.head.status >= 200 or answer.head.upgrade:
                break  # anything else is an interim answer (RFC 9110 §15.2): the real one follows
        self._head_bytes = b""
        self._begin(answer, length, raw, now)

    def _deliver_whole(self, answer: Answer, body: bytes, now: float) -> None:
        """A sized answer that came in one piece, with a head that is known: most answers that are not streams."""
        exchange = self.exchange
        self.answer = answer
        exchange.first_byte_at = self.last_at = now
        exchange.status = answer.head.status
        self._tap.receive_whole(body)
        self._body = _SIZED
        self._close_if_draining()
        framing = b"content-length: %d\r\n" % len(body)
        whole = answer_head(answer, framing, exchange, self._pump.backend_line, now, body)
        self._release(is_clean=True)
        self._send_last(whole)

    def _begin(self, answer: Answer, length: int, rest: bytes, now: float) -> None:
        """The head is known: decide how the body goes on, and send what there is of it."""
        exchange = self.exchange
        exchange.first_byte_at = self.last_at = now
        self.answer = answer
        head = answer.head
        if head.upgrade and self._holds_errors:
            self._fail_answer("it switched protocols unasked")
            return
        if head.upgrade:
            self.held = bytearray(rest)
            self._recv = _receive_nothing  # what follows is for whoever detaches the socket
            self._finish(Outcome.TUNNEL)
            return
        if self._has_no_body:
            announced, length, rest = length, 0, b""
        else:
            announced = length
        if length >= 0 or self._has_no_body:
            self._body, self._missing = _SIZED, length
        elif head.chunked:
            self._body, self._decoder = _CHUNKED, ChunkedDecoder()
        else:
            self._body = _UNTIL_CLOSE
        if head.status >= 400 and self._holds_errors:
            self.held = bytearray()
            self._receive_body(rest, b"")
            return
        if is_page(answer) and self._holds_errors and exchange.operation not in MEDIA:
            self._fail_answer("it answered with a page")
            return
        exchange.status = head.status
        self._close_if_draining()
        if self._translating is not None:
            self.answer = Answer(head, self._translating.content_type)
        if exchange.is_early:  # the client has a head: chunks follow, whatever the backend's framing
            self._frames = True
            exchange.first_byte_at = None
            self._receive_body(rest, b"")
        elif self._body is _SIZED and not self._tap.cuts:
            framing = b"content-length: %d\r\n" % announced if announced >= 0 else b""
            self._receive_body(rest, answer_head(answer, framing, exchange, self._pump.backend_line, now))
            if self._missing > BULK_BYTES:
                self._begin_bulk()
        else:
            self._frames = not self._is_http10  # for HTTP/1.0 the body ends with the connection
            self._owes_head = True
            exchange.first_byte_at = None
            self._receive_body(rest, b"")

    def _begin_bulk(self) -> None:
        """Most of what is to come need not be seen: it is moved by somebody else, who begins in the next round."""
        pump, client = self._pump, self._downstream
        if self.outcome is not None or self._unsent:
            return
        pipe = pump.pipes.take()
        if pipe is None:
            return
        share = self._tap.skip(self._missing)
        if not share:
            pump.pipes.give_back(pipe, is_empty=True)
            return
        fd = self.connection.fd
        bulk = Bulk(self, pump.poller, pump.pipes, pipe, fd, client, client.sock.fileno(), share)
        self._bulk = bulk
        self._missing -= share
        self._recv = _receive_nothing
        pump.poller.sources[fd] = bulk
        pump.poller.again(bulk)

    def resume(self, left: int, flags: int, now: float) -> None:
        """After the bulk, which has left so much of its share, and the end of the body in any case."""
        self._bulk = None
        self._missing += left
        self._recv = self.connection.sock.recv
        self._pump.poller.sources[self.connection.fd] = self
        self.on_ready(flags, now)

    def _close_if_draining(self) -> None:
        """The drain began after the request did: the answer says that the connection ends with it."""
        exchange = self.exchange
        if self._downstream.is_draining and exchange.keep_alive:
            exchange.keep_alive = False
            exchange.answer_lines += b"connection: close\r\n"

    def _receive_body(self, data: bytes, head: bytes) -> None:
        """A piece of the body as the backend framed it. `head` goes out in the same write."""
        if self._body is _SIZED:
            payload = data[: self._missing]
            self._missing -= len(payload)
            self._deliver(payload, head, is_last=not self._missing, is_clean=len(payload) == len(data))
            return
        decoder = self._decoder
        if decoder is None:
            self._deliver(data, head, is_last=False, is_clean=False)
            return
        try:
            payload = decoder.receive_data(data)
        except ValueError as exc:
            self._fail_answer(str(exc))
            return
        self._deliver(payload, head, is_last=decoder.is_done, is_clean=not decoder.rest)
        # After the engine's goodbye no event tells of what is left: it is read to the end, the slower way.
        is_still = not (self._owes_head or self._pending or self._unsent or self._is_released or self._is_ending)
        self._is_fast = is_still and self._frames and decoder.is_between_chunks and self._tap.is_aligned

    def _deliver(self, payload: bytes, head: bytes, *, is_last: bool, is_clean: bool) -> None:
        """Payload to the tap, what it lets through to the client."""
        if self.held is not None:
            self.held += payload[: _HELD_BYTES - len(self.held)]
            if is_last:
                self._release(is_clean)
                self._finish(Outcome.HELD)
            return
        tap, translating = self._tap, self._translating
        out = tap.receive_data(payload) if payload else b""
        is_end = is_last
        if translating is not None:
            is_end = is_last or translating.has_ended
            if is_end:
                out += self._finish_translated(translating)
            if translating.failure:
                self._break_off(out, translating)
                return
            if translating.is_document:
                self._frames = False
        elif is_last:
            out += tap.finish()
        if self._frames:
            if out:
                out = b"%x\r\n%b\r\n" % (len(out), out)
            if is_end:
                out += LAST_CHUNK
        if self._owes_head and out:
            head = self._late_head(len(out))
        elif out and self.exchange.first_byte_at is None:
            self.exchange.first_byte_at = self.last_at
        out = head + out
        if not is_end:
            self._send(out)
            return
        if is_last:
            self._release(is_clean)
        else:
            self._leave_rest()
        self._send_last(out)

    def _finish_translated(self, tap: TranslatingTap) -> bytes:
        sent_at, first_at = self.exchange.sent_at, self.exchange.first_byte_at
        first_at = self.last_at if first_at is None else first_at
        tap.measured(self.last_at - sent_at, first_at - sent_at)
        return tap.finish()

    def _leave_rest(self) -> None:
        """The answer has ended, its body has not: for what is left of that the client need not wait."""
        self._is_released = True
        self._is_fast = False
        answer, connection = self.answer, self.connection
        if self._body is _UNTIL_CLOSE or self._unsent or answer is None or not answer.head.reusable:
            connection.close()
            return
        may_be_there = self._last_read_bytes == RECEIVE_BYTES or self._is_ending
        Rest(self._pump, connection, self._decoder, self._missing, self.last_at, may_be_there=may_be_there)

    def _break_off(self, out: bytes, tap: TranslatingTap) -> None:
        """What came cannot be translated to its end."""
        if out and self._frames:
            self._send((self._late_head(0) if self._owes_head else b"") + b"%x\r\n%b\r\n" % (len(out), out))
        if self.outcome is not None:
            return
        if tap.is_output_wrong:
            self.fail(BackendError(Code.OUTPUT_INVALID, tap.failure, phase=Phase.STREAM, retryable=False))
        else:
            self._fail_answer(tap.failure)

    def _late_head(self, length: int) -> bytes:
        """A stream's head goes out with its first event. Engines send theirs before they look at the prompt; until
        something follows, another backend may still be tried, a status still be said, and no first byte was seen."""
        self._owes_head = False
        answer, exchange = self.answer, self.exchange
        assert answer is not None
        exchange.first_byte_at = self.last_at
        framing = _CHUNKED_LINE if self._frames else b""
        translating = self._translating
        if translating is None:
            return answer_head(answer, framing, exchange, self._pump.backend_line, self.last_at)
        if translating.is_document:
            framing = b"content-length: %d\r\n" % length
        return answer_head(answer, framing, exchange, self._pump.translated_line, self.last_at)

    def _end_of_input(self) -> None:
        if self._body is _UNTIL_CLOSE:
            self._deliver(b"", b"", is_last=True, is_clean=False)
        elif self.held is not None:
            self._finish(Outcome.HELD)
        elif self._body is _HEAD:
            self._fail_answer("it closed the connection without an answer")
        else:
            self._fail_answer("it closed the connection in the middle of its answer")

    # The client's side

    def _send(self, data: bytes) -> None:
        if not data:
            return
        self.exchange.answer_bytes += len(data)
        try:
            sent = self._client_send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._client_left()
            return
        if sent != len(data):
            self._lag(data[sent:])

    def _send_last(self, data: bytes) -> None:
        """The answer ends with it, at once or when the client has taken it."""
        self._send(data)
        if self.outcome is None:
            if self._pending:
                self._ends_after_flush = True
            else:
                self._finish(_COMPLETE)

    def _lag(self, rest: bytes) -> None:
        """The client does not keep up: keep what it did not take, read no more until it has."""
        self._is_fast = False
        self._pending = rest
        self._downstream.lagging = self

    def on_client_writable(self, now: float) -> None:
        """The client has room again."""
        try:
            sent = self._client_send(self._pending)
        except BlockingIOError:
            return
        except OSError:
            self._client_left()
            return
        self.last_at = now
        self._pending = self._pending[sent:]
        if self._pending:
            return
        self._downstream.lagging = None
        if self._ends_after_flush:
            self._finish(_COMPLETE)
        elif self._bulk is not None:
            self._bulk.on_ready(0, now)
        else:
            self.on_ready(0, now)

    def take_pending(self) -> bytes:
        """After a failure: what the client must get before anything else."""
        pending, self._pending = self._pending, b""
        return pending

    def detach(self) -> socket.socket:
        """After TUNNEL: the backend's socket, out of the poller and out of the pool. The caller owns it."""
        return self.connection.detach()

    @property
    def is_waiting(self) -> bool:
        """For the client to take what was read."""
        return bool(self._pending)

    @property
    def has_heard(self) -> bool:
        """The backend has said something, be it half a head, or no head at all."""
        return self._last_read_bytes > 0

    @property
    def is_framed(self) -> bool:
        """The client gets chunks, so that an error can still be said in the stream."""
        return self._frames

    # The end

    def check(self, now: float) -> None:
        """Called now and then: is anything late?"""
        pace = self._pump.pace
        is_lagging = self._pending or (self._bulk is not None and self._bulk.is_lagging)
        if is_lagging and now - max(self.last_at, self._pinged_at) > pace.client_write_idle_seconds:
            self._finish(Outcome.CLIENT_SLOW)
        elif self._is_released:
            return  # complete, but for what the client has still to take
        elif pace.total_deadline_seconds and now - self.exchange.started_at > pace.total_deadline_seconds:
            self._time_out("the answer took too long in all", Phase.STREAM, is_final=True)
        elif is_lagging:
            return
        elif self._body is _HEAD or self._owes_head:
            if now - self.exchange.sent_at > self._first_byte_seconds:
                self._time_out("the backend did not begin to answer in time", Phase.FIRST_BYTE)
        elif now - self.last_at > pace.stream_idle_deadline_seconds:
            self._time_out("the backend stopped in the middle of its answer", Phase.STREAM)
        if self.outcome is None and pace.ping_seconds and self.exchange.streams:
            self._ping_if_silent(now, pace.ping_seconds)

    def _ping_if_silent(self, now: float, interval_seconds: float) -> None:
        """Proxies in between cut silent connections. The first ping before the answer sends the head: from then on it
        is a 200, and an error is an event. It counts as nothing said: another backend may still be tried."""
        if self._is_http10 or now - max(self.last_at, self._pinged_at) < interval_seconds:
            return
        ping = self._tap.ping()
        if not ping or self._is_released or self.held is not None:
            return
        exchange = self.exchange
        chunk = b"%x\r\n%b\r\n" % (len(ping), ping)
        if self._body is _HEAD or self._owes_head:
            if not exchange.is_early:
                exchange.is_early = True
                exchange.status = 200
                chunk = early_head(exchange.answer_lines) + chunk
            self._owes_head = False
        elif not self._frames:
            return
        self._pinged_at = now
        try:
            sent = self._client_send(chunk)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._client_left()
            return
        if sent != len(chunk):
            self._lag(chunk[sent:])

    def _time_out(self, message: str, phase: Phase, *, is_final: bool = False) -> None:
        may_retry = self.exchange.answer_bytes == 0 and not is_final
        self.fail(BackendError(Code.BACKEND_TIMEOUT, message, phase=phase, retryable=may_retry))

    def _broke(self, exc: OSError, phase: Phase) -> None:
        name = errno.errorcode.get(exc.errno or 0, "error")
        self._fail_answer(f"the connection to it broke ({name})", phase)

    def _fail_answer(self, reason: str, phase: Phase | None = None) -> None:
        is_first = self._body is _HEAD or self._owes_head
        where = (phase if phase is Phase.SEND else Phase.FIRST_BYTE) if is_first else Phase.STREAM
        error = BackendError(
            Code.BACKEND_FAILED, f"the backend failed: {reason}", phase=where, retryable=self.exchange.answer_bytes == 0
        )
        self.fail(error)

    def crash(self) -> None:
        """A bug in the code above: it ends this relay, not the poller."""
        self.fail(BackendError(Code.INTERNAL, "internal error", phase=Phase.STREAM, retryable=False))

    def fail(self, error: BackendError) -> None:
        """End it because of the backend; also called by whoever withdraws the backend or drains the process."""
        if self.outcome is None and not self._is_released:  # a complete answer that the client still takes stays one
            self.error = error
            self._finish(Outcome.FAILED)

    def _release(self, is_clean: bool) -> None:
        """The backend has said everything: its connection can go on, even while the client still reads."""
        self._is_released = True
        self._is_fast = False
        answer = self.answer
        # After a full read there may be more, of which no event will tell: another's answer, to the next request.
        is_clean = is_clean and self._last_read_bytes < RECEIVE_BYTES
        if is_clean and answer is not None and answer.head.reusable and not self._unsent and not self._is_ending:
            self.connection.give_back(self.last_at)
        else:
            self.connection.close()

    def _finish(self, outcome: Outcome) -> None:
        if self.outcome is not None:
            return
        self.outcome = outcome
        self._is_fast = False
        self._tap.events += self._passed_events
        self.exchange.answer_bytes += self._passed_bytes
        self._pump.relays.discard(self)
        try:
            if self._bulk is not None:
                self._bulk.release()
            if self._downstream.lagging is self:
                self._downstream.lagging = None
            if not self._is_released and outcome is not Outcome.TUNNEL:
                self._is_released = True
                self.connection.close()
        finally:
            self._finished.wake(outcome)  # whoever waits for it gives back the slot


def _receive_nothing(_: int) -> bytes:
    """For a relay whose backend somebody else reads. So `on_ready` need not ask whether it has one, token by token."""
    raise BlockingIOError
