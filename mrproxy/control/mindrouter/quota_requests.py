"""Shell. `/api/admin/quota-requests`: who asks for more; a decision, which is in force with it.

There a review changed nothing, and `status` and `granted_tokens` were not read. Here they are. Without a `status` the
pending ones are listed, as there. Read next: `mrproxy/storage/people/quota_requests.py`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.quota_requests import write_review
from mrproxy.control.admin.shapes import name_of
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.mindrouter.values import PageQuery, Text, iso_at, not_found, number_in
from mrproxy.control.permissions import Permission
from mrproxy.storage.numbers import find_users
from mrproxy.storage.people.quota_requests import find_quota_request, list_quota_requests
from mrproxy.storage.people.values import QuotaRequest, QuotaRequestFilter, Review, User

Amount = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class QuotaRequestShown(msgspec.Struct, frozen=True, kw_only=True):
    """`requested_rpm` and what follows is ours."""

    id: int
    user_id: int
    requester_name: str
    requester_email: str | None
    affiliation: str
    request_type: str = "quota_increase"
    justification: str
    requested_tokens: int | None
    status: str
    created_at: str
    requested_rpm: int | None
    granted_tokens: int | None
    reviewed_by: str | None
    review_notes: str


class QuotaRequestsShown(msgspec.Struct, frozen=True, kw_only=True):
    requests: list[QuotaRequestShown]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`granted_tokens` where it is not what was asked for."""

    approved: bool
    notes: Text | None = None
    granted_tokens: Amount | None = None


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    approved: bool
    granted_tokens: int | None


class RequestsQuery(PageQuery, frozen=True, kw_only=True):
    status: Literal["pending", "approved", "denied", "all"] = "pending"


async def list_requests(call: Call[None, RequestsQuery]) -> Answer:
    """List requests for more."""
    rows, users = await call.read(read_requests, call.query)
    return Answer(value=QuotaRequestsShown(requests=[shown(each, users[each.user_id]) for each in rows]))


async def review_request(call: Call[Decision, None]) -> Answer:
    """Approve or deny; what is granted is in force."""
    number, wanted = number_in(call, "request_id"), call.request
    if await call.read(find_quota_request, number) is None:
        raise not_found("Quota request")
    review = Review(
        is_approved=wanted.approved,
        reviewed_by=name_of(call.actor),
        notes=wanted.notes or "",
        granted_tokens=wanted.granted_tokens,
    )
    after = await call.transact(write_review, call.actor, number, review, call.now_utc)
    return Answer(value=Reviewed(status="reviewed", approved=wanted.approved, granted_tokens=after.granted_tokens))


async def read_requests(
    connection: AsyncConnection, query: RequestsQuery
) -> tuple[list[QuotaRequest], dict[int, User]]:
    wanted = QuotaRequestFilter(status=None if query.status == "all" else query.status)
    page = await list_quota_requests(connection, wanted, None, query.limit, query.skip)
    return list(page.rows), await find_users(connection, {each.user_id for each in page.rows})


def shown(request: QuotaRequest, user: User) -> QuotaRequestShown:
    return QuotaRequestShown(
        id=request.id,
        user_id=request.user_id,
        requester_name=user.full_name or user.name,
        requester_email=user.email,
        affiliation=", ".join(each for each in (user.department, user.college) if each),
        justification=request.justification,
        requested_tokens=request.requested_tokens,
        status=request.status,
        created_at=iso_at(request.created_utc),
        requested_rpm=request.requested_requests_per_minute,
        granted_tokens=request.granted_tokens,
        reviewed_by=request.reviewed_by,
        review_notes=request.review_notes,
    )


P = Permission
TAG = "MindRouter: quota requests"
_REVIEW = "/quota-requests/{request_id}/review"
ENDPOINTS = (
    Endpoint(
        "GET", "/quota-requests", P.QUOTA_READ, list_requests, query=RequestsQuery, answer=QuotaRequestsShown, tag=TAG
    ),
    Endpoint("POST", _REVIEW, P.QUOTA_REVIEW, review_request, Decision, answer=Reviewed, tag=TAG),
)
