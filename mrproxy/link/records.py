"""Pure. The journal's record and its frame on disk; no file is touched here.

Theory of operation:
1. A frame is a little-endian u32 payload length, a u32 crc32 of the payload, and the payload: the record as a
   msgpack array. The array's first element is the format's version (a msgspec tag), so readers can know several.
2. Fields are only ever added at the end, with a default: old readers ignore them, new readers fill them in.
3. `split_frame` looks at bytes and says what is there: a record, a damaged frame that can be stepped over, or
   nothing that can be trusted any more (a torn tail, or simply not all of it yet).

Read next: `mrproxy/link/journal.py`, the files.
"""

import enum
import struct
import zlib
from typing import ClassVar

import msgspec

HEADER_BYTES = 8
# A record is about 300 bytes. The limit keeps a damaged length from being believed, and a client's strange model
# name of some megabytes out of the accounts (etcd's WAL and Kafka refuse over-long records for the same reason).
MAX_PAYLOAD_BYTES = 65_536
_MAX_TEXT_CHARACTERS = 512
_MAX_INTEGER = 2**63 - 1

_HEADER = struct.Struct("<II")


class JournalRecord(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """What one request was and cost. Tokens are None when nobody counted them, never zero for absent.

    `usage_state` is exact, counted, partial, estimated or absent; `code` is a stable error code, empty when all went
    well. `charged_tokens`: what budgets were charged, where that is not what was used.
    """

    version: ClassVar[int] = 1

    request_id: str
    worker: str
    started_utc: float
    key_id: str
    user: str
    group: str
    model: str
    backend: str
    dialect: str
    operation: str
    lane: str
    stream: bool
    status: int
    code: str
    attempts: int
    queue_seconds: float
    first_byte_seconds: float | None
    total_seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    usage_state: str
    bytes_in: int
    bytes_out: int
    client_address: str
    charged_tokens: int | None = None
    traceparent: str = ""


class Gap(enum.Enum):
    """What a reader finds where no record is."""

    NOT_ALL_HERE = "not all here"  # the bytes end inside a frame: torn, or still being written
    DAMAGED = "damaged"  # a whole frame with a wrong checksum or an unknown content


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(JournalRecord).decode


def encode_frame(record: JournalRecord) -> bytes:
    """One frame, ready for one write."""
    try:
        payload = _encode(record)
    except (OverflowError, UnicodeEncodeError):
        payload = _encode(_bounded(record))
    if len(payload) > MAX_PAYLOAD_BYTES:
        payload = _encode(_bounded(record))
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def frame_bytes(buffer: memoryview, start: int) -> int | None:
    """The length of the frame that begins at `start`, or None if its header is cut off or cannot be true."""
    if len(buffer) - start < HEADER_BYTES:
        return None
    length, _ = _HEADER.unpack_from(buffer, start)
    if not 0 < length <= MAX_PAYLOAD_BYTES:
        return None
    return HEADER_BYTES + int(length)


def split_frame(buffer: memoryview, start: int) -> JournalRecord | Gap:
    """The record whose frame begins at `start`, or why there is none."""
    size = frame_bytes(buffer, start)
    if size is None or len(buffer) - start < size:
        return Gap.NOT_ALL_HERE
    payload = buffer[start + HEADER_BYTES : start + size]
    if zlib.crc32(payload) != _HEADER.unpack_from(buffer, start)[1]:
        return Gap.DAMAGED
    try:
        return _decode(payload)
    except msgspec.MsgspecError:
        return Gap.DAMAGED


def _bounded(record: JournalRecord) -> JournalRecord:
    """The record with what msgpack cannot hold, or nobody needs, cut to size: it must be written in any case."""
    changes: dict[str, str | int] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str):
            changes[name] = value[:_MAX_TEXT_CHARACTERS].encode("utf-8", "replace").decode()
        elif isinstance(value, int):
            changes[name] = max(-_MAX_INTEGER, min(value, _MAX_INTEGER))
    return msgspec.structs.replace(record, **changes)
