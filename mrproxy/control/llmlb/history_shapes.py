"""Pure. A record as llmlb shows it, as JSON and as a line of CSV.

A record has fields of a node, an endpoint and a runtime: three words of its versions for one thing. Its id is the
request's, which `X-Request-Id` says as well. CSV is that of its current version, whose head still says `runtime`.
Read next: `history.py`.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from mrproxy.control.admin.records import RecordShown as OurRecord
from mrproxy.control.admin.shapes import at
from mrproxy.control.llmlb.endpoint_shapes import Known
from mrproxy.storage.bodies import StoredBodies, text_of
from mrproxy.storage.export import cell

CSV_COLUMNS = (
    "id",
    "timestamp",
    "request_type",
    "model",
    "runtime_id",
    "runtime_machine_name",
    "runtime_ip",
    "client_ip",
    "duration_ms",
    "status",
    "completed_at",
)

# Our operations in their words; others are called as we call them.
REQUEST_TYPES = {
    "completions": "generate",
    "embed": "embeddings",
    "transcriptions": "transcription",
    "translations": "transcription",
    "images": "imagegeneration",
    "image_edits": "imageedit",
    "messages": "anthropic_messages",
}


class StatusShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """`message` is there for errors."""

    type: Literal["success", "error"]
    message: str = ""


class RecordShown(msgspec.Struct, frozen=True, kw_only=True):
    """`api_key_id`: as `/api-keys` has it."""

    id: str
    timestamp: datetime
    request_type: str
    model: str
    node_id: str
    node_machine_name: str
    node_ip: str
    endpoint_id: str
    endpoint_name: str
    endpoint_ip: str
    runtime_id: str
    runtime_machine_name: str
    runtime_ip: str
    client_ip: str
    duration_ms: int
    status: StatusShown
    completed_at: datetime
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    api_key_id: str


class RecordDetails(RecordShown, frozen=True, kw_only=True):
    """Bodies are JSON where they are, else text (base64 where that is none); null where none were kept."""

    request_body: msgspec.Raw | str | None = None
    response_body: msgspec.Raw | str | None = None


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """`total_count` stops at a hundred thousand."""

    records: list[RecordShown]
    total_count: int
    page: int
    per_page: int


def shown(record: OurRecord, known: Mapping[str, Known]) -> RecordShown:
    """`known`: endpoints by name. One that is not there any more has its name for an id."""
    endpoint = known.get(record.backend)
    id_, ip = (record.backend, "") if endpoint is None else (endpoint.id, endpoint.host)
    named = {f"{word}_id": id_ for word in ("node", "endpoint", "runtime")}
    named |= {f"{word}_ip": ip for word in ("node", "endpoint", "runtime")}
    return RecordShown(
        **named,
        node_machine_name=record.backend,
        endpoint_name=record.backend,
        runtime_machine_name=record.backend,
        id=record.request_id,
        timestamp=record.started_utc,
        request_type=REQUEST_TYPES.get(record.operation, record.operation),
        model=record.model,
        client_ip=record.client_address,
        duration_ms=round(record.total_seconds * 1000),
        status=status_of(record.status, record.code),
        completed_at=ended_at(record),
        input_tokens=record.prompt_tokens,
        output_tokens=record.completion_tokens,
        total_tokens=total_of(record),
        api_key_id=record.key_id,
    )


def with_bodies(record: RecordShown, bodies: StoredBodies | None) -> RecordDetails:
    plain = msgspec.structs.asdict(record)
    if bodies is None:
        return RecordDetails(**plain)
    return RecordDetails(**plain, request_body=body_shown(bodies.request), response_body=body_shown(bodies.answer))


def body_shown(body: bytes) -> msgspec.Raw | str:
    """What was kept of it, which may be the beginning."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text_of(body)[0]
    return msgspec.Raw(body)


def status_of(status: int, code: str) -> StatusShown:
    if status < 400 and not code:
        return StatusShown("success")
    return StatusShown("error", f"HTTP {status}{f': {code}' if code else ''}")


def total_of(record: OurRecord) -> int | None:
    if record.prompt_tokens is None and record.completion_tokens is None:
        return None
    return (record.prompt_tokens or 0) + (record.completion_tokens or 0)


def ended_at(record: OurRecord) -> datetime:
    """A record may say anything; no calendar goes further than its last day."""
    try:
        return at(record.started_utc.timestamp() + record.total_seconds)
    except (ValueError, OverflowError):
        return record.started_utc


def csv_of(records: Sequence[RecordShown]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[cell(value) for value in line_of(each)] for each in records])
    return text.getvalue().encode()


def line_of(record: RecordShown) -> list[str | int]:
    status = record.status.type
    fields = msgspec.to_builtins(record)
    fields["status"] = f"{status}: {record.status.message}" if status == "error" else status
    return [fields[name] for name in CSV_COLUMNS]
