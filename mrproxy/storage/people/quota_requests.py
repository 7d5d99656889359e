"""Shell. Users ask for more, administrators decide; what is granted is in force with the decision.

Tokens are added to the budget that the user has now, its own or its group's, which becomes its own; requests per minute
replace what was. Who is unlimited stays so. See the package for the rules that hold here.
"""

from typing import Any

import msgspec
from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.facts import take_turn
from mrproxy.storage.people.checks import MAX_AMOUNT, check_amount, check_text, clean
from mrproxy.storage.people.errors import Changed, Invalid, NotFound
from mrproxy.storage.people.groups import get_group
from mrproxy.storage.people.pages import AnyRow, count_rows, read_page, update_row
from mrproxy.storage.people.users import change_user, get_user
from mrproxy.storage.people.values import NewQuotaRequest, Page, QuotaRequest, QuotaRequestFilter, Review
from mrproxy.storage.schema_people import quota_requests, users

SELECTION = select(quota_requests, users.c.name.label("user")).select_from(
    quota_requests.join(users, quota_requests.c.user_id == users.c.id)
)


async def create_quota_request(connection: AsyncConnection, wanted: NewQuotaRequest, now_utc: float) -> QuotaRequest:
    """Raises NotFound (the user), Invalid."""
    values = msgspec.structs.asdict(wanted) | {"justification": check_text("justification", wanted.justification)}
    _check_amounts(values, "requested_tokens", "requested_requests_per_minute")
    if wanted.requested_tokens is None and wanted.requested_requests_per_minute is None:
        raise Invalid("requested_tokens", "or requested_requests_per_minute must be given")
    await take_turn(connection)
    await get_user(connection, wanted.user_id)
    made = insert(quota_requests).values(**values, created_utc=now_utc, updated_utc=now_utc)
    inserted = await connection.execute(made.returning(quota_requests.c.id))
    return await get_quota_request(connection, inserted.scalar_one())


async def find_quota_request(connection: AsyncConnection, request_id: int) -> QuotaRequest | None:
    row = (await connection.execute(SELECTION.where(quota_requests.c.id == request_id))).first()
    return None if row is None else quota_request_of(row)


async def get_quota_request(connection: AsyncConnection, request_id: int) -> QuotaRequest:
    """Raises NotFound."""
    found = await find_quota_request(connection, request_id)
    if found is None:
        raise NotFound("quota request", request_id)
    return found


async def list_quota_requests(
    connection: AsyncConnection, wanted: QuotaRequestFilter, behind: int | None = None, limit: int = 100, skip: int = 0
) -> Page[QuotaRequest]:
    """The newest first."""
    chosen, key = _selection(wanted), quota_requests.c.id
    return await read_page(connection, chosen, key, quota_request_of, behind, limit, skip=skip, is_newest_first=True)


async def count_quota_requests(connection: AsyncConnection, wanted: QuotaRequestFilter) -> int:
    return await count_rows(connection, _selection(wanted).with_only_columns(quota_requests.c.id))


async def review_quota_request(
    connection: AsyncConnection, request_id: int, review: Review, version: int | None, now_utc: float
) -> QuotaRequest:
    """Decide, and change the user's limits with it. Raises NotFound, Invalid; Changed when it is decided already."""
    await take_turn(connection)
    request = await get_quota_request(connection, request_id)
    if request.status != "pending":
        raise Changed(request.version)
    values: dict[str, object] = {
        "status": "approved" if review.is_approved else "denied",
        "reviewed_by": clean(review.reviewed_by),
        "reviewed_utc": now_utc,
        "review_notes": check_text("notes", review.notes),
    }
    if review.is_approved:
        values |= await _grant(connection, request, review, now_utc)
    key = (quota_requests.c.id, request_id)
    await update_row(connection, quota_requests, "quota request", key, values, version, now_utc)
    return await get_quota_request(connection, request_id)


async def _grant(
    connection: AsyncConnection, request: QuotaRequest, review: Review, now_utc: float
) -> dict[str, object]:
    """What is granted, after the user has got it."""
    tokens = request.requested_tokens if review.granted_tokens is None else review.granted_tokens
    per_minute = review.granted_requests_per_minute
    per_minute = request.requested_requests_per_minute if per_minute is None else per_minute
    granted: dict[str, object] = {"granted_tokens": tokens, "granted_requests_per_minute": per_minute}
    _check_amounts(granted, *granted)
    user = await get_user(connection, request.user_id)
    group = await get_group(connection, user.group_id)
    source = user.limits if user.limits.token_budget is not None else group.limits
    changes: dict[str, object] = {}
    if tokens is not None and source.token_budget is not None:
        changes["token_budget"] = min(source.token_budget + tokens, MAX_AMOUNT)
        changes["budget_period"] = source.budget_period
    is_limited = user.limits.requests_per_minute is not None or group.limits.requests_per_minute is not None
    if per_minute is not None and is_limited:
        changes["requests_per_minute"] = per_minute
    if changes:
        await change_user(connection, user.id, changes, None, now_utc)
    return granted


def quota_request_of(row: AnyRow) -> QuotaRequest:
    fields = row._mapping
    return QuotaRequest(**{name: fields[name] for name in QuotaRequest.__struct_fields__})


def _check_amounts(values: dict[str, object], *fields: str) -> None:
    for field in fields:
        if values[field] is not None:
            check_amount(field, values[field])


def _selection(wanted: QuotaRequestFilter) -> Select[Any]:
    chosen = SELECTION
    if wanted.user_id is not None:
        chosen = chosen.where(quota_requests.c.user_id == wanted.user_id)
    if wanted.status is not None:
        chosen = chosen.where(quota_requests.c.status == wanted.status)
    return chosen
