"""Shell. Questions to the sums of usage: by user, group, key, model, backend or day; and to the records, for hours.

`sum_usage` asks the table of sums: whole days (UTC), as far back as sums are kept, at the cost of as many rows as there
were users, keys, models and backends on those days. What happened in the last hour is not in days: `sum_records` and
`sum_over_time` add up records, by the index of time, as far back as records are kept.
Read next: `usage.py`, where sums come from.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Column, ColumnElement, and_, case, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.records import RecordFilter
from mrproxy.storage.schema import records
from mrproxy.storage.usage import usage_daily

GROUPINGS = ("user", "group", "key", "model", "backend", "day")
PAGE_SUMS = 500


class UsageSum(msgspec.Struct, frozen=True):
    """`name` is the user's, key's, …, or the day. `cost` is in millionths of the currency."""

    name: str
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    charged_tokens: int
    cost: int
    total_seconds: float


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Days are `YYYY-MM-DD`, both included. None does not matter."""

    since_day: str | None = None
    until_day: str | None = None
    user: str | None = None
    group: str | None = None
    key_id: str | None = None
    model: str | None = None
    backend: str | None = None

    def condition(self) -> ColumnElement[bool]:
        c = usage_daily.c
        days = ([c.day >= self.since_day] if self.since_day else []) + (
            [c.day <= self.until_day] if self.until_day else []
        )
        names = ("user", "group", "key_id", "model", "backend")
        named = [c[name] == getattr(self, name) for name in names if getattr(self, name) is not None]
        return and_(True, *days, *named)


class SumCursor(NamedTuple):
    """Behind which sum to go on."""

    total_tokens: int
    name: str


class SumPage(NamedTuple):
    """`following` is None after the last page."""

    sums: list[UsageSum]
    following: SumCursor | None


# On the asyncio side: for `Database.read`.


async def sum_usage(
    connection: AsyncConnection,
    by: str,
    wanted: UsageFilter,
    behind: SumCursor | None = None,
    limit: int = PAGE_SUMS,
) -> SumPage:
    """Most tokens first, then by name; days from the first to the last. `by` is one of GROUPINGS."""
    c = usage_daily.c
    name: Column[Any] = c["key_id" if by == "key" else by]
    tokens = total(c.prompt_tokens + c.completion_tokens)
    chosen = select(name, *_sums_of_days()).where(wanted.condition()).group_by(name).limit(limit)
    if by == "day":
        chosen = chosen.order_by(name)
        if behind is not None:
            chosen = chosen.having(name > behind.name)
    else:
        chosen = chosen.order_by(tokens.desc(), name)
        if behind is not None:
            is_behind = or_(tokens < behind.total_tokens, and_(tokens == behind.total_tokens, name > behind.name))
            chosen = chosen.having(is_behind)
    sums = [_sum_of(row) for row in await connection.execute(chosen)]
    following = SumCursor(sums[-1].total_tokens, sums[-1].name) if len(sums) == limit else None
    return SumPage(sums, following)


async def sum_all(connection: AsyncConnection, wanted: UsageFilter) -> UsageSum:
    """All that is wanted as one sum, without a name."""
    found = await connection.execute(select(*_sums_of_days()).where(wanted.condition()))
    return _sum_of(("", *found.one()))


async def sum_records(
    connection: AsyncConnection, by: str, wanted: RecordFilter, limit: int = PAGE_SUMS
) -> list[UsageSum]:
    """Of records, for any moments: most tokens first. `by` is one of GROUPINGS but `day`."""
    name: Column[Any] = records.c["key_id" if by == "key" else by]
    tokens = total(_tokens())
    chosen = select(name, *_sums_of_records()).where(and_(True, *wanted.conditions())).group_by(name)
    found = await connection.execute(chosen.order_by(tokens.desc(), name).limit(limit))
    return [_sum_of(row) for row in found]


async def sum_over_time(
    connection: AsyncConnection, bucket_seconds: int, wanted: RecordFilter
) -> list[tuple[float, UsageSum]]:
    """Of records, in equal stretches of time: when each began (a multiple of its length since 1970) and its sum.

    Stretches without requests are left out.
    """
    bucket = cast(func.floor(records.c.started_utc / bucket_seconds), BigInteger)
    chosen = select(bucket, *_sums_of_records()).where(and_(True, *wanted.conditions())).group_by(bucket)
    found = await connection.execute(chosen.order_by(bucket))
    return [(float(row[0] * bucket_seconds), _sum_of(("", *row[1:]))) for row in found]


async def count_users_over_time(
    connection: AsyncConnection, bucket_seconds: int, wanted: RecordFilter
) -> list[tuple[float, int]]:
    """How many users asked in each such stretch; a key without a user counts as one."""
    bucket = cast(func.floor(records.c.started_utc / bucket_seconds), BigInteger)
    who = case((records.c.user == "", records.c.key_id), else_=records.c.user)
    chosen = select(bucket, func.count(who.distinct())).where(and_(True, *wanted.conditions())).group_by(bucket)
    return [(float(at * bucket_seconds), count) for at, count in await connection.execute(chosen.order_by(bucket))]


def total(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """PostgreSQL sums 64-bit integers to numerics, and both sum nothing to null."""
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def _sums_of_days() -> list[ColumnElement[Any]]:
    c = usage_daily.c
    counted = [
        total(each) for each in (c.requests, c.errors, c.prompt_tokens, c.completion_tokens, c.charged_tokens, c.cost)
    ]
    return [*counted, func.coalesce(func.sum(c.total_seconds), 0.0)]


def _tokens() -> ColumnElement[Any]:
    c = records.c
    return func.coalesce(c.prompt_tokens, 0) + func.coalesce(c.completion_tokens, 0)


def _sums_of_records() -> list[ColumnElement[Any]]:
    c = records.c
    is_error = case((or_(c.status >= 400, c.code != ""), 1), else_=0)
    charged = func.coalesce(c.charged_tokens, _tokens())
    counted = [total(each) for each in (is_error, c.prompt_tokens, c.completion_tokens, charged, c.cost)]
    return [func.count(), *counted, func.coalesce(func.sum(c.total_seconds), 0.0)]


def _sum_of(row: Any) -> UsageSum:
    name, requests, errors, prompt_tokens, completion_tokens, charged_tokens, cost, total_seconds = row
    total_tokens = prompt_tokens + completion_tokens
    return UsageSum(
        name,
        requests,
        errors,
        prompt_tokens,
        completion_tokens,
        total_tokens,
        charged_tokens,
        cost,
        round(total_seconds, 6),
    )
