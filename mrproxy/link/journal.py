"""Shell. The journal's files: a worker appends, the control plane follows.

Theory of operation:
1. A worker appends to segments of its own, `journal-<worker>-<sequence>.mrj` (`segments.py`: a new one at each start).
2. What ends in one batch of events is one `write`. There is no fsync.
3. A disk error never reaches a request. The record is counted as lost and the next one is tried again.
4. A reader believes a frame only by its checksum. A damaged frame with a sound one behind it is stepped over and
   counted; anything else that does not parse ends the segment there.

Read next: `mrproxy/link/records.py`, the bytes; `mrproxy/ledger/spent.py`, budgets derived from these files.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mrproxy.link.records import Gap, JournalRecord, encode_frame, frame_bytes, split_frame
from mrproxy.link.segments import Appender, Segment, Series, is_being_written

__all__ = ["JournalRecord", "Position", "SegmentReader", "Tail", "Writer", "read_segment", "segments"]

_SERIES = Series("journal", ".mrj")
_BLOCK_BYTES = 1 << 20


class Position(NamedTuple):
    """How far a reader has come in one worker's segments."""

    sequence: int
    offset: int


def segments(directory: Path, worker: str | None = None) -> list[Segment]:
    """All segments in `directory` (of one worker), oldest first; empty if there is no such directory."""
    return _SERIES.segments(directory, worker)


class Writer(Appender):
    """Appends records to one worker's segments. Only the constructor may raise."""

    __slots__ = ("found_torn", "lost_records", "records", "written_bytes")

    def __init__(self, directory: Path, worker: str, segment_bytes: int) -> None:
        """Begin a new segment after whatever is there; `found_torn` says if the newest one ends in half a record."""
        super().__init__(_SERIES, directory, worker, segment_bytes)
        self.lost_records = 0
        self.records = 0
        self.written_bytes = 0
        self.found_torn = self._sequence > 0 and is_torn(self.path)
        directory.mkdir(parents=True, exist_ok=True)
        self._begin_segment()

    @property
    def position(self) -> Position:
        """Where the next record goes."""
        return Position(self._sequence, self._offset)

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
            written = os.write(self._fd, frames)
        except OSError:
            written = 0
        if written != len(frames):
            self._finish_batch(records, written)
            return
        self._offset += len(frames)
        self.records += len(records)
        self.written_bytes += len(frames)
        if self._offset >= self._segment_bytes:
            self._try_begin_segment()

    def _finish_batch(self, records: list[JournalRecord], written: int) -> None:
        """The rest of a batch of which only so many bytes were written.

        Frames among them that are whole stay, since a reader may have taken them: written again they would count twice.
        """
        sizes = [len(encode_frame(record)) for record in records]
        whole = 0
        while written >= sizes[whole]:
            written -= sizes[whole]
            whole += 1
        self._offset += sum(sizes[:whole])
        self.records += whole
        self.written_bytes += sum(sizes[:whole])
        self._repair()
        for record in records[whole:]:
            self.append(record)

    def _recovered(self, frame: bytes) -> bool:
        """Take back half a frame and try once more, in a new segment where this one cannot be repaired."""
        if not self._take_back() and not self._try_begin_segment():
            return False
        try:
            if os.write(self._fd, frame) == len(frame):
                return True
        except OSError:
            pass
        self._repair()
        return False

    def _repair(self) -> None:
        """Half a frame must not stand in front of the records to come."""
        if not self._take_back():
            self._try_begin_segment()


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

    A segment with a younger one beside it that nobody writes any more is final: what is torn at its end is counted in
    `torn_segments`, once. Until then its worker's younger segments wait.
    """

    def __init__(self, directory: Path, positions: Mapping[str, Position] | None = None) -> None:
        self.positions: dict[str, Position] = dict(positions or {})
        self.torn_segments = 0
        self.damaged_records = 0
        self._directory = directory

    def poll(self, max_records: int = 1000) -> list[JournalRecord]:
        """What is new, at most `max_records`; empty when nothing is. Reads files, so it blocks for as long."""
        taken: list[JournalRecord] = []
        held = ""
        found = segments(self._directory)
        for index, segment in enumerate(found):
            if len(taken) >= max_records:
                break
            offset = self._offset_in(segment)
            if offset is None or segment.worker == held:
                continue
            has_younger = index + 1 < len(found) and found[index + 1].worker == segment.worker
            if has_younger and is_being_written(segment.path):
                held = segment.worker
            self._take(segment, offset, max_records - len(taken), has_younger and segment.worker != held, taken)
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

    def _take(self, segment: Segment, offset: int, room: int, is_final: bool, taken: list[JournalRecord]) -> None:
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
