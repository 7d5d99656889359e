"""Shell. `/quota-requests`: users ask for more, administrators decide; what is granted holds at once.

Users ask at `/me/quota-requests` (`me.py`). Read next: `mrproxy/storage/people/quota_requests.py`.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.listing import RowKey
from mrproxy.control.admin.shapes import Amount, Text, Wanted, at, fields_of, moment, name_of
from mrproxy.control.admin.users import find_user
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, PageQuery, answer_page
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.storage.people import quota_requests
from mrproxy.storage.people.values import QuotaRequest, QuotaRequestFilter, QuotaStatus, Review


class QuotaRequestShown(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens are asked for on top of the budget, requests per minute instead of what is."""

    id: str
    user: str
    status: QuotaStatus
    justification: str
    requested_tokens: int | None
    requested_requests_per_minute: int | None
    granted_tokens: int | None
    granted_requests_per_minute: int | None
    reviewed_by: str | None
    reviewed_utc: datetime | None
    review_notes: str
    created_utc: datetime
    updated_utc: datetime
    version: int


class ReviewWanted(Wanted, frozen=True, kw_only=True):
    """What is granted where it is not what was asked for."""

    is_approved: bool
    notes: Text = ""
    granted_tokens: Amount | None = None
    granted_requests_per_minute: Amount | None = None


class QuotaRequestsQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: QuotaStatus | None = None
    user: Annotated[str, Meta(max_length=128, description="Name or id.")] = ""


async def list_quota_requests(call: Call[None, QuotaRequestsQuery]) -> Answer:
    """List requests for more, the newest first."""
    wanted = QuotaRequestFilter(status=call.query.status)
    if call.query.user:
        user = await call.read(find_user, call.query.user)
        wanted = msgspec.structs.replace(wanted, user_id=0 if user is None else user.id)
    return await answer_list(call, wanted)


async def show_quota_request(call: Call[None, None]) -> Answer:
    """One request for more."""
    found = await call.read(quota_requests.get_quota_request, row_of(call))
    return Answer(value=shown(found), version=found.version)


async def review_quota_request(call: Call[ReviewWanted, None]) -> Answer:
    """Approve or deny; what is granted holds at once."""
    wanted = call.request
    review = Review(
        is_approved=wanted.is_approved,
        reviewed_by=name_of(call.actor),
        notes=wanted.notes,
        granted_tokens=wanted.granted_tokens,
        granted_requests_per_minute=wanted.granted_requests_per_minute,
    )
    reviewed = await call.transact(write_review, call.actor, row_of(call), review, call.now_utc)
    return Answer(value=shown(reviewed), version=reviewed.version)


async def answer_list(call: Call[Any, Any], wanted: QuotaRequestFilter) -> Answer:
    behind = call.query.behind(RowKey)
    page = await call.read(quota_requests.list_quota_requests, wanted, behind, call.query.limit)
    return answer_page(call, [shown(each) for each in page.rows], page.following)


async def write_review(
    connection: AsyncConnection, actor: Actor, row: int, review: Review, now_utc: float
) -> QuotaRequest:
    before = await quota_requests.get_quota_request(connection, row)
    after = await quota_requests.review_quota_request(connection, row, review, None, now_utc)
    action = "quota_request.approve" if review.is_approved else "quota_request.deny"
    await note(connection, actor, action, "quota request", str(row), before, after, now_utc)
    return after


def row_of(call: Call[Any, Any]) -> int:
    """Raises Problem for what is no number of a row."""
    text = call.path["request"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Problem("not-found", f"There is no quota request {text!r}.")
    return int(text)


def shown(request: QuotaRequest) -> QuotaRequestShown:
    plain = fields_of(request, QuotaRequestShown) | {"id": str(request.id)}
    plain |= {"reviewed_utc": moment(request.reviewed_utc)}
    return QuotaRequestShown(**plain | {name: at(plain[name]) for name in ("created_utc", "updated_utc")})


P = Permission
_ONE = "/quota-requests/{request}"
ENDPOINTS = (
    Endpoint(
        "GET",
        "/quota-requests",
        P.QUOTA_READ,
        list_quota_requests,
        query=QuotaRequestsQuery,
        answer=Listing[QuotaRequestShown],
    ),
    Endpoint("GET", _ONE, P.QUOTA_READ, show_quota_request, answer=QuotaRequestShown),
    Endpoint("POST", f"{_ONE}/review", P.QUOTA_REVIEW, review_quota_request, ReviewWanted, answer=QuotaRequestShown),
)
