"""Pure. Access lines: what the log says of finished requests, made from journal records, many at a time.

Off the hot path, in another process, and still worth its few microseconds: on a busy gateway this is most of what the
control plane does. Empty values are left out. Nothing here can hold a header, a key or a prompt: records have none.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from mrproxy.link.records import JournalRecord


class _Line(msgspec.Struct, omit_defaults=True, gc=False):
    """One line, in the order in which it is read."""

    at: str
    level: str
    component: str
    event: str
    request_id: str
    worker: str
    status: int
    code: str = ""
    user: str = ""
    key_id: str = ""
    group: str = ""
    model: str = ""
    backend: str = ""
    dialect: str = ""
    operation: str = ""
    lane: str = ""
    stream: bool = False
    attempts: int = 0
    queue_seconds: float = 0.0
    first_byte_seconds: float | None = None
    total_seconds: float = 0.0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usage_state: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    client_address: str = ""


_encode = msgspec.json.Encoder().encode


def access_lines(records: Iterable[JournalRecord], component: str) -> list[bytes]:
    """One JSON line per record, with its newline. `at` is when the request ended."""
    return [_encode(_line(record, component)) + b"\n" for record in records]


def access_fields(record: JournalRecord) -> dict[str, str | int | float | bool | None]:
    """The same as keys and values, for a terminal."""
    fields = msgspec.to_builtins(_line(record, ""))
    return {name: value for name, value in fields.items() if name not in ("at", "level", "component", "event")}


def blocks(lines: Sequence[bytes], max_bytes: int) -> Iterable[bytes]:
    """Whole lines, joined up to `max_bytes`: what one atomic write takes. A longer line goes alone."""
    block: list[bytes] = []
    size = 0
    for line in lines:
        if block and size + len(line) > max_bytes:
            yield b"".join(block)
            block, size = [], 0
        block.append(line)
        size += len(line)
    if block:
        yield b"".join(block)


@lru_cache(maxsize=64)
def _second(utc: int) -> str:
    """Many requests end in the same one."""
    return datetime.fromtimestamp(utc, UTC).isoformat()[:-6]


def _line(record: JournalRecord, component: str) -> _Line:
    ended_ms = int((record.started_utc + record.total_seconds) * 1000)
    first_byte_seconds = record.first_byte_seconds
    return _Line(
        f"{_second(ended_ms // 1000)}.{ended_ms % 1000:03d}Z",
        "info",
        component,
        "request",
        record.request_id,
        record.worker,
        record.status,
        record.code,
        record.user,
        record.key_id,
        record.group,
        record.model,
        record.backend,
        record.dialect,
        record.operation,
        record.lane,
        record.stream,
        record.attempts,
        round(record.queue_seconds, 6),
        None if first_byte_seconds is None else round(first_byte_seconds, 6),
        round(record.total_seconds, 6),
        record.prompt_tokens,
        record.completion_tokens,
        record.usage_state,
        record.bytes_in,
        record.bytes_out,
        record.client_address,
    )
