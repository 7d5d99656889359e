"""Shell. Follows the snapshot file: whoever looks gets the new one, once, without having stopped for it.

The file is replaced and never changed, so its inode, size and time say whether it is another one. Reading it is left
to a thread; making a catalogue of it is ours, in slices (`link/catalogue.py`), because a thread that decodes holds the
interpreter as much as we do. One whose content is wrong is a problem until it is replaced; one that could not be read
(no descriptor was left) is read again at the next look. What is served stays.
Read next: `mrproxy/worker.py`, which looks four times a second.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from mrproxy.link.catalogue import Catalogue, catalogue_of, made
from mrproxy.link.snapshot import SnapshotError

_Stamp = tuple[int, int, int]


class Follower:
    """One reader's view of the file at `path`. `problem`: why what is there now is not served, or empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._stamp: _Stamp | None = None  # of what was read to its end, and is served or wrong

    def first(self) -> Catalogue:
        """At start, when nobody has to be kept from waiting. Raises SnapshotError."""
        try:
            stamp, data = _read(self.path)
        except OSError as exc:
            raise SnapshotError(f"{self.path}: {exc.strerror}") from exc
        self._stamp = stamp
        return made(catalogue_of(data))

    async def look(self) -> Catalogue | None:
        """The new one, if there is another one than at the last look. Raises SnapshotError, once for each reason.

        Cancelled: it has not been looked at. Not to be called twice at the same time.
        """
        try:
            if _stamp_of(self.path.stat()) == self._stamp:
                return None
            stamp, data = await trio.to_thread.run_sync(_read, self.path)
        except OSError as exc:
            self._stamp = None  # whatever is there when it can be read again
            reason = f"{self.path}: {exc.strerror}"
            if reason == self.problem:
                return None
            self.problem = reason
            raise SnapshotError(reason) from exc
        try:
            catalogue = await _in_slices(catalogue_of(data))
        except SnapshotError as exc:
            self._stamp, self.problem = stamp, str(exc)
            raise
        self._stamp, self.problem = stamp, ""
        return catalogue


class Rounds:
    """What one task does again and again, for whoever asks. They wait for a whole round, and may leave: it goes on."""

    def __init__(self) -> None:
        self._asked = trio.Event()
        self._ended = trio.Event()  # of the round that begins next

    def ask(self) -> None:
        """Without waiting for it."""
        self._asked.set()

    async def wait_round(self) -> None:
        """Ask, and wait until a round has ended that began afterwards."""
        ended = self._ended
        self.ask()
        await ended.wait()

    async def wait_asked(self) -> None:
        """The task's side: until somebody has asked since the last round began."""
        await self._asked.wait()

    @contextmanager
    def open_round(self) -> Iterator[None]:
        """The task's side. One that is cut off has not been: then the task ends, and all who wait with it."""
        self._asked = trio.Event()
        ended, self._ended = self._ended, trio.Event()
        yield
        ended.set()


async def free(catalogue: Catalogue) -> None:
    """Let go of one that is not needed any more; a hundred thousand keys at once would be 10 ms."""
    for _ in catalogue.dismantle():
        await trio.lowlevel.checkpoint()


async def _in_slices(steps: Generator[None, None, Catalogue]) -> Catalogue:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            catalogue: Catalogue = end.value
            return catalogue
        await trio.lowlevel.checkpoint()


def _read(path: Path) -> tuple[_Stamp, bytes]:
    """And the stamp of what was read: another one may be at its place by now. Raises OSError."""
    with path.open("rb") as file:
        return _stamp_of(os.fstat(file.fileno())), file.read()


def _stamp_of(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_size, found.st_mtime_ns
