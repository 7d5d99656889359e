"""Shell. What became of requests, in three words, and how long they took: for those who ask by outcome.

    completed   answered as it should be
    cancelled   the client left before the end
    failed      everything else

Counting stops at COUNTED_RECORDS: how many millions there are beyond is of no use to a page, and costs what it counts.
Read next: `records.py`, for filters.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.canonical.exchange import CLIENT_DEPARTED
from mrproxy.storage.export import FIELDS
from mrproxy.storage.records import RecordFilter
from mrproxy.storage.rows import Row
from mrproxy.storage.schema import records

COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
COUNTED_RECORDS = 100_000
MOST_TIMINGS = 1_000

_c = records.c
OUTCOME = case((_c.code == CLIENT_DEPARTED, CANCELLED), (and_(_c.status < 400, _c.code == ""), COMPLETED), else_=FAILED)


def outcome_of(status: int, code: str) -> str:
    """The same as OUTCOME, of one record."""
    if code == CLIENT_DEPARTED:
        return CANCELLED
    return COMPLETED if status < 400 and not code else FAILED


@dataclass(frozen=True, slots=True)
class OutcomeFilter(RecordFilter):
    """`outcome` is one of the three words."""

    outcome: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found = RecordFilter.conditions(self)
        return found if self.outcome is None else [*found, OUTCOME.in_((self.outcome,))]


class Timing(NamedTuple):
    """`user` is empty where it was not asked by user. Seconds."""

    model: str
    outcome: str
    user: str
    requests: int
    least_seconds: float
    mean_seconds: float
    most_seconds: float


# On the asyncio side: for `Database.read`.


async def count_records(connection: AsyncConnection, wanted: RecordFilter) -> int:
    """COUNTED_RECORDS at most."""
    found = select(_c.id).where(and_(True, *wanted.conditions())).limit(COUNTED_RECORDS).subquery()
    return int((await connection.execute(select(func.count()).select_from(found))).scalar_one())


async def find_record(connection: AsyncConnection, number: int) -> Row | None:
    """The row of that number, with FIELDS."""
    chosen = select(*(_c[name] for name in FIELDS)).where(_c.id == number)
    row = (await connection.execute(chosen)).first()
    return None if row is None else tuple(row)


async def sum_timings(connection: AsyncConnection, since_utc: float, *, by_user: bool) -> list[Timing]:
    """How long the requests since then took, by model and outcome: the most frequent first."""
    keys: list[ColumnElement[Any]] = [_c.model, OUTCOME.label("outcome"), *([_c.user] if by_user else [])]
    seconds = _c.total_seconds
    chosen = select(*keys, func.count(), func.min(seconds), func.avg(seconds), func.max(seconds))
    # By its number: PostgreSQL takes two equal expressions with parameters for different ones.
    grouped = chosen.where(_c.started_utc >= since_utc).group_by(_c.model, "outcome", *keys[2:])
    found = await connection.execute(grouped.order_by(func.count().desc(), _c.model).limit(MOST_TIMINGS))
    split = 3 if by_user else 2
    return [Timing(*([*row[:split], ""][:3]), *row[split:]) for row in found]
