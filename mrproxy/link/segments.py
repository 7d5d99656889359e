"""Shell. Files that are only ever appended to, cut into numbered segments: who lists, begins, repairs and ends them.

Theory of operation:
1. A worker owns its segments, `<series>-<worker>-<sequence>.<suffix>`. Each start begins a new one, so a torn tail left
   by `kill -9` is never written over and never in the middle. One live appender per series and worker.
2. A segment is opened for appending with mode 0600 and is never synced: what a dead process wrote is safe in the page
   cache; the last seconds before a power cut are not (nginx's and Envoy's access logs make the same choice).
3. The segment being written is locked. A dead writer's lock is gone, whatever killed it, and what nobody holds and
   is not the newest will never grow again: so readers know what is final, even while a worker whose supervisor was
   killed still finishes beside its successor.
4. Half of what was to be written must not stand in front of what comes next: it is cut off again (`_take_back`).

What a piece is, and what happens to one that the disk did not take, is for those who append.
Read next: `mrproxy/link/journal.py` and `mrproxy/link/capture.py`, the two series there are.
"""

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import NamedTuple

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Segment(NamedTuple):
    """One file; sorts by worker, then by age."""

    worker: str
    sequence: int
    path: Path


class Series:
    """The names of one kind of segments, e.g. `journal-<worker>-<sequence>.mrj`."""

    __slots__ = ("_name", "_prefix", "_suffix")

    def __init__(self, prefix: str, suffix: str) -> None:
        self._prefix = prefix
        self._suffix = suffix
        self._name = re.compile(
            rf"{re.escape(prefix)}-(?P<worker>[A-Za-z0-9_.-]+)-(?P<sequence>[0-9]{{12,}}){re.escape(suffix)}"
        )

    def segments(self, directory: Path, worker: str | None = None) -> list[Segment]:
        """All segments in `directory` (of one worker), oldest first; empty if there is no such directory."""
        found = []
        try:
            names = os.listdir(directory)
        except OSError:
            return []
        for name in names:
            match = self._name.fullmatch(name)
            if match is not None and worker in (None, match["worker"]):
                found.append(Segment(match["worker"], int(match["sequence"]), directory / name))
        return sorted(found)

    def name_of(self, worker: str, sequence: int) -> str:
        """The name of a file. Raises ValueError for a worker's name that would not be found again."""
        name = f"{self._prefix}-{worker}-{sequence:012d}{self._suffix}"
        if self._name.fullmatch(name) is None:
            raise ValueError(f"a worker's name may have letters, digits and ._- only, not {worker!r}")
        return name


def is_being_written(path: Path) -> bool:
    """Whether a living process may still append to this segment. Ask before reading to its end, not afterwards."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(fd)
    return False


class Appender:
    """One worker's newest segment of a series. Those who inherit write to `_fd` and count in `_offset`.

    Inherited from and not held, because the journal's write stands on the path of every request.
    """

    __slots__ = ("_directory", "_fd", "_offset", "_segment_bytes", "_sequence", "_series", "worker")

    def __init__(self, series: Series, directory: Path, worker: str, segment_bytes: int) -> None:
        """Opens nothing; the first segment will come after whatever is there."""
        series.name_of(worker, 0)
        older = series.segments(directory, worker)
        self.worker = worker
        self._series = series
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._sequence = older[-1].sequence if older else 0
        self._fd = -1
        self._offset = 0

    @property
    def path(self) -> Path:
        """The segment begun last."""
        return self._directory / self._series.name_of(self.worker, self._sequence)

    def close(self) -> None:
        """Idempotent. There is nothing to flush. What comes later still is written, to a new segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin_segment(self) -> None:
        """OSError leaves everything as it was."""
        sequence = self._sequence + 1
        # Mode 0600: these files name users, their addresses and what they asked.
        fd = os.open(self._directory / self._series.name_of(self.worker, sequence), _FLAGS, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.close()
        self._fd, self._sequence, self._offset = fd, sequence, 0

    def _try_begin_segment(self) -> bool:
        """False leaves everything as it was: better a segment that is too long than a record that is lost."""
        try:
            self._begin_segment()
        except OSError:
            return False
        return True

    def _take_back(self) -> bool:
        """Cut off what the last write left behind; False if the segment cannot be repaired, or there is none."""
        try:
            os.ftruncate(self._fd, self._offset)
        except OSError:
            return False
        return True
