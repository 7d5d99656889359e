"""Shell. Captured bodies on disk: JSON lines next to the journal, `capture-<worker>-<sequence>.ndjson`.

Theory of operation:
1. One line is one request, written at its end with one `write` to a segment (`segments.py`); no fsync.
2. The first line begins a segment: a worker that captures nothing writes no file.
3. A disk error loses the line and is counted; half a line is taken back. It never reaches a request.
4. Mode 0600: these are prompts. No header is ever given to this module, so no key is in it.
A reader steps over a line that does not parse and says how many. `CaptureTail` follows what is written, for those who
take it over; a segment that was taken over whole is removed, the newest of a worker emptied: its number must stay.
"""

import base64
import fcntl
import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from mrproxy.link.journal import Position
from mrproxy.link.records import JournalRecord
from mrproxy.link.segments import Appender, Segment, Series

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


class CaptureTail:
    """Follows all workers' captures by polling; `positions` is what to store together with the lines taken.

    A segment that nobody writes any more is final: behind its last line comes the next segment. The newest of a worker
    is not while it is empty: its writer may be about to lock it.
    """

    def __init__(self, directory: Path, positions: Mapping[str, Position] | None = None) -> None:
        self.positions: dict[str, Position] = dict(positions or {})
        self.damaged_lines = 0
        self._directory = directory

    def poll(self, max_lines: int, max_bytes: int) -> list[CapturedBodies]:
        """What is new: at most `max_lines`, and no further line behind `max_bytes`. Blocks. Raises OSError."""
        taken: list[CapturedBodies] = []
        held = ""
        found = _SERIES.segments(self._directory)
        newest = newest_of(found)
        for segment in found:
            offset = offset_in(segment, self.positions)
            if offset is None or segment.worker == held:
                continue
            has_lines = segment.path.stat().st_size > 0
            # Asked before reading: what it has then is all of it.
            is_final = (has_lines or segment not in newest) and is_finished(segment.path)
            if not is_final:
                held = segment.worker
            with segment.path.open("rb") as file:
                file.seek(offset)
                read_bytes = self._take(file, is_final, max_lines - len(taken), max_bytes, taken)
            is_whole = is_final and offset + read_bytes >= segment.path.stat().st_size
            end = Position(segment.sequence + 1, 0) if is_whole else Position(segment.sequence, offset + read_bytes)
            self.positions[segment.worker] = end
            max_bytes -= read_bytes
            if max_bytes <= 0 or len(taken) >= max_lines:
                break
        return taken

    def _take(self, file: BinaryIO, is_final: bool, max_lines: int, max_bytes: int, taken: list[CapturedBodies]) -> int:
        """How many bytes were read: whole lines, and half a line where nobody will finish it."""
        read_bytes = lines = 0
        while lines < max_lines and read_bytes < max_bytes:
            line = file.readline()
            if not line or (not line.endswith(b"\n") and not is_final):
                break
            read_bytes += len(line)
            try:
                taken.append(_decode(line))
                lines += 1
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.damaged_lines += 1
        return read_bytes


def offset_in(segment: Segment, positions: Mapping[str, Position]) -> int | None:
    """Where to go on in this segment; None if it is behind us."""
    position = positions.get(segment.worker)
    if position is None or segment.sequence > position.sequence:
        return 0
    return position.offset if segment.sequence == position.sequence else None


def believable(directory: Path, positions: Mapping[str, Position]) -> dict[str, Position]:
    """The positions, or the very beginning where they are beyond what is there: somebody removed segments by hand, or
    restored an older directory, and the numbers began anew. Raises OSError."""
    newest = {segment.worker: segment for segment in _SERIES.segments(directory)}
    believed = {}
    for worker, position in positions.items():
        segment = newest.get(worker)
        is_behind = segment is not None and position <= Position(segment.sequence, segment.path.stat().st_size)
        is_next = segment is not None and position == Position(segment.sequence + 1, 0)
        believed[worker] = position if is_behind or is_next else Position(0, 0)
    return believed


def is_finished(path: Path) -> bool:
    """Whether nobody will ever append to this segment. Where locks do not work, nobody can say so."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def remove_taken(directory: Path, positions: Mapping[str, Position]) -> int:
    """Remove what lies behind the positions; how many segments had something in them. Raises OSError."""
    found = _SERIES.segments(directory)
    behind = [segment for segment in found if offset_in(segment, positions) is None]
    return sum(remove(segment, is_newest=segment in newest_of(found)) for segment in behind)


def remove_older(directory: Path, before_utc: float) -> int:
    """The same with what was written last before then, taken over or not, and is finished. Raises OSError."""
    found = _SERIES.segments(directory)
    old = [each for each in found if each.path.stat().st_mtime < before_utc and is_finished(each.path)]
    return sum(remove(segment, is_newest=segment in newest_of(found)) for segment in old)


def newest_of(found: list[Segment]) -> set[Segment]:
    """Of each worker, the one behind which the next is numbered."""
    older = {segment for segment, following in pairwise(found) if segment.worker == following.worker}
    return set(found) - older


def remove(segment: Segment, *, is_newest: bool) -> bool:
    """Whether there was something in it."""
    had_lines = segment.path.stat().st_size > 0
    if not is_newest:
        segment.path.unlink(missing_ok=True)
    elif had_lines:
        os.truncate(segment.path, 0)
    return had_lines
