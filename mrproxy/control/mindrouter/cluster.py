"""Shell. `/api/cluster/…` and `/api/admin/top-users`: how much goes through, now and over time.

What is public is sums alone: no name of anybody or anything. The database is asked once in some seconds, however many
want to know (`fresh.py`). Days are of UTC; hours come from records, longer stretches from the daily sums.
Tokens of requests that still run are not known before they end, so `inflight_tokens` is null.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.mindrouter.fresh import Fresh
from mrproxy.control.mindrouter.values import iso_at
from mrproxy.control.permissions import Permission
from mrproxy.control.status import summarize
from mrproxy.storage.activity import Ended, count_users_by_day, sum_ended
from mrproxy.storage.numbers import find_users, numbers_of
from mrproxy.storage.people.values import User
from mrproxy.storage.records import RecordFilter
from mrproxy.storage.usage_reports import (
    UsageFilter,
    UsageSum,
    count_users_over_time,
    sum_all,
    sum_over_time,
    sum_records,
    sum_usage,
)

THROUGHPUT_SECONDS = 10.0
TOP_USERS = 10
WINDOWS = {"1m": 60, "1h": 3600, "4h": 14_400, "12h": 43_200, "24h": 86_400}
# How far back each range goes, and in which steps; None: days.
RANGES: dict[str, tuple[float, int | None]] = {
    "hour": (3600.0, 60),
    "day": (86_400.0, 3600),
    "week": (7 * 86_400.0, None),
    "month": (30 * 86_400.0, None),
    "year": (365 * 86_400.0, None),
}
MOST_DAYS = 400

Range = Literal["hour", "day", "week", "month", "year"]


class TrendsQuery(msgspec.Struct, frozen=True, kw_only=True):
    range: Range = "day"


class WindowQuery(msgspec.Struct, frozen=True, kw_only=True):
    window: str = "1h"


class TotalTokens(msgspec.Struct, frozen=True, kw_only=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Of the requests that ended in the last ten seconds; per minute is per minute here."""

    tokens_per_second: float
    requests_per_minute: int
    active_requests: int
    total_tokens_last_10s: int
    inflight_tokens: int | None = None


class TokensAt(msgspec.Struct, frozen=True, kw_only=True):
    """`v` is both together."""

    t: str
    prompt_tokens: int
    completion_tokens: int
    v: int


class UsersAt(msgspec.Struct, frozen=True, kw_only=True):
    t: str
    v: int


class Trends(msgspec.Struct, frozen=True, kw_only=True):
    """Stretches without requests are left out."""

    tokens: list[TokensAt]
    users: list[UsersAt]
    range: Range
    since: str
    now: str


class TopUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: int | None
    username: str
    full_name: str
    request_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TopUsers(msgspec.Struct, frozen=True, kw_only=True):
    window: str
    window_seconds: int
    users: list[TopUser]


def each_range() -> dict[str, Fresh[Trends]]:
    return {name: Fresh(15.0 if name == "hour" else 60.0) for name in RANGES}


@dataclass(frozen=True, slots=True)
class Cluster:
    """The public endpoints, and what they found last."""

    throughput: Fresh[Ended] = field(default_factory=lambda: Fresh(2.0))
    tokens: Fresh[TotalTokens] = field(default_factory=lambda: Fresh(5.0))
    trends: dict[str, Fresh[Trends]] = field(default_factory=each_range)

    def endpoints(self) -> tuple[Endpoint, ...]:
        public, tag = Permission.PUBLIC, "MindRouter: cluster"
        return (
            Endpoint("GET", "/throughput", public, self.show_throughput, answer=Throughput, tag=tag),
            Endpoint("GET", "/total-tokens", public, self.show_total_tokens, answer=TotalTokens, tag=tag),
            Endpoint("GET", "/trends", public, self.show_trends, query=TrendsQuery, answer=Trends, tag=tag),
        )

    async def show_throughput(self, call: Call[None, None]) -> Answer:
        """How much goes through just now."""

        async def ask() -> Ended:
            return await call.read(sum_ended, call.now_utc - THROUGHPUT_SECONDS, call.now_utc)

        ended, status = await self.throughput.get(ask), summarize(await call.plane.observe())
        return Answer(
            value=Throughput(
                tokens_per_second=round(ended.tokens / THROUGHPUT_SECONDS, 1),
                requests_per_minute=round(ended.requests * 60 / THROUGHPUT_SECONDS),
                active_requests=status["in_flight"],
                total_tokens_last_10s=ended.tokens,
            )
        )

    async def show_total_tokens(self, call: Call[None, None]) -> Answer:
        """All tokens that sums are kept of."""

        async def ask() -> TotalTokens:
            found = await call.read(sum_all, UsageFilter())
            return TotalTokens(
                prompt_tokens=found.prompt_tokens,
                completion_tokens=found.completion_tokens,
                total_tokens=found.total_tokens,
            )

        return Answer(value=await self.tokens.get(ask))

    async def show_trends(self, call: Call[None, TrendsQuery]) -> Answer:
        """Tokens and users over time."""

        async def ask() -> Trends:
            return await call.read(read_trends, call.query.range, call.now_utc)

        return Answer(value=await self.trends[call.query.range].get(ask))


async def show_top_users(call: Call[None, WindowQuery]) -> Answer:
    """Who used the most tokens lately."""
    seconds = WINDOWS.get(call.query.window)
    if seconds is None:
        raise Problem("malformed", f"Invalid window. Choose from: {', '.join(WINDOWS)}")
    sums, users = await call.read(read_top_users, call.now_utc - seconds)
    shown = [top_user(each, users.get(each.name)) for each in sums]
    return Answer(value=TopUsers(window=call.query.window, window_seconds=seconds, users=shown))


def top_user(used: UsageSum, user: User | None) -> TopUser:
    return TopUser(
        user_id=None if user is None else user.id,
        username=used.name,
        full_name="" if user is None else user.full_name,
        request_count=used.requests,
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
        total_tokens=used.total_tokens,
    )


async def read_top_users(connection: AsyncConnection, since_utc: float) -> tuple[list[UsageSum], dict[str, User]]:
    """Keys without a user are nobody."""
    sums = await sum_records(connection, "user", RecordFilter(since_utc=since_utc), TOP_USERS + 1)
    named = [each for each in sums if each.name][:TOP_USERS]
    numbers = await numbers_of(connection, "user", [each.name for each in named])
    users = await find_users(connection, numbers.values())
    return named, {user.name: user for user in users.values()}


async def read_trends(connection: AsyncConnection, range_: Range, now_utc: float) -> Trends:
    back_seconds, step = RANGES[range_]
    since_utc = now_utc - back_seconds
    if step is None:
        tokens, users = await by_day(connection, since_utc)
    else:
        wanted = RecordFilter(since_utc=since_utc)
        sums = await sum_over_time(connection, step, wanted)
        tokens = [tokens_at(iso_at(at), each) for at, each in sums]
        users = users_at((iso_at(at), count) for at, count in await count_users_over_time(connection, step, wanted))
    return Trends(tokens=tokens, users=users, range=range_, since=iso_at(since_utc), now=iso_at(now_utc))


async def by_day(connection: AsyncConnection, since_utc: float) -> tuple[list[TokensAt], list[UsersAt]]:
    """From the first whole day on."""
    first = (datetime.fromtimestamp(since_utc, UTC) + timedelta(days=1)).date().isoformat()
    sums: Sequence[UsageSum] = (await sum_usage(connection, "day", UsageFilter(since_day=first), None, MOST_DAYS)).sums
    users = await count_users_by_day(connection, first)
    return [tokens_at(midnight(each.name), each) for each in sums], users_at((midnight(day), n) for day, n in users)


def midnight(day: str) -> str:
    return f"{day}T00:00:00+00:00"


def tokens_at(at: str, used: UsageSum) -> TokensAt:
    return TokensAt(
        t=at, prompt_tokens=used.prompt_tokens, completion_tokens=used.completion_tokens, v=used.total_tokens
    )


def users_at(counts: Iterable[tuple[str, int]]) -> list[UsersAt]:
    return [UsersAt(t=at, v=count) for at, count in counts]


ENDPOINTS = (
    Endpoint(
        "GET",
        "/top-users",
        Permission.USAGE_READ,
        show_top_users,
        query=WindowQuery,
        answer=TopUsers,
        tag="MindRouter: users",
    ),
)
