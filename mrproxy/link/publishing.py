"""Shell. Puts a new snapshot into force: both parts, merged, in place of the one before.

Whoever has replaced its part (`configured.json`: the supervisor, `managed.json`: the control plane) calls `publish`.
The merge happens under a lock and reads both parts there, so the last one to publish has seen the newest of both, and
generations only rise. A part that cannot be read changes nothing: the snapshot in force stays in force.
Read next: `merging.py`; `mrproxy/worker.py`, which looks for a new snapshot four times a second.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mrproxy.link.merging import merge
from mrproxy.link.snapshot import SnapshotError, encode, read, read_managed, read_preamble, replace_file

CONFIGURED_NAME = "configured.json"
MANAGED_NAME = "managed.json"
SNAPSHOT_NAME = "snapshot.json"
_LOCK_NAME = "snapshot.lock"


def publish(data_dir: Path, now_utc: float) -> int:
    """The generation in force, which is a new one if anything has changed. Reads and writes files, so it blocks.

    Raises SnapshotError when a part cannot be read and OSError when the disk will not have the result.
    """
    path = data_dir / SNAPSHOT_NAME
    with _publishing(data_dir):
        merged = merge(read(data_dir / CONFIGURED_NAME), read_managed(data_dir / MANAGED_NAME))
        try:
            present = read_preamble(path)
        except SnapshotError:
            generation = 1
        else:
            generation = present.generation + 1
            same = msgspec.structs.replace(merged, generation=present.generation, created_utc=present.created_utc)
            if encode(same) == path.read_bytes():
                return present.generation
        replace_file(path, encode(msgspec.structs.replace(merged, generation=generation, created_utc=now_utc)))
    return generation


@contextmanager
def _publishing(data_dir: Path) -> Iterator[None]:
    """One at a time. The lock ends with the process that has it, however it ends."""
    with open(data_dir / "run" / _LOCK_NAME, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
