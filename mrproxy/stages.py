"""Shell. What a request passes through, built by assembly.py and handed to every request; and its two ends.

`open_exchange` begins a request's trace, `record` ends it: counters and journal, in one place, whatever happened
between.
"""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.accept.proxied import origin_of
from mrproxy.answers import answer_lines
from mrproxy.archive import Archive
from mrproxy.canonical.capture import Capture
from mrproxy.canonical.exchange import Exchange, Usage
from mrproxy.canonical.request import Operation, Request
from mrproxy.clock import Clock
from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.dialects.anthropic import ANTHROPIC
from mrproxy.dialects.responses.store import ResponseStore
from mrproxy.errors import LIMITS, Refused
from mrproxy.forwarding import ControlUplink
from mrproxy.identity.callers import Caller, Identity
from mrproxy.images import ImageFetcher
from mrproxy.ledger.entry import Entry
from mrproxy.ledger.ledger import Ledger
from mrproxy.link.capture import CaptureWriter, captured_bodies
from mrproxy.link.journal import Writer
from mrproxy.link.records import JournalRecord
from mrproxy.scheduler.cost import CostModel
from mrproxy.scheduler.grant import Scheduler
from mrproxy.sockets import Poller
from mrproxy.upstream.backend import Backend
from mrproxy.upstream.registry import Registry
from mrproxy.upstream.retry_budget import RetryBudget

# SDKs put the messages first; a system prompt that is shared is usually longer than this.
_PREFIX_BYTES = 1024
_NOTHING = Usage(None, None)
_Ended = tuple[Exchange, Caller, str, float]  # and the client's address, and when
SHADOW = "shadow"


@dataclass(slots=True)
class Stages:
    """One worker's stages. `settings` is replaced by a reload; `captures` is there while bodies are captured.

    `crashed` is the border of a request's end: many end together, and a bug in one must not lose the others.
    """

    worker: str
    settings: Settings
    clock: Clock
    counters: Counters
    poller: Poller
    identity: Identity
    ledger: Ledger
    costs: CostModel
    scheduler: Scheduler[Backend]
    registry: Registry
    retry_budget: RetryBudget
    journal: Writer
    control: ControlUplink
    images: ImageFetcher
    responses: ResponseStore
    crashed: Callable[[str, Exception], None]
    captures: CaptureWriter | None = None
    archive: Archive | None = None  # where there is a database
    _ended: list[_Ended] = field(default_factory=list)
    _started_requests: int = 0
    # Unique among workers and restarts: 64 random bits, then a count. 32 hex digits, because llama-cpp-python refuses
    # an X-Request-Id that is not a UUID.
    _id_prefix: bytes = field(default_factory=lambda: os.urandom(8).hex().encode())

    def identify(self, client: Client, head: Head) -> Caller:
        """Who asks, and from where: the client's address is the one that trusted proxies tell. Raises Refused."""
        trusted = self.control.trusted
        client.address = client.peer_address
        if trusted:
            client.address, _ = origin_of(client.peer_address, False, head.http.headers, trusted)
        return self.identity.identify(head.credential, client.address)

    def identify_again(self, client: Client, head: Head, caller: Caller) -> Caller:
        """When the body has come, in case that a snapshot came meanwhile: accounts and records are of one caller."""
        return caller if self.identity.known.get(head.credential) is caller else self.identify(client, head)

    def open_exchange(self, head: Head, now: float) -> Exchange:
        """Begin a request's trace; the caller's own id if it sent one."""
        route = head.route
        exchange = Exchange(head.request_id or self.next_request_id(), now, route.dialect.name, route.operation)
        if head.traceparent:
            exchange.traceparent = head.traceparent
        return exchange

    def next_request_id(self) -> bytes:
        self._started_requests = count = self._started_requests + 1
        return b"%b%016x" % (self._id_prefix, count)

    def affinity_key(self, body: bytes) -> int:
        """What the prompt begins with, as a number: equal beginnings go where their KV cache is warm."""
        return zlib.crc32(body[:_PREFIX_BYTES]) if self.settings.placement == "affinity" else 0

    def open_capture(self, body: bytes, caller: Caller) -> Capture | None:
        """For `exchange.capture`: what is kept of a request's bodies, if that is wanted of all or of its group."""
        if caller.captures_bodies or self.settings.capture_bodies:
            return Capture(body, self.settings.capture_max_bytes)
        return None

    def estimate(self, model: str, request: Request, operation: Operation) -> int:
        """Tokens it will probably take, for the ledger and the scheduler."""
        if operation is Operation.SHOW:
            return 0
        return self.costs.estimate(model, request.prompt_bytes, request.max_tokens)

    def open_entry(self, caller: Caller, tokens: int, exchange: Exchange, now: float) -> tuple[Entry, bytes]:
        """The ledger's entry, and what the answer says of limits. Raises Refused, unless limits are only watched."""
        model = exchange.model
        try:
            entry = self.ledger.open_entry(caller, tokens, now, model)
        except Refused as refusal:
            if self.settings.limits != SHADOW or refusal.code not in LIMITS:
                raise
            self.counters.count_shadow(refusal.code)
            entry = self.ledger.open_in_shadow(caller, tokens, model)
            # RFC 7234 §5.5: 299 is any lasting warning
            warning = b'warning: 299 mrproxy "not enforced: %b"\r\n' % refusal.message.encode()
            return entry, self.ledger.ratelimit_headers(caller, now) + warning
        return entry, self.ledger.ratelimit_headers(caller, now)

    def answer_lines(self, head: Head, exchange: Exchange, limits: bytes) -> bytes:
        """The header lines that every answer to this request carries."""
        origin = None
        if head.origin is not None and self.settings.cors_allow_origin:
            origin = self.settings.cors_allow_origin.encode()
        lines = answer_lines(
            exchange.request_id, limits, origin, keep_alive=exchange.keep_alive, http10=head.http.http10
        )
        return lines + own_id_line(head, exchange)

    def record(self, exchange: Exchange, caller: Caller, client_address: str, now: float) -> None:
        """The end of a request. What ends in one batch of events is counted and journalled together, at its end."""
        self._ended.append((exchange, caller, client_address, now))
        if self.poller.is_serving:
            self.poller.has_ended = True
        else:
            self.flush()

    def record_late(self, exchange: Exchange, caller: Caller, client_address: str, ended_at: float) -> None:
        """The same for a request that ended a while ago, and whose price has only now been found out."""
        self.flush()
        self._ended.append((exchange, caller, client_address, ended_at))
        self.flush(max(0.0, self.poller.clock() - ended_at))

    def flush(self, late_seconds: float = 0.0) -> None:
        """Write the records of all requests that have ended since the last time: one `write` for all of them."""
        ended = self._ended
        if not ended:
            return
        self._ended = []
        counters, worker, now_utc = self.counters, self.worker, self.clock() - late_seconds
        try:
            records = [make_record(*each, worker, now_utc) for each in ended]
            self.journal.append_all(records)
        except Exception as bug:
            self._flush_alone(ended, bug, late_seconds)
            return
        for exchange, _, _, now in ended:
            try:
                counters.count_exchange(exchange, now)
            except Exception as bug:
                self.crashed("record", bug)
        if self.captures is not None:
            for (exchange, _, _, _), record in zip(ended, records, strict=True):
                self._capture(exchange, record, self.captures)

    def _flush_alone(self, ended: list[_Ended], bug: Exception, late_seconds: float) -> None:
        """One of these has no record. None was written: what can go wrong goes wrong before the write."""
        if len(ended) == 1:
            self.crashed("record", bug)
            return
        for each in ended:
            self._ended = [each]
            self.flush(late_seconds)

    def _capture(self, exchange: Exchange, record: JournalRecord, captures: CaptureWriter) -> None:
        capture = exchange.capture
        if capture is None:
            return
        try:
            captures.append(captured_bodies(record, capture.request, capture.answer))
        except Exception as bug:
            self.crashed("record", bug)


def own_id_line(head: Head, exchange: Exchange) -> bytes:
    """The request's id again where the caller's SDK looks for it: Anthropic's reads `request-id`."""
    return b"request-id: %b\r\n" % exchange.request_id if head.route.dialect is ANTHROPIC else b""


def make_record(
    exchange: Exchange, caller: Caller, client_address: str, ended_at: float, worker: str, now_utc: float
) -> JournalRecord:
    """What the journal says of one request."""
    started_at = exchange.started_at
    first_byte_at = exchange.first_byte_at
    prompt_tokens, completion_tokens = exchange.usage or _NOTHING
    return JournalRecord(
        exchange.request_id.decode("latin-1"),
        worker,
        now_utc - (ended_at - started_at),
        caller.key_id,
        caller.user,
        caller.group,
        exchange.model,
        exchange.backend,
        exchange.dialect,
        exchange.operation,
        exchange.lane,
        exchange.streams,
        exchange.status,
        exchange.code,
        exchange.attempts,
        exchange.queue_seconds,
        None if first_byte_at is None else first_byte_at - started_at,
        ended_at - started_at,
        prompt_tokens,
        completion_tokens,
        exchange.usage_state,
        exchange.body_bytes,
        exchange.answer_bytes,
        client_address,
        exchange.charged_tokens,
        exchange.traceparent,
    )
