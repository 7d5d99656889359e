"""Shell. `/dashboard/stats/tokens`: tokens in all, by day and by month (UTC), as far back as sums are kept.

Read next: `mrproxy/storage/usage_reports.py`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.llmlb.manners import Wanted, theirs
from mrproxy.control.permissions import Permission
from mrproxy.storage.usage_reports import SumCursor, UsageFilter, UsageSum, sum_all, sum_usage

Days = Annotated[int, Meta(ge=1, le=365)]
Months = Annotated[int, Meta(ge=1, le=120)]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_tokens: int = 0


class DayTokens(Tokens, frozen=True, kw_only=True):
    date: str
    request_count: int


class MonthTokens(Tokens, frozen=True, kw_only=True):
    """`month` is `YYYY-MM`."""

    month: str
    request_count: int


class DaysQuery(Wanted, frozen=True, kw_only=True):
    days: Days = 30


class MonthsQuery(Wanted, frozen=True, kw_only=True):
    months: Months = 12


async def show_tokens(call: Call[None, None]) -> Answer:
    """Tokens in all."""
    return Answer(value=Tokens(**tokens_of([await call.read(sum_all, UsageFilter())])))


async def list_days(call: Call[None, DaysQuery]) -> Answer:
    """Tokens by day; days without requests are left out."""
    first = datetime.fromtimestamp(call.now_utc, UTC) - timedelta(days=call.query.days - 1)
    sums = await sums_since(call, first.date().isoformat())
    return Answer(value=[DayTokens(date=each.name, request_count=each.requests, **tokens_of([each])) for each in sums])


async def list_months(call: Call[None, MonthsQuery]) -> Answer:
    """Tokens by month; months without requests are left out."""
    today = datetime.fromtimestamp(call.now_utc, UTC)
    sums = await sums_since(call, first_month(today.year, today.month, call.query.months))
    return Answer(value=by_month(sums))


async def sums_since(call: Call[Any, Any], day: str) -> list[UsageSum]:
    """By day, from the first to the last."""
    sums: list[UsageSum] = []
    behind: SumCursor | None = None
    while True:
        page = await call.read(sum_usage, "day", UsageFilter(since_day=day), behind)
        sums += page.sums
        behind = page.following
        if behind is None:
            return sums


def first_month(year: int, month: int, months: int) -> str:
    """The first day of the first of so many months that end with this one."""
    count = max(12, year * 12 + month - months)
    return f"{count // 12:04}-{count % 12 + 1:02}-01"


def by_month(days: Iterable[UsageSum]) -> list[MonthTokens]:
    months: dict[str, list[UsageSum]] = {}
    for each in days:
        months.setdefault(each.name[:7], []).append(each)
    return [
        MonthTokens(month=month, request_count=sum(each.requests for each in sums), **tokens_of(sums))
        for month, sums in months.items()
    ]


def tokens_of(sums: Iterable[UsageSum]) -> dict[str, int]:
    """The three fields of `Tokens`."""
    found = list(sums)
    return {
        "total_input_tokens": sum(each.prompt_tokens for each in found),
        "total_output_tokens": sum(each.completion_tokens for each in found),
        "total_tokens": sum(each.total_tokens for each in found),
    }


P = Permission
TAG = "llmlb: dashboard"
ALL = "/dashboard/stats/tokens"
ENDPOINTS = (
    Endpoint("GET", ALL, P.USAGE_READ, theirs(show_tokens), answer=Tokens, tag=TAG),
    Endpoint("GET", f"{ALL}/daily", P.USAGE_READ, theirs(list_days), query=DaysQuery, answer=list[DayTokens], tag=TAG),
    Endpoint(
        "GET", f"{ALL}/monthly", P.USAGE_READ, theirs(list_months), query=MonthsQuery, answer=list[MonthTokens], tag=TAG
    ),
)
