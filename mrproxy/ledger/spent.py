"""Shell. What every key, user and group has spent so far, derived from the journal: budgets survive restarts.

The sums are a fold over all records of all workers, kept in a checkpoint file beside the segments together with the
positions up to which they hold. Reading on from the checkpoint gives the present, so it never has to be right about
anything but itself, and whoever has the time may write it: a worker at start, the control plane now and then. Segments
may be removed once a checkpoint that covers them is on disk, and these rules keep the sums right while that happens:

1. A checkpoint replaces only the one it was made from (`save`), so an older one never comes back.
2. Whoever read segments while the checkpoint changed may have missed some that were removed, and reads again
   (`read_spent`).

Read next: `sums.py`; `mrproxy/link/journal.py`; `mrproxy/ledger/entry.py`, which starts from these sums.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mrproxy.ledger.sums import Sums, charged_to_budgets, month_begins_utc, month_of, next_month
from mrproxy.link.journal import JournalRecord, Position, Tail

CHECKPOINT_NAME = "spent.json"
_FORMAT = 1
# The present one and, after a clock that had been wrong for a while, one that is not true.
_KEPT_MONTHS = 2


class _Checkpoint(msgspec.Struct, frozen=True):
    """Those of older versions have no groups and no months: what was spent before then is in no pot."""

    format: int
    positions: dict[str, Position]
    by_key_id: dict[str, int]
    by_user: dict[str, int]
    by_group: dict[str, int] = {}
    months: dict[str, Sums] = {}


class Spent:
    """Tokens charged, in all (`lifetime`) and by month. `catch_up` reads files, so it blocks; the sums do not."""

    def __init__(self, directory: Path) -> None:
        """Start from the checkpoint in `directory`, or from nothing if there is none that can be read."""
        self._found = _read(directory)
        checkpoint = _decode(self._found)
        if checkpoint is None:
            self.lifetime, self.months = Sums(), dict[str, Sums]()
        else:
            self.lifetime = Sums(checkpoint.by_key_id, checkpoint.by_user, checkpoint.by_group)
            self.months = checkpoint.months
        self._month_bounds_utc = (0.0, 0.0)
        self._tail = Tail(directory, None if checkpoint is None else checkpoint.positions)
        self._directory = directory

    def catch_up(self, max_records: int | None = None) -> int:
        """Add what the journal has beyond the position (at most `max_records`); how many records that was."""
        count = 0
        while max_records is None or count < max_records:
            room = 10_000 if max_records is None else max_records - count
            records = self._tail.poll(room)
            if not records:
                break
            self._add(records)
            count += len(records)
        return count

    @property
    def positions(self) -> dict[str, Position]:
        """Up to where the sums hold, by worker."""
        return dict(self._tail.positions)

    def is_current(self) -> bool:
        """Whether the checkpoint on disk still is the one that this was made from."""
        return _read(self._directory) == self._found

    def save(self) -> bool:
        """Replace the checkpoint in one step; False if another process did so since, or does so now.

        OSError if the disk will not have it (the old one is then still good).
        """
        sums = self.lifetime
        checkpoint = _Checkpoint(
            _FORMAT, self._tail.positions, sums.by_key_id, sums.by_user, sums.by_group, self.months
        )
        data = msgspec.json.encode(checkpoint)
        self._directory.mkdir(parents=True, exist_ok=True)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Never waited for: the other process may be stopped, and a worker that starts must not depend on it.
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self.is_current():
                return False
            self._replace(data)
            os.fsync(directory)  # before any segment goes that it stands for
        except BlockingIOError:
            return False
        finally:
            os.close(directory)
        self._found = data
        return True

    def _replace(self, data: bytes) -> None:
        fd, temporary = tempfile.mkstemp(prefix=f".{CHECKPOINT_NAME}-", dir=self._directory)  # its mode is 0600
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            Path(temporary).replace(self._directory / CHECKPOINT_NAME)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _add(self, records: Iterable[JournalRecord]) -> None:
        for record in records:
            tokens = charged_to_budgets(record)
            if tokens:
                self.lifetime.add(record, tokens)
                month = self._month_at(record.started_utc + record.total_seconds)
                if month is not None:
                    month.add(record, tokens)

    def _month_at(self, ended_utc: float) -> Sums | None:
        """A request is of the month in which it ended. None: so long ago that no budget asks for it any more."""
        begins_utc, ends_utc = self._month_bounds_utc
        if not begins_utc <= ended_utc < ends_utc:
            try:
                self._month = month_of(ended_utc)
                self._month_bounds_utc = month_begins_utc(self._month), month_begins_utc(next_month(self._month))
            except (ValueError, OverflowError, OSError):  # no time that a calendar knows
                return None
        months = self.months
        if self._month not in months:
            if len(months) >= _KEPT_MONTHS:
                oldest = min(months)
                if self._month < oldest:
                    return None
                del months[oldest]
            months[self._month] = Sums()
        return months[self._month]


def read_spent(directory: Path) -> Spent:
    """What has been spent up to now. Reads files, so it blocks."""
    while True:
        spent = Spent(directory)
        spent.catch_up()
        if spent.is_current():
            return spent


def _read(directory: Path) -> bytes:
    try:
        return (directory / CHECKPOINT_NAME).read_bytes()
    except OSError:
        return b""


def _decode(found: bytes) -> _Checkpoint | None:
    try:
        checkpoint = msgspec.json.decode(found, type=_Checkpoint)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return checkpoint if checkpoint.format == _FORMAT else None
