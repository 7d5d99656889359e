"""Shell. Captured bodies on disk: JSON lines next to the journal, `capture-<worker>-<sequence>.ndjson`.

Theory of operation:
1. One line is one request, written at its end with one `write` to a segment (`segments.py`); no fsync.
2. The first line begins a segment: a worker that captures nothing writes no file.
3. A disk error loses the line and is counted; half a line is taken back. It never reaches a request.
4. Mode 0600: these are prompts. No header is ever given to this module, so no key is in it.
A reader steps over a line that does not parse and says how many.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from mrproxy.link.records import JournalRecord
from mrproxy.link.segments import Appender, Series

_SERIES = Series("capture", ".ndjson")
_LONGEST_CHARACTER_BYTES = 4


class KeptBody(Protocol):
    """The beginning of a body: `canonical.capture.Body`."""

    kept: bytearray
    is_truncated: bool


class CapturedBodies(msgspec.Struct, frozen=True):
    """One line. `request` and `answer` are text, or base64 where it is said so: they need not be UTF-8."""

    request_id: str
    started_utc: float
    key_id: str
    user: str
    model: str
    status: int
    request: str
    request_truncated: bool
    answer: str
    answer_truncated: bool
    request_is_base64: bool = False
    answer_is_base64: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CapturedBodies).decode


def captured_bodies(record: JournalRecord, request: KeptBody, answer: KeptBody) -> CapturedBodies:
    """The line of one request, which says the same of it as its journal record."""
    request_text, request_is_base64 = as_text(request)
    answer_text, answer_is_base64 = as_text(answer)
    return CapturedBodies(
        record.request_id,
        record.started_utc,
        record.key_id,
        record.user,
        record.model,
        record.status,
        request_text,
        request.is_truncated,
        answer_text,
        answer.is_truncated,
        request_is_base64,
        answer_is_base64,
    )


def as_text(body: KeptBody) -> tuple[str, bool]:
    """The text, and whether it is base64. Half a character at the place of a cut is dropped."""
    kept = body.kept
    try:
        return kept.decode(), False
    except UnicodeDecodeError as exc:
        is_half = exc.reason == "unexpected end of data" and exc.start > len(kept) - _LONGEST_CHARACTER_BYTES
        if body.is_truncated and is_half:
            return kept[: exc.start].decode(), False
    return base64.b64encode(kept).decode(), True


class CaptureWriter(Appender):
    """Appends one worker's captures. Nothing raises but the constructor, for a worker's name that is none; nothing is
    opened before the first line."""

    __slots__ = ("lost", "written")

    def __init__(self, directory: Path, worker: str, segment_bytes: int) -> None:
        super().__init__(_SERIES, directory, worker, segment_bytes)
        self.written = 0
        self.lost = 0

    def append(self, bodies: CapturedBodies) -> None:
        """Write one line, or count it in `lost`."""
        line = _encode(bodies) + b"\n"
        try:
            if self._fd < 0:
                self._begin_segment()
            if os.write(self._fd, line) != len(line):
                raise OSError("short write")
        except OSError:
            self.lost += 1
            if not self._take_back():
                self.close()
            return
        self.written += 1
        self._offset += len(line)
        if self._offset >= self._segment_bytes:
            self.close()


def capture_segments(directory: Path, worker: str | None = None) -> list[Path]:
    """All segments (of one worker), by worker and then oldest first; empty if there is no such directory."""
    return [segment.path for segment in _SERIES.segments(directory, worker)]


class CaptureReader(Iterator[CapturedBodies]):
    """The lines of one segment. `damaged_lines` counts those that are none, half a line at the end included."""

    def __init__(self, path: Path) -> None:
        self.damaged_lines = 0
        self._file = path.open("rb")

    def __next__(self) -> CapturedBodies:
        for line in self._file:
            try:
                return _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.damaged_lines += 1
        self._file.close()
        raise StopIteration
