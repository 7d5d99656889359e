"""Pure. Sums of what was spent, by key, user and group: in all, and in a calendar month (UTC).

1. A month is its name, `2026-07`; names sort as months do.
2. Which month it is is decided once, when a clock is read (`month_in_force`), and only goes forwards: a clock that is
   set back must not renew a budget. A clock that was more than a month ahead was wrong, and is not believed for ever.

Read next: `spent.py`, which makes the sums out of the journal; `entry.py`, which starts from them.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from mrproxy.link.records import JournalRecord


class Sums(msgspec.Struct):
    """Tokens as they were charged to budgets."""

    by_key_id: dict[str, int] = {}
    by_user: dict[str, int] = {}
    by_group: dict[str, int] = {}

    def add(self, record: JournalRecord, tokens: int) -> None:
        self.by_key_id[record.key_id] = self.by_key_id.get(record.key_id, 0) + tokens
        if record.user:
            self.by_user[record.user] = self.by_user.get(record.user, 0) + tokens
        if record.group:
            self.by_group[record.group] = self.by_group.get(record.group, 0) + tokens


def charged_to_budgets(record: JournalRecord) -> int:
    """What one record took of its budgets; none of them was ever refilled by a backend's nonsense."""
    if record.charged_tokens is not None:
        return max(0, record.charged_tokens)
    return max(0, (record.prompt_tokens or 0) + (record.completion_tokens or 0))


def month_of(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).strftime("%Y-%m")


def month_begins_utc(month: str) -> float:
    return datetime.fromisoformat(f"{month}-01T00:00:00+00:00").timestamp()


def next_month(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year + number // 12:04}-{number % 12 + 1:02}"


def last_month(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year - (number == 1):04}-{(number - 2) % 12 + 1:02}"


def month_in_force(now_utc: float, seen: Iterable[str]) -> str:
    """The clock's month, or the one after it where something has been spent in that already."""
    month = month_of(now_utc)
    following = next_month(month)
    return following if following in seen else month


class Calendar:
    """The month that budgets are of. `turn` is told the time now and then."""

    __slots__ = ("_begins_utc", "_ends_utc", "month")

    def __init__(self, month: str) -> None:
        self._set(month)

    def turn(self, now_utc: float) -> bool:
        """Whether a month has begun: then budgets are renewed."""
        if now_utc >= self._ends_utc:
            self._set(month_of(now_utc))
            return True
        if now_utc < self._begins_utc:  # set back by more than a month: it had been wrong
            self._set(month_of(now_utc))
        return False

    @property
    def ends_utc(self) -> float:
        return self._ends_utc

    def _set(self, month: str) -> None:
        self.month = month
        self._begins_utc = month_begins_utc(last_month(month))
        self._ends_utc = month_begins_utc(next_month(month))
