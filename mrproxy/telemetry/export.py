"""Shell. OpenTelemetry export: follows the journal and sends spans to a collector by OTLP over HTTP.

1. The SDK's exporter does the sending: protobuf, retries, and all `OTEL_EXPORTER_OTLP_*` variables (headers with keys,
   certificates, compression). It blocks, so it has a thread. It is an optional extra: `pip install mrproxy[otel]`.
2. It begins at the journal's end and keeps no position: traces are for looking at, records are what is kept.
3. A collector that is away costs spans, which are counted and said once; never memory, and never a request.
Read next: `spans.py`, for what is in a span.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import trio

from mrproxy.link.journal import Position, Tail, segments
from mrproxy.link.snapshot import SnapshotError, read
from mrproxy.telemetry.spans import Span, spans_of

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

Value = str | int | float | bool | None

POLL_SECONDS = 1.0
# The SDK's own batch processor sends 512 spans at a time.
BATCH_RECORDS = 256
# A collector that was away for longer gets what is new: old traces help nobody who looks for the reason.
MAX_BEHIND_BYTES = 16 * 1024 * 1024


class ExportLog(Protocol):
    def info(self, event: str, **fields: Value) -> None: ...
    def warning(self, event: str, **fields: Value) -> None: ...


class ExporterMissing(Exception):
    """The optional extra is not installed."""


Send = Callable[[Sequence[Span]], bool]


class SpanExport:
    """One journal's way to one collector. `send` blocks; false is that it did not arrive."""

    def __init__(
        self, directory: Path, send: Send, kinds: Callable[[], Mapping[str, str]], sample_percent: float, log: ExportLog
    ) -> None:
        self.exported_spans = 0
        self.dropped_spans = 0
        self._directory = directory
        self._send = send
        self._kinds = kinds
        self._sample_percent = sample_percent
        self._log = log
        self._tail = Tail(directory, positions_at_end(directory))
        self._is_failing = False
        self._sending = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """For ever. Cancelled in the middle of a batch, that batch may have arrived or not."""
        while True:
            try:
                is_more = await self.export_batch()
            except OSError:  # the disk: `Records.follow` says so
                is_more = False
            await trio.sleep(0 if is_more else POLL_SECONDS)

    async def export_batch(self) -> bool:
        """Whether there may be more at once. Raises OSError if the journal cannot be read."""
        if self._tail.lag_bytes() > MAX_BEHIND_BYTES:
            self._log.warning("spans are left out", reason="the collector takes them too slowly")
            self._tail.positions = positions_at_end(self._directory)
        records = self._tail.poll(BATCH_RECORDS)
        kinds = self._kinds() if records else {}
        spans = [span for record in records for span in spans_of(record, kinds, self._sample_percent)]
        if spans:
            is_sent = await trio.to_thread.run_sync(self._send, spans, limiter=self._sending, abandon_on_cancel=True)
            self._count(len(spans), is_sent=is_sent)
        return len(records) == BATCH_RECORDS

    def _count(self, spans: int, *, is_sent: bool) -> None:
        if is_sent:
            self.exported_spans += spans
            if self._is_failing:
                self._log.info("spans arrive again", dropped=self.dropped_spans)
        else:
            self.dropped_spans += spans
            if not self._is_failing:
                self._log.warning("spans do not arrive at the collector")
        self._is_failing = not is_sent


class BackendKinds:
    """Backend → kind, from the snapshot; read again when it has changed."""

    def __init__(self, snapshot: Path) -> None:
        self._snapshot = snapshot
        self._changed_ns = 0
        self._kinds: dict[str, str] = {}

    def now(self) -> dict[str, str]:
        try:
            changed_ns = self._snapshot.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                self._kinds = {each.name: each.kind for each in read(self._snapshot).backends}
                self._changed_ns = changed_ns
        except (OSError, SnapshotError):
            pass  # what was known is better than nothing
        return self._kinds


def positions_at_end(directory: Path) -> dict[str, Position]:
    return {segment.worker: Position(segment.sequence, segment.path.stat().st_size) for segment in segments(directory)}


def open_sender(endpoint: str, version: str) -> Send:
    """Sends to a collector, `http://host:4318/v1/traces`. Raises ExporterMissing."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ImportError as exc:
        raise ExporterMissing("OpenTelemetry export needs the extra `otel`: pip install 'mrproxy[otel]'") from exc
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what fails is said by us, as an event
    exporter = OTLPSpanExporter(endpoint)
    resource = Resource.create({"service.name": "mrproxy", "service.version": version})

    def send(spans: Sequence[Span]) -> bool:
        return exporter.export([readable(span, resource) for span in spans]) is SpanExportResult.SUCCESS

    return send


def readable(span: Span, resource: "Resource") -> "ReadableSpan":
    """As the SDK has it."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: int, *, is_remote: bool) -> SpanContext:
        return SpanContext(span.trace_id, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        span.name,
        context(span.span_id, is_remote=False),
        context(span.parent_id, is_remote=span.is_server) if span.parent_id else None,
        resource,
        span.attributes,
        kind=SpanKind.SERVER if span.is_server else SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=InstrumentationScope("mrproxy"),
    )
