"""Shell. The log's lines in files as well, so that they can be asked for: `data_dir/logs/<component>.jsonl`.

Events only: access lines are made from records, which can be asked for themselves. Each process writes its own file;
when it is half as long as allowed it becomes `.1` and the one before goes. Nothing here raises or waits for long: a
full disk costs lines, which are counted. Reading looks at the ends of the files, newest lines last.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

SUFFIX = ".jsonl"
OLD_SUFFIX = ".jsonl.1"
# How much of each file is looked at: some ten thousand lines.
MAX_READ_BYTES = 4 * 1024 * 1024
SEVERITIES = ("debug", "info", "warning", "error")

Entry = dict[str, str | int | float | bool | None]


class LogFile:
    """Appends lines. `max_bytes` is what the two files of this component may take together; 0 writes none."""

    def __init__(self, directory: Path, component: str, max_bytes: int) -> None:
        self.lost_lines = 0
        self._path = directory / (component.replace(" ", "-") + SUFFIX)
        self._half_bytes = max_bytes // 2
        self._fd = -1
        self._size_bytes = 0

    def append(self, line: bytes) -> None:
        if not self._half_bytes:
            return
        try:
            if self._fd < 0:
                self._open()
            if self._size_bytes and self._size_bytes + len(line) > self._half_bytes:
                self._rotate()
            os.write(self._fd, line)
            self._size_bytes += len(line)
        except OSError:
            self.lost_lines += 1

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size_bytes = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        self._path.replace(self._path.with_suffix(OLD_SUFFIX))
        self._open()


@dataclass(frozen=True, slots=True)
class LogFilter:
    """`level` is the least severe. `text` is looked for in the whole line, whatever its case."""

    level: str = "debug"
    component: str | None = None
    since: str | None = None
    text: str | None = None

    def takes(self, entry: Entry, line: bytes) -> bool:
        level = str(entry.get("level", "info"))
        if level in SEVERITIES and SEVERITIES.index(level) < SEVERITIES.index(self.level):
            return False
        if self.component is not None and entry.get("component") != self.component:
            return False
        if self.since is not None and str(entry.get("at", "")) < self.since:
            return False
        return self.text is None or self.text.casefold() in line.decode("utf-8", "replace").casefold()


def read_log(directory: Path, wanted: LogFilter, limit: int) -> list[Entry]:
    """The newest `limit` entries of all components, oldest first. Reads files, so it blocks."""
    found: list[Entry] = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        found += _newest(path, wanted, limit)
    found.sort(key=lambda entry: str(entry.get("at", "")))
    return found[-limit:] if limit else []


def _newest(path: Path, wanted: LogFilter, limit: int) -> list[Entry]:
    """Of one component, newest first."""
    entries: list[Entry] = []
    for line in _lines_backwards((path, path.with_suffix(OLD_SUFFIX))):
        if len(entries) >= limit:
            break
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # half a line, at a cut
        if wanted.takes(entry, line):
            entries.append(entry)
    return entries


def _lines_backwards(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        try:
            with path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_READ_BYTES))
                lines = file.read(MAX_READ_BYTES).splitlines()
        except OSError:
            continue
        yield from reversed(lines)
