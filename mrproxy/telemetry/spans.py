"""Pure. A request's spans, made from its journal record: OpenTelemetry costs the relay plane nothing.

    SERVER  the whole request, as its caller saw it          child of the caller's span, if it named one
    CLIENT  what the backends did, from the end of the queue  child of the first; the backend's spans are its children
Attributes: OpenTelemetry's semantic conventions for generative AI (`gen_ai.*`, Inference and Embeddings spans, status
Development, read 2026-11-21) and for HTTP; what they have no name for is called `mrproxy.*`. Never a prompt: records
have none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mrproxy.link.records import JournalRecord
from mrproxy.link.trace import TraceContext, client_span_id, context_of, server_span_id

Value = str | int | float | bool

# `gen_ai.operation.name` has these; others keep the names they have here.
_OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "generate": "text_completion",
    "embeddings": "embeddings",
    "embed": "embeddings",
}
_NANOSECONDS = 1_000_000_000
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Span:
    """Ids are numbers, times nanoseconds since 1970. `error` is empty, or why it failed."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    is_server: bool
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    error: str


def is_wanted(context: TraceContext, sample_percent: float) -> bool:
    """A caller's decision is respected. Ours depends on the trace alone, so all gateways decide alike."""
    if context.parent_id or not context.is_sampled:
        return context.is_sampled
    return (context.trace_id & (2**56 - 1)) < sample_percent / 100 * 2**56


def spans_of(record: JournalRecord, kinds: Mapping[str, str], sample_percent: float) -> tuple[Span, ...]:
    """None, or one, or two: what never came to a backend has no second. `kinds`: backend → its kind."""
    context = context_of(record.traceparent, record.request_id)
    if not is_wanted(context, sample_percent):
        return ()
    start_ns = int(record.started_utc * _NANOSECONDS)
    end_ns = start_ns + int(record.total_seconds * _NANOSECONDS)
    server_id = server_span_id(record.traceparent, record.request_id)
    server = Span(
        f"{record.dialect} {record.operation}",
        context.trace_id,
        server_id,
        context.parent_id,
        True,
        start_ns,
        end_ns,
        _server_attributes(record),
        _error(record, _SERVER_ERROR),
    )
    if not record.backend:
        return (server,)
    operation = _OPERATIONS.get(record.operation, record.operation)
    client = Span(
        f"{operation} {record.model}",
        context.trace_id,
        client_span_id(record.traceparent, record.request_id),
        server_id,
        False,
        min(end_ns, start_ns + int(record.queue_seconds * _NANOSECONDS)),
        end_ns,
        _client_attributes(record, operation, kinds.get(record.backend, "unknown")),
        _error(record, 400),
    )
    return server, client


def _error(record: JournalRecord, lowest_status: int) -> str:
    """HTTP conventions: of a server's span, 4xx is no error; of a client's it is."""
    if record.status >= lowest_status or (record.code and not 400 <= record.status < _SERVER_ERROR):
        return record.code or str(record.status)
    return ""


def _server_attributes(record: JournalRecord) -> dict[str, Value]:
    attributes: dict[str, Value] = {
        "http.request.method": "POST",
        "http.response.status_code": record.status,
        "client.address": record.client_address,
        "user.name": record.user,
        "gen_ai.request.model": record.model,
        "mrproxy.request_id": record.request_id,
        "mrproxy.worker": record.worker,
        "mrproxy.key_id": record.key_id,
        "mrproxy.group": record.group,
        "mrproxy.dialect": record.dialect,
        "mrproxy.queue_seconds": record.queue_seconds,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
    }
    if error := _error(record, _SERVER_ERROR):
        attributes["error.type"] = error
    return attributes


def _client_attributes(record: JournalRecord, operation: str, kind: str) -> dict[str, Value]:
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": kind,
        "gen_ai.request.model": record.model,
        "mrproxy.backend": record.backend,
        "mrproxy.lane": record.lane,
        "mrproxy.stream": record.stream,
        "mrproxy.attempts": record.attempts,
        "mrproxy.usage_state": record.usage_state,
    }
    measured: dict[str, Value | None] = {
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "mrproxy.first_byte_seconds": record.first_byte_seconds,
    }
    attributes |= {name: value for name, value in measured.items() if value is not None}
    if error := _error(record, 400):
        attributes["error.type"] = error
    return attributes
