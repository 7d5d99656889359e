"""Shell. What the configuration says, for those who show it: `configured.json`, which the supervisor writes.

Read again when it was replaced. A part that cannot be read is the one before, or nothing: showing less is no reason to
answer nobody.
"""

from pathlib import Path

from mrproxy.link.publishing import CONFIGURED_NAME
from mrproxy.link.snapshot import Snapshot, SnapshotError, read

NOTHING = Snapshot(generation=0, created_utc=0.0)


class Configured:
    """Of one data directory. Call it."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / CONFIGURED_NAME
        self._seen: tuple[int, int] | None = None
        self._snapshot = NOTHING

    def __call__(self) -> Snapshot:
        try:
            found = self._path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._seen:
                self._snapshot = read(self._path)
                self._seen = (found.st_ino, found.st_mtime_ns)
        except (OSError, SnapshotError):
            return self._snapshot
        return self._snapshot


def nothing_configured() -> Snapshot:
    return NOTHING
