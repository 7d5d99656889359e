"""Shell. Questions to the table `records`: filtered, in pages, never all at once.

A page goes on behind the last row of the one before, by its moment and number (keyset pagination): the millionth page
costs what the first did, no transaction is open between two, and a caller that stops reading holds nothing up.
Read next: `schema.py`, whose indexes serve each filter in the order of time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, select, tuple_
from sqlalchemy import Row as SqlRow
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.database import Database
from mrproxy.storage.export import FIELDS
from mrproxy.storage.rows import Row
from mrproxy.storage.schema import records

PAGE_RECORDS = 1000
NAMED = ("user", "key_id", "model", "backend", "group", "code", "dialect", "operation", "request_id")
_STARTED = FIELDS.index("started_utc")
KEYS = (records.c.started_utc, records.c.id)


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """None does not matter. `since_utc` is included and `until_utc` is not; the same goes for the two of `statuses`."""

    since_utc: float | None = None
    until_utc: float | None = None
    user: str | None = None
    key_id: str | None = None
    model: str | None = None
    backend: str | None = None
    statuses: tuple[int, int] | None = None
    group: str | None = None
    code: str | None = None
    dialect: str | None = None
    operation: str | None = None
    request_id: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.since_utc is not None:
            found.append(records.c.started_utc >= self.since_utc)
        if self.until_utc is not None:
            found.append(records.c.started_utc < self.until_utc)
        named = {name: getattr(self, name) for name in NAMED}
        found += [records.c[name] == wanted for name, wanted in named.items() if wanted is not None]
        if self.statuses is not None:
            low, high = self.statuses
            # One status is an equality: only then its index also gives the order of time.
            found.append(records.c.status == low if high == low + 1 else records.c.status.between(low, high - 1))
        return found


class Cursor(NamedTuple):
    """Behind which row to go on."""

    started_utc: float
    id: int


class Page(NamedTuple):
    """Rows have FIELDS. `following` is None after the last page."""

    rows: Sequence[Row]
    following: Cursor | None
    ids: Sequence[int] = ()

    def cursor_at(self, index: int) -> Cursor:
        """To go on behind that row."""
        started_utc = self.rows[index][_STARTED]
        assert isinstance(started_utc, float)
        return Cursor(started_utc, self.ids[index])


async def read_page(
    connection: AsyncConnection,
    wanted: RecordFilter,
    behind: Cursor | None = None,
    limit: int = PAGE_RECORDS,
    is_newest_first: bool = False,
) -> Page:
    """For `Database.read`."""
    found = (await connection.execute(_selection(wanted, behind, limit, is_newest_first))).all()
    return page_of(found, is_full=len(found) == limit)


def page_of(found: Sequence[SqlRow[Any]], *, is_full: bool) -> Page:
    """Of rows whose `id` stands before FIELDS."""
    page = Page([tuple(row[1:]) for row in found], None, [row[0] for row in found])
    return page._replace(following=page.cursor_at(-1)) if is_full and found else page


async def each_page(
    database: Database, wanted: RecordFilter, take: Callable[[Sequence[Row]], object], *, limit: int | None = None
) -> int:
    """Hand all that is wanted to `take`, oldest first, or the newest `limit` newest first; how many it was."""
    count, behind = 0, None
    while limit is None or count < limit:
        size = PAGE_RECORDS if limit is None else min(PAGE_RECORDS, limit - count)
        page = await database.read(read_page, wanted, behind, size, limit is not None)
        take(page.rows)
        count += len(page.rows)
        behind = page.following
        if behind is None:
            break
    return count


def _selection(
    wanted: RecordFilter, behind: Cursor | None, limit: int, is_newest_first: bool
) -> Select[tuple[object, ...]]:
    fields = [records.c[name] for name in FIELDS]
    chosen = select(records.c.id, *fields).where(where(wanted, behind, is_newest_first))
    return chosen.order_by(*order(is_newest_first)).limit(limit)


def where(wanted: RecordFilter, behind: Cursor | None, is_newest_first: bool) -> ColumnElement[bool]:
    conditions = wanted.conditions()
    if behind is not None:
        here = tuple_(*behind)
        conditions.append(tuple_(*KEYS) < here if is_newest_first else tuple_(*KEYS) > here)
    return and_(True, *conditions)


def order(is_newest_first: bool) -> list[ColumnElement[object]]:
    return [key.desc() for key in KEYS] if is_newest_first else list(KEYS)
