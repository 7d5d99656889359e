"""Shell. Follows the journal: one access line per finished request, and how far behind the reading is.

The relay plane never logs a request: it appends a record, and this reads it. Positions live in memory, so a restarted
control plane begins at the end of the journal: an access line is a convenience, the record itself is what is kept.
Read next: `mrproxy/link/journal.py`, whose files these are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import trio

from mrproxy.control.reports import JournalLag
from mrproxy.link.journal import JournalRecord, Position, Tail, segments

Value = str | int | float | bool | None

POLL_SECONDS = 0.25
# About 5 ms of work between two checkpoints: a dashboard's request waits no longer for a busy journal.
BATCH_RECORDS = 200


class ControlLog(Protocol):
    """What the control plane writes to; `mrproxy.telemetry.log.Log` is one."""

    def info(self, event: str, **fields: Value) -> None: ...
    def error(self, event: str, **fields: Value) -> None: ...
    def requests(self, records: Sequence[JournalRecord]) -> None:
        """Access lines, many at once: one by one they cost more CPU than the requests themselves."""


class Records:
    """The journal of one data directory, from now on. Without an access log nobody wants the records: only their end
    is followed, which costs a `stat`."""

    def __init__(self, directory: Path, log: ControlLog, *, access_log: bool) -> None:
        self.records_read = 0
        self._directory = directory
        self._tail = Tail(directory, positions_at_end(directory))
        self._log = log
        self._access_log = access_log
        self._caught_up_at = trio.current_time()

    async def follow(self) -> None:
        """Read for ever. A disk that does not answer is reported once and tried again."""
        is_failing = False
        while True:
            try:
                is_more = self._read_batch(trio.current_time())
                is_failing = False
            except OSError as exc:
                is_more = False
                if not is_failing:
                    self._log.error("journal unreadable", error=str(exc))
                is_failing = True
            await trio.sleep(0 if is_more else POLL_SECONDS)

    def read_to_end(self, now: float) -> None:
        """What the last requests left, when nobody follows any more. Raises OSError."""
        while self._read_batch(now):
            pass

    def lag(self, now: float) -> JournalLag:
        """Bytes not yet read, and for how long there have been any."""
        try:
            lag_bytes = self._tail.lag_bytes()
        except OSError:  # a segment was removed between the listing and the look at its size
            lag_bytes = 0
        return JournalLag(lag_bytes, max(0.0, now - self._caught_up_at) if lag_bytes else 0.0)

    def _read_batch(self, now: float) -> bool:
        """Whether there may be more at once."""
        if not self._access_log:
            self._tail.positions = positions_at_end(self._directory)
            self._caught_up_at = now
            return False
        records = self._tail.poll(BATCH_RECORDS)
        self._log.requests(records)
        self.records_read += len(records)
        if len(records) < BATCH_RECORDS:
            self._caught_up_at = now
            return False
        return True


def positions_at_end(directory: Path) -> dict[str, Position]:
    """Behind everything that is there, for each worker. OSError if a segment cannot be looked at."""
    return {segment.worker: Position(segment.sequence, segment.path.stat().st_size) for segment in segments(directory)}
