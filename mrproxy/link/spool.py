"""Shell. Responses and items of conversations on their way to the database: `responses-<worker>-<sequence>.mrs`.

Theory of operation:
1. A frame is one event: a little-endian u32 length, a u32 crc32, and the event as a msgpack array. What belongs to one
   request is one `write` to a segment (`segments.py`); no fsync. The first event begins a segment.
2. A disk error loses the events and is counted; half of them is taken back. It never reaches a request.
3. Mode 0600: these are prompts and answers.
4. Events are taken once and in a worker's order (`SpoolTail.positions` goes into the transaction that takes them), and
   they may be taken again: what is stored already is not stored twice.
A frame whose checksum is wrong is stepped over and counted; a length that cannot be ends the segment there.
Read next: `mrproxy/storage/spooled.py`, the other end; docs/journal.md.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import msgspec

from mrproxy.link.journal import Position
from mrproxy.link.segments import Appender, Segment, Series, is_being_written
from mrproxy.link.state import Item

_SERIES = Series("responses", ".mrs")
_HEADER = struct.Struct("<II")
# A body is 64 MiB at most unless set otherwise; what is larger stays in memory only, and a damaged length is not
# believed.
MAX_EVENT_BYTES = 96 << 20


class ResponseStored(msgspec.Struct, frozen=True, array_like=True, tag="stored"):
    """`state` is what `mrproxy/dialects/responses/states.py` makes."""

    id: str
    owner: str
    previous_id: str | None
    conversation_id: str | None
    created_utc: float
    expires_utc: float
    state: bytes


class ResponseDeleted(msgspec.Struct, frozen=True, array_like=True, tag="deleted"):
    id: str
    owner: str
    deleted_utc: float
    expires_utc: float


class ItemsAppended(msgspec.Struct, frozen=True, array_like=True, tag="items"):
    """To a conversation, in order; items that it has already are left where they are."""

    conversation_id: str
    owner: str
    created_utc: float
    items: tuple[Item, ...]


Event: TypeAlias = ResponseStored | ResponseDeleted | ItemsAppended

_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Event] = msgspec.msgpack.Decoder(Event).decode


def encode_event(event: Event) -> bytes:
    """One frame."""
    payload = _encode(event)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


class SpoolWriter(Appender):
    """Appends one worker's events. Nothing raises but the constructor, for a worker's name that is none; nothing is
    opened before the first event."""

    __slots__ = ("lost", "written")

    def __init__(self, directory: Path, worker: str, segment_bytes: int) -> None:
        super().__init__(_SERIES, directory, worker, segment_bytes)
        self.written = 0
        self.lost = 0

    def append(self, *events: Event) -> bool:
        """All of them with one write; false if they are lost, counted in `lost`."""
        try:
            frames = b"".join([encode_event(event) for event in events])
            if len(frames) > MAX_EVENT_BYTES:
                raise OSError("too large to be kept")
            if self._fd < 0:
                self._begin_segment()
            if os.write(self._fd, frames) != len(frames):
                raise OSError("short write")
        except (OSError, UnicodeEncodeError):
            self.lost += len(events)
            if not self._take_back():
                self.close()
            return False
        self.written += len(events)
        self._offset += len(frames)
        if self._offset >= self._segment_bytes:
            self.close()
        return True


def spool_segments(directory: Path, worker: str | None = None) -> list[Segment]:
    """All segments (of one worker), by worker and then oldest first; empty if there is no such directory."""
    return _SERIES.segments(directory, worker)


class SpoolReader(Iterator[Event]):
    """The events of one segment from `offset` on, then how it ended: `torn` if not in a whole event."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.offset = offset
        self.torn = False
        self.damaged = 0
        self._file = path.open("rb")
        self._file.seek(offset)

    def __next__(self) -> Event:
        while True:
            payload = self._next_payload()
            if payload is None:
                self.close()
                raise StopIteration
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                if payload:
                    return _decode(payload)
            self.damaged += 1

    def close(self) -> None:
        """Idempotent; reading to the end closes by itself."""
        self._file.close()

    def _next_payload(self) -> bytes | None:
        """None at the end; empty if the checksum is wrong."""
        if self._file.closed:
            return None
        header = self._file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            self.torn = bool(header)
            return None
        length, checksum = _HEADER.unpack(header)
        payload = self._file.read(length) if length <= MAX_EVENT_BYTES else b""
        if len(payload) < length:
            self.torn = True
            return None
        self.offset += _HEADER.size + length
        return payload if zlib.crc32(payload) == checksum else b""


class SpoolTail:
    """Follows all workers' segments by polling; `positions` is what to store together with the events taken.

    A segment with a younger one beside it that nobody writes any more is final: what is torn at its end is counted in
    `damaged`, once. Until then its worker's younger segments wait.
    """

    def __init__(self, directory: Path, positions: Mapping[str, Position] | None = None) -> None:
        self.positions: dict[str, Position] = dict(positions or {})
        self.damaged = 0
        self._directory = directory

    def poll(self, max_bytes: int) -> list[Event]:
        """What is new, until so many bytes are read; empty when nothing is. Reads files, so it blocks for as long."""
        taken: list[Event] = []
        held = ""
        found = spool_segments(self._directory)
        for index, segment in enumerate(found):
            offset = self._offset_in(segment)
            if max_bytes <= 0:
                break
            if offset is None or segment.worker == held:
                continue
            has_younger = index + 1 < len(found) and found[index + 1].worker == segment.worker
            is_final = has_younger and not is_being_written(segment.path)
            if has_younger and not is_final:
                held = segment.worker
            max_bytes -= self._take(segment, offset, max_bytes, is_final, taken)
        return taken

    def lag_bytes(self) -> int:
        """How much is written and not yet taken."""
        lag = 0
        for segment in spool_segments(self._directory):
            offset = self._offset_in(segment)
            if offset is not None:
                with suppress(FileNotFoundError):
                    lag += max(0, segment.path.stat().st_size - offset)
        return lag

    def _take(self, segment: Segment, offset: int, max_bytes: int, is_final: bool, taken: list[Event]) -> int:
        """How many bytes were read."""
        try:
            reader = SpoolReader(segment.path, offset)
        except FileNotFoundError:  # retention was quicker
            return 0
        is_at_end = True
        for event in reader:
            taken.append(event)
            if reader.offset - offset >= max_bytes:
                is_at_end = False
                break
        reader.close()
        self.damaged += reader.damaged
        self.positions[segment.worker] = Position(segment.sequence, reader.offset)
        if is_final and is_at_end:
            self.damaged += reader.torn
            self.positions[segment.worker] = Position(segment.sequence + 1, 0)
        return reader.offset - offset

    def _offset_in(self, segment: Segment) -> int | None:
        """Where to go on in this segment; None if it is behind us."""
        position = self.positions.get(segment.worker)
        if position is None or segment.sequence > position.sequence:
            return 0
        return position.offset if segment.sequence == position.sequence else None
