"""Shell. Follows the snapshot file: whoever looks gets the new one, once, without having stopped for it.

The file is replaced and never changed, so its inode, size and time say whether it is another one. Reading it is left
to a thread; making a catalogue of it is ours, in slices (`link/catalogue.py`), because a thread that decodes holds the
interpreter as much as we do. One that cannot be read is a problem until it is replaced; what is served stays.
Read next: `mrproxy/worker.py`, which looks four times a second.
"""

from collections.abc import Generator
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
        self._stamp: _Stamp | None = None

    def first(self) -> Catalogue:
        """At start, when nobody has to be kept from waiting. Raises SnapshotError."""
        self._stamp = self._look()
        return made(catalogue_of(_read(self.path)))

    async def look(self) -> Catalogue | None:
        """The new one, if there is another one than at the last look. Raises SnapshotError, once for each file.

        Not to be called twice at the same time.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            data = await trio.to_thread.run_sync(_read, self.path)
            catalogue = await _in_slices(catalogue_of(data))
        except SnapshotError as exc:
            self.problem = str(exc)
            raise
        self.problem = ""
        return catalogue

    def _look(self) -> _Stamp | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SnapshotError(f"{path}: {exc.strerror}") from exc
