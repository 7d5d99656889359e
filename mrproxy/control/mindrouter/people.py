"""Shell. A user as MindRouter shows it: the line in a list, and everything about one.

`role` is what it was there before there were groups. A budget of 0 is none. Usage is of the daily sums; what counts
against a budget is what was charged. Read next: `users.py`, the endpoints.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.api.call import Call
from mrproxy.control.mindrouter.values import configured_number, iso, iso_at
from mrproxy.link.snapshot import Limits, UserSpec
from mrproxy.storage.numbers import numbers_of
from mrproxy.storage.people.groups import get_group
from mrproxy.storage.people.keys import list_keys
from mrproxy.storage.people.users import find_user
from mrproxy.storage.people.values import ApiKey, KeyFilter, User, status_of_key
from mrproxy.storage.usage_reports import UsageFilter, UsageSum, sum_all, sum_usage

LEGACY_ROLES = ("student", "staff", "faculty", "admin")
FAVOURITES = 5
MOST_KEYS = 1000
MOST_DAYS = 500  # of usage, by month


class UserShown(msgspec.Struct, frozen=True, kw_only=True):
    """Of the configuration: number below zero, no `uuid`."""

    id: int
    uuid: str
    username: str
    email: str | None
    full_name: str
    role: str
    group_id: int
    group_name: str
    is_active: bool
    created_at: str | None
    last_login_at: str | None
    college: str = ""
    department: str = ""
    intended_use: str = ""


class ModelCount(msgspec.Struct, frozen=True):
    model: str
    count: int


class TokenTotals(msgspec.Struct, frozen=True, kw_only=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class UserStats(msgspec.Struct, frozen=True, kw_only=True):
    total_tokens: int
    prompt_tokens: int
    completion_tokens: int
    request_count: int
    favorite_models: list[ModelCount]
    api_key_count: int


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """`token_budget` 0: unlimited; `rpm_limit` null likewise."""

    token_budget: int
    tokens_used: int
    lifetime_tokens_used: int
    rpm_limit: int | None
    weight_override: int | None


class KeyOfUser(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    key_prefix: str
    name: str
    status: str
    last_used_at: str | None
    usage_count: int
    created_at: str
    token_totals: TokenTotals


class MonthUsed(msgspec.Struct, frozen=True, kw_only=True):
    month: str
    request_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class UserDetails(msgspec.Struct, frozen=True, kw_only=True):
    user: UserShown
    stats: UserStats
    quota: Quota
    api_keys: list[KeyOfUser]
    monthly_usage: list[MonthUsed]


def shown(user: User, titles: dict[int, str]) -> UserShown:
    return UserShown(
        id=user.id,
        uuid=user.uuid,
        username=user.name,
        email=user.email,
        full_name=user.full_name,
        role="admin" if user.is_admin else role_of(user.group),
        group_id=user.group_id,
        group_name=titles.get(user.group_id, user.group),
        is_active=user.is_active,
        created_at=iso_at(user.created_utc),
        last_login_at=iso(user.last_login_utc),
        college=user.college,
        department=user.department,
        intended_use=user.intended_use,
    )


def show_configured(user: UserSpec, groups: dict[str, int]) -> UserShown:
    """`groups`: their numbers, where they are managed."""
    return UserShown(
        id=configured_number(user.name),
        uuid="",
        username=user.name,
        email=None,
        full_name="",
        role=role_of(user.group),
        group_id=groups.get(user.group, configured_number(user.group)),
        group_name=user.group,
        is_active=True,
        created_at=None,
        last_login_at=None,
    )


def role_of(group: str) -> str:
    """`students`, too, are of role student; who is of no known kind is one as well, as there."""
    return next((role for role in LEGACY_ROLES if group in (role, f"{role}s")), LEGACY_ROLES[0])


def configured_by_number(call: Call[Any, Any], number: int) -> UserSpec | None:
    return next((each for each in call.plane.configured().users if configured_number(each.name) == number), None)


async def details(connection: AsyncConnection, number: int, now_utc: float) -> UserDetails | None:
    """Of a row."""
    user = await find_user(connection, number)
    if user is None:
        return None
    group = await get_group(connection, user.group_id)
    found = (await list_keys(connection, KeyFilter(user_id=user.id), None, MOST_KEYS)).rows
    shown_user = shown(user, {group.id: group.display_name or group.name})
    budget = user.limits if user.limits.token_budget is not None else group.limits
    per_minute = user.limits.requests_per_minute or group.limits.requests_per_minute
    return await assembled(connection, shown_user, budget, per_minute, user.weight, found, now_utc)


async def details_of_configured(connection: AsyncConnection, user: UserSpec, now_utc: float) -> UserDetails:
    shown_user = show_configured(user, await numbers_of(connection, "group", [user.group]))
    limits = user.limits
    return await assembled(connection, shown_user, limits, limits.requests_per_minute, user.weight, (), now_utc)


async def assembled(
    connection: AsyncConnection,
    user: UserShown,
    budget: Limits,
    per_minute: int | None,
    weight: int | None,
    keys: Any,
    now_utc: float,
) -> UserDetails:
    wanted = UsageFilter(user=user.username)
    total = await sum_all(connection, wanted)
    models = (await sum_usage(connection, "model", wanted, None, FAVOURITES)).sums
    by_key = {each.name: each for each in (await sum_usage(connection, "key", wanted, None, MOST_KEYS)).sums}
    days = (await sum_usage(connection, "day", wanted, None, MOST_DAYS)).sums
    month = datetime.fromtimestamp(now_utc, UTC).strftime("%Y-%m")
    in_month = sum(day.charged_tokens for day in days if day.name.startswith(month))
    return UserDetails(
        user=user,
        stats=UserStats(
            total_tokens=total.total_tokens,
            prompt_tokens=total.prompt_tokens,
            completion_tokens=total.completion_tokens,
            request_count=total.requests,
            favorite_models=[ModelCount(each.name, each.requests) for each in models],
            api_key_count=len(keys),
        ),
        quota=Quota(
            token_budget=budget.token_budget or 0,
            tokens_used=in_month if budget.budget_period == "monthly" else total.charged_tokens,
            lifetime_tokens_used=total.charged_tokens,
            rpm_limit=per_minute,
            weight_override=weight,
        ),
        api_keys=[key_of(each, by_key.get(each.key_id), now_utc) for each in keys],
        monthly_usage=months_of(days),
    )


def key_of(key: ApiKey, used: UsageSum | None, now_utc: float) -> KeyOfUser:
    totals = TokenTotals()
    if used is not None:
        totals = TokenTotals(
            prompt_tokens=used.prompt_tokens,
            completion_tokens=used.completion_tokens,
            total_tokens=used.total_tokens,
        )
    return KeyOfUser(
        id=key.id,
        key_prefix=key.prefix,
        name=key.name,
        status=status_of_key(key, now_utc),
        last_used_at=iso(key.last_used_utc),
        usage_count=0 if used is None else used.requests,
        created_at=iso_at(key.created_utc),
        token_totals=totals,
    )


def months_of(days: list[UsageSum]) -> list[MonthUsed]:
    """In the order of the days."""
    found: dict[str, MonthUsed] = {}
    for day in days:
        month = day.name[:7]
        before = found.get(
            month, MonthUsed(month=month, request_count=0, prompt_tokens=0, completion_tokens=0, total_tokens=0)
        )
        found[month] = MonthUsed(
            month=month,
            request_count=before.request_count + day.requests,
            prompt_tokens=before.prompt_tokens + day.prompt_tokens,
            completion_tokens=before.completion_tokens + day.completion_tokens,
            total_tokens=before.total_tokens + day.total_tokens,
        )
    return list(found.values())
