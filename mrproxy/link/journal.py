"""Shell. The journal's files: a worker appends, the control plane follows.

Theory of operation:
1. A worker owns its segments, `journal-<worker>-<sequence>.mrj`. Each start begins a new one, so a torn tail left by
   `kill -9` is never written over and never in the middle. One live writer per worker name.
2. What ends in one batch of events is one `write` to a file opened for appending. There is no fsync: what a dead
   process wrote is safe in the page cache; the last seconds before a power cut are not (nginx's and Envoy's access
   logs make the same choice).
3. A disk error never reaches a request. The record is counted as lost and the next one is tried again.
4. A reader believes a frame only by its checksum. A damaged frame with a sound one behind it is stepped over and
   counted; anything else that does not parse ends the segment there.

Read next: `mrproxy/link/records.py`, the bytes; `mrproxy/ledger/spent.py`, budgets derived from these files.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mrproxy.link.records import Gap, JournalRecord, encode_frame, frame_bytes, split_frame

__all__ = ["JournalRecord", "Position", "SegmentReader", "Tail", "Writer", "read_segment", "segments"]

_NAME = re.compile(r"journal-(?P<worker>[A-Za-z0-9_.-]+)-(?P<sequence>[0-9]{12,})\.mrj")
_BLOCK_BYTES = 1 << 20


class Position(NamedTuple):
    """How far a reader has come in one worker's segments."""

    sequence: int
    offset: int


class Segment(NamedTuple):
    """One journal file; sorts by worker, then by age."""

    worker: str
    sequence: int
    path: Path


def segments(directory: Path, worker: str | None = None) -> list[Segment]:
    """All segments in `directory` (of one worker), oldest first; empty if there is no such directory."""
    found = []
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None and worker in (None, match["worker"]):
            found.append(Segment(match["worker"], int(match["sequence"]), directory / name))
    return sorted(found)


class Writer:
    """Appends records to one worker's segments. Only the constructor may raise."""

    __slots__ = (
        "_directory",
        "_fd",
        "_offset",
        "_segment_bytes",
        "_sequence",
        "found_torn",
        "lost_records",
        "records",
        "worker",
        "written_bytes",
    )

    def __init__(self, directory: Path, worker: str, segment_bytes: int) -> None:
        """Begin a new segment after whatever is there; `found_torn` says if the newest one ends in half a record."""
        if _NAME.fullmatch(f"journal-{worker}-{0:012d}.mrj") is None:
            raise ValueError(f"a worker's name may have letters, digits and ._- only, not {worker!r}")
        self.worker = worker
        self.lost_records = 0
        self.records = 0
        self.written_bytes = 0
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._offset = 0
        older = segments(directory, worker)
        self._sequence = older[-1].sequence if older else 0
        self.found_torn = bool(older) and is_torn(older[-1].path)
        directory.mkdir(parents=True, exist_ok=True)
        self._begin_segment()

    @property
    def position(self) -> Position:
        """Where the next record goes."""
        return Position(self._sequence, self._offset)

    @property
    def path(self) -> Path:
        """The segment that is being written."""
        return self._path_of(self._sequence)

    def append(self, record: JournalRecord) -> int:
        """Write one record; its size in bytes, or 0 if it was lost (counted in `lost_records`)."""
        frame = encode_frame(record)
        size = len(frame)
        try:
            if os.write(self._fd, frame) != size:
                raise OSError("short write")
        except OSError:
            # A full disk takes a part of a frame and then nothing; a closed or never opened segment takes nothing.
            if not self._recovered(frame):
                self.lost_records += 1
                return 0
        self._offset += size
        self.records += 1
        self.written_bytes += size
        if self._offset >= self._segment_bytes:
            self._try_begin_segment()
        return size

    def append_all(self, records: list[JournalRecord]) -> None:
        """Several records with one write; one by one when that fails, so that as few as possible are lost."""
        if len(records) == 1:
            self.append(records[0])
            return
        frames = b"".join([encode_frame(record) for record in records])
        try:
            if os.write(self._fd, frames) != len(frames):
                raise OSError("short write")
        except OSError:
            self._take_back()
            for record in records:
                self.append(record)
            return
        self._offset += len(frames)
        self.records += len(records)
        self.written_bytes += len(frames)
        if self._offset >= self._segment_bytes:
            self._try_begin_segment()

    def close(self) -> None:
        """Idempotent. There is nothing to flush. A record that comes later still is written, to a new segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _recovered(self, frame: bytes) -> bool:
        """Take back half a frame and try once more, in a new segment where this one cannot be repaired."""
        try:
            os.ftruncate(self._fd, self._offset)
        except OSError:
            if not self._try_begin_segment():
                return False
        try:
            if os.write(self._fd, frame) == len(frame):
                return True
            os.ftruncate(self._fd, self._offset)
        except OSError:
            self._take_back()
        return False

    def _take_back(self) -> None:
        """Half a frame must not stand in front of the records to come."""
        try:
            os.ftruncate(self._fd, self._offset)
        except OSError:
            self._try_begin_segment()

    def _try_begin_segment(self) -> bool:
        """False leaves everything as it was: better a segment that is too long than a record that is lost."""
        try:
            self._begin_segment()
        except OSError:
            return False
        return True

    def _begin_segment(self) -> None:
        sequence = self._sequence + 1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        # Mode 0600: records name users and their addresses.
        fd = os.open(self._path_of(sequence), flags, 0o600)
        self.close()
        self._fd, self._sequence, self._offset = fd, sequence, 0

    def _path_of(self, sequence: int) -> Path:
        return self._directory / f"journal-{self.worker}-{sequence:012d}.mrj"


class SegmentReader(Iterator[tuple[int, JournalRecord]]):
    """Yields `(offset_after, record)` to the end of what is there, then says how it ended.

    `torn`: bytes that are no whole frame follow `offset` (half a record, or one still being written).
    `damaged_records`: frames that were stepped over because their checksum or content was wrong.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.offset = offset
        self.torn = False
        self.damaged_records = 0
        self._file = path.open("rb")
        self._file.seek(offset)
        self._block = memoryview(b"")
        self._start = 0

    def __next__(self) -> tuple[int, JournalRecord]:
        while True:
            found = split_frame(self._block, self._start)
            if isinstance(found, JournalRecord):
                self._step()
                return self.offset, found
            if found is Gap.NOT_ALL_HERE and self._read_more():
                continue
            if found is Gap.DAMAGED and self._sound_frame_follows():
                self.damaged_records += 1
                self._step()
                continue
            self.torn = self._start < len(self._block)
            self.close()
            raise StopIteration

    def close(self) -> None:
        """Idempotent; reading to the end closes by itself."""
        self._file.close()

    def _step(self) -> None:
        size = frame_bytes(self._block, self._start) or 0
        self._start += size
        self.offset += size

    def _read_more(self) -> bool:
        if self._file.closed:
            return False
        more = self._file.read(_BLOCK_BYTES)
        if more:
            self._block = memoryview(bytes(self._block[self._start :]) + more)
            self._start = 0
        return bool(more)

    def _sound_frame_follows(self) -> bool:
        """Whether the length of a damaged frame can be believed: a record parses right behind it."""
        size = frame_bytes(self._block, self._start) or 0
        following = split_frame(self._block, self._start + size)
        while following is Gap.NOT_ALL_HERE and self._read_more():
            following = split_frame(self._block, self._start + size)
        return isinstance(following, JournalRecord)


def read_segment(path: Path, offset: int = 0) -> SegmentReader:
    """All records of one segment from `offset` on; OSError if it cannot be opened."""
    return SegmentReader(path, offset)


def is_torn(path: Path) -> bool:
    """Whether a segment ends in something that is not a whole record."""
    reader = read_segment(path)
    for _ in reader:
        pass
    return reader.torn


class Tail:
    """Follows all workers' segments by polling; `positions` is what to store together with the records taken.

    A segment with a younger one beside it is final: what is torn at its end is counted in `torn_segments`, once.
    """

    def __init__(self, directory: Path, positions: Mapping[str, Position] | None = None) -> None:
        self.positions: dict[str, Position] = dict(positions or {})
        self.torn_segments = 0
        self.damaged_records = 0
        self._directory = directory

    def poll(self, max_records: int = 1000) -> list[JournalRecord]:
        """What is new, at most `max_records`; empty when nothing is. Reads files, so it blocks for as long."""
        taken: list[JournalRecord] = []
        found = segments(self._directory)
        for index, segment in enumerate(found):
            if len(taken) >= max_records:
                break
            is_final = index + 1 < len(found) and found[index + 1].worker == segment.worker
            self._take(segment, max_records - len(taken), is_final, taken)
        return taken

    def lag_bytes(self) -> int:
        """How much is written and not yet taken."""
        lag = 0
        for segment in segments(self._directory):
            offset = self._offset_in(segment)
            if offset is not None:
                with contextlib.suppress(FileNotFoundError):
                    lag += max(0, segment.path.stat().st_size - offset)
        return lag

    def _take(self, segment: Segment, room: int, is_final: bool, taken: list[JournalRecord]) -> None:
        offset = self._offset_in(segment)
        if offset is None:
            return
        try:
            reader = read_segment(segment.path, offset)
        except FileNotFoundError:  # retention was quicker
            return
        for _, record in reader:
            taken.append(record)
            room -= 1
            if not room:
                break
        reader.close()
        self.damaged_records += reader.damaged_records
        self.positions[segment.worker] = Position(segment.sequence, reader.offset)
        if is_final and room:
            self.torn_segments += reader.torn
            self.positions[segment.worker] = Position(segment.sequence + 1, 0)

    def _offset_in(self, segment: Segment) -> int | None:
        """Where to go on in this segment; None if it is behind us."""
        position = self.positions.get(segment.worker)
        if position is None or segment.sequence > position.sequence:
            return 0
        return position.offset if segment.sequence == position.sequence else None
