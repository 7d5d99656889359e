"""Shell. Attempts: one granted request against one backend after another, until one answers or none may be tried.

    attempt     a connection from the pool (or a new one), a relay, and what its end means for the backend
    retry       before the client's first byte only; another backend; at most `max_attempts`; within the retry budget
    settlement  (`settlement.py`) with the engine's own count, or with what was delivered, or not at all (a refund)
    verdict     (`verdicts.py`) what an unhappy end means for the backend
A pooled connection that turns out to be closed is no failure of the backend: it is tried again, at once, on a new one.
"""

from typing import NoReturn

import trio

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.canonical.exchange import CLIENT_TOO_SLOW, Exchange
from mrproxy.canonical.request import Request, Shape
from mrproxy.dialects.capture import CapturingTap
from mrproxy.dialects.lanes import Lane, choose_lane
from mrproxy.dialects.tapping import TranslatingTap
from mrproxy.dialects.taps import make_tap, read_document_usage
from mrproxy.errors import BackendError, ClientError, Code, Refused
from mrproxy.fibers import Departed, Waker
from mrproxy.identity.callers import Caller
from mrproxy.ledger.entry import Entry
from mrproxy.link.trace import traceparent_onwards
from mrproxy.scheduler.grant import Grant
from mrproxy.settlement import Settlement
from mrproxy.stages import Stages
from mrproxy.translating import Translating
from mrproxy.upstream.backend import Backend
from mrproxy.upstream.breaker import Failure
from mrproxy.upstream.pool import Connection
from mrproxy.upstream.pump import Finish, Outcome, Relay
from mrproxy.upstream.shot import Shot
from mrproxy.verdicts import blame, judged, was_stale
from mrproxy.wire.chunked import LAST_CHUNK

_JSON = Shape.JSON
_COMPLETE = Outcome.COMPLETE


class Attempts(Settlement):
    """The tries that one request makes, and what it holds meanwhile. `run` is the whole of it.

    An express request has begun its first attempt by `begin`: then `run` is only needed if that ends badly.
    """

    __slots__ = ("_begun", "_bug", "_lines")

    def __init__(
        self,
        client: Client,
        head: Head,
        request: Request,
        exchange: Exchange,
        stages: Stages,
        caller: Caller,
        entry: Entry,
        grant: Grant[Backend],
    ) -> None:
        self._client = client
        self._stages = stages
        self._tap = None
        self._lines: bytes | None = None
        self.translating = None  # once some attempt was in that lane
        self._begun: Relay | Shot | None = None
        self._bug: Exception | None = None
        self.head = head
        self.request = request
        self.exchange = exchange
        self.caller = caller
        self.entry = entry
        self.grant = grant
        exchange.queue_seconds = grant.queue_seconds
        stages.retry_budget.record_request(exchange.started_at)

    async def run(self) -> None:
        """Hold the grant while its backend answers; move on to another one while that is allowed.

        Raises BackendError, Refused and Departed. The entry is settled if anything was generated.
        """
        tried: frozenset[str] = frozenset()
        while True:
            grant = self.grant
            with grant:
                try:
                    await self._attempt(grant.backend)
                except BackendError as exc:
                    error = exc
                except (trio.Cancelled, Departed):
                    self._settle_unfinished()
                    raise
                except ClientError:
                    grant.backend.gave_up(self._stages.poller.clock())
                    grant.release(0)
                    raise
                else:
                    self._settle()
                    return
                tried |= {grant.backend.name}
                following = await self._next_grant(error, tried)
                if following is None:
                    self._settle_failed(error)
                    raise error
            self.grant = following

    # The express way

    def begin(self, connection: Connection) -> None:
        """The first attempt, on a pooled connection, without a fiber: `wake` hears of its end."""
        backend = self.grant.backend
        client, exchange = self._client, self.exchange
        # Nothing in the body has to be changed for this backend (`Backend.straight`).
        payload = backend.endpoint.request(self.head.http, self.request.body, exchange.request_id)
        begun: Relay | Shot
        if self.request.shape is _JSON and exchange.capture is None:
            seconds = backend.first_byte_seconds(self.request.model)
            begun = Shot(backend.pump, connection, client, exchange, self, seconds)
        else:
            begun = self._relay(backend, connection, self)
        self._begun = begun
        self._count_attempt(backend)
        client.set_begun(self)
        begun.start(payload, self._stages.poller.clock())

    def wake(self, outcome: Outcome) -> None:
        """The relay has ended."""
        if outcome is not _COMPLETE:
            self._client.hand_over()
            return
        relay = self._begun
        assert relay is not None
        try:
            self._settle()
            self._succeeded(relay.last_at)
            if not self.exchange.settles_later:  # else it is recorded then
                self._stages.record(self.exchange, self.caller, self._client.address, relay.last_at)
        except Exception as bug:  # the relay is over and can end nothing any more: `run` raises it, and gives all back
            self._bug = bug
            self._client.hand_over()
            return
        self._end()

    def unfold(self, connection: Connection) -> Relay:
        """The shot becomes a relay."""
        relay = self._begun = self._relay(self.grant.backend, connection, self)
        return relay

    def delivered(self, body: bytes, now: float) -> None:
        """The shot was the whole of it."""
        self._settle_counted(read_document_usage(body, self.exchange.dialect))
        self._succeeded(now)
        self._stages.record(self.exchange, self.caller, self._client.address, now)
        self._end()

    def _end(self) -> None:
        """Whom we began knows us: left so, all objects of a request would wait for the garbage collector."""
        self._begun = None
        self._client.end_begun()

    def abandon(self) -> None:
        """The client left: ends the relay, which wakes us, which wakes the fiber."""
        relay = self._begun
        if relay is not None:
            relay.abandon()

    async def _next_grant(self, error: BackendError, tried: frozenset[str]) -> Grant[Backend] | None:
        """A slot elsewhere, if a retry is allowed: before the client's first byte, while attempts and budget last."""
        stages, exchange, grant = self._stages, self.exchange, self.grant
        if not error.retryable or exchange.answer_bytes or exchange.attempts >= stages.settings.max_attempts:
            return None
        if not stages.registry.has_other(grant.job.model, tried) or not stages.retry_budget.take(
            self._stages.poller.clock()
        ):
            return None
        await self._client.fiber.become_task()
        try:
            following = await stages.scheduler.regrant(grant, tried)
        except Refused as refusal:
            if refusal.code is Code.NO_BACKEND:
                return None
            raise
        stages.counters.retries += 1
        return following

    # One attempt

    async def _attempt(self, backend: Backend) -> None:
        """One backend. Returns when the client has the whole answer; raises BackendError or Departed."""
        clock = self._stages.poller.clock
        relay, self._begun = self._begun, None
        assert not isinstance(relay, Shot)  # what needs a fiber has unfolded
        if self._bug is not None:
            raise self._bug
        if relay is None:
            self._count_attempt(backend)
        while True:
            if relay is None:
                self.exchange.is_sent = False  # to whom it was sent before has not answered, or never had it
                payload = await self._prepare(backend)
                if self.exchange.traceparent:
                    payload = self._traced(payload)
                finished: Waker[Outcome] = Waker(self._client.fiber)
                relay = self._relay(backend, backend.pool.take() or await self._connect(backend), finished)
                with relay:
                    relay.start(payload, clock())
                    await finished.wait()
            outcome = relay.outcome
            if outcome is Outcome.COMPLETE:
                self._succeeded(clock())
                return
            if outcome is Outcome.FAILED and relay.is_waiting and not self.exchange.answer_bytes:
                await self._client.send_all(relay.take_pending())  # half a ping: what comes next follows its rest
            if not (relay.connection.is_reused and was_stale(relay)):
                await self._raise(relay, backend)
            backend.pool.close_idle()  # what was pooled with it is as old as it was
            relay = None

    async def _prepare(self, backend: Backend) -> bytes:
        """The lane of this attempt, and the request as this backend gets it. Raises ClientError and Departed."""
        head, exchange, request = self.head, self.exchange, self.request
        model = request.model
        lane = choose_lane(
            head.route.surface,
            backend.native,
            request.body,
            is_checked=head.is_checked,
            has_context_length=backend.context_length(model) is not None,
            kind=backend.kind,
        )
        exchange.lane = lane
        self._tap = None
        if self._lines is None:
            self._lines = exchange.answer_lines
        exchange.answer_lines = self._lines  # without the warnings of an attempt before
        if lane is Lane.STRAIGHT:
            return self._payload(backend)
        if self.translating is None:
            self.translating = Translating(head, request, exchange, self.caller, self._stages)
        payload = await self.translating.write(self._client, backend)
        assert self.translating.translation is not None
        self._tap = self.translating.translation.tap
        return payload

    def _count_attempt(self, backend: Backend) -> None:
        exchange = self.exchange
        exchange.attempts += 1
        exchange.backend = backend.name

    def _traced(self, payload: bytes) -> bytes:
        """The backend's spans are children of ours; the first mention is the head's, which comes before the body."""
        given, own_id = self.exchange.traceparent, self.exchange.request_id.decode("latin-1")
        old = b"traceparent: %b" % (self.head.http.get(b"traceparent") or b"")
        return payload.replace(old, b"traceparent: %b" % traceparent_onwards(given, own_id).encode(), 1)

    def _payload(self, backend: Backend) -> bytes:
        return backend.endpoint.request(self.head.http, self._body_for(backend), self.exchange.request_id)

    def _relay(self, backend: Backend, connection: Connection, finished: Finish) -> Relay:
        exchange, request = self.exchange, self.request
        tap = self._tap
        if tap is None:
            tap = self._tap = make_tap(exchange.dialect, request.shape, request.cuts_usage)
        if exchange.capture is not None and not isinstance(tap, TranslatingTap):
            tap = CapturingTap(tap, exchange.capture.answer)
        return Relay(
            backend.pump,
            connection,
            self._client,
            exchange,
            tap,
            backend.first_byte_seconds(self.request.model),
            finished,
            is_http10=self.head.http.http10,
        )

    def _succeeded(self, now: float) -> None:
        exchange = self.exchange
        first_byte_at = exchange.first_byte_at
        seconds = (now if first_byte_at is None else first_byte_at) - exchange.sent_at
        self.grant.backend.succeeded(seconds, now)

    async def _connect(self, backend: Backend) -> Connection:
        await self._client.fiber.become_task()
        try:
            return await backend.connect()
        except BackendError:
            backend.failed(Failure.CONNECT, self._stages.poller.clock())
            raise

    async def _raise(self, relay: Relay, backend: Backend) -> NoReturn:
        """What an unhappy end means for the backend, and for the request."""
        exchange, now = self.exchange, self._stages.poller.clock()
        match relay.outcome:
            case Outcome.HELD:
                refused = judged(relay, backend, now)
                if isinstance(self._tap, TranslatingTap):
                    refused.translate()
                raise refused
            case Outcome.FAILED:
                error = relay.error
                assert error is not None
                blame(error, backend, now)
                if exchange.answer_bytes:
                    await self._say_in_stream(relay, error)
                raise error
            case Outcome.CLIENT_SLOW:
                self._stages.counters.slow_client_closes += 1
                exchange.code = CLIENT_TOO_SLOW
        raise Departed

    async def _say_in_stream(self, relay: Relay, error: BackendError) -> None:
        """A stream that has begun ends with its dialect's error event, after what the client had not taken yet.

        A document has no place for it: that bytes are missing says it."""
        exchange = self.exchange
        exchange.keep_alive = False
        if not (relay.is_framed and exchange.streams):
            return
        if isinstance(self._tap, TranslatingTap) and self.translating is not None:
            event = self.translating.stream_error(error)
        else:
            event = self.head.route.dialect.encode_stream_error(error, exchange.request_id)
            if self._tap is not None and self._tap.is_mid_event:
                event = b"\n\n" + event  # what was let through of the broken event must not swallow this one
        if exchange.capture is not None:
            exchange.capture.answer.receive_data(event)
        await self._client.send_all(b"%b%x\r\n%b\r\n%b" % (relay.take_pending(), len(event), event, LAST_CHUNK))
