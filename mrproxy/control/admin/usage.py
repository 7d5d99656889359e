"""Shell. `/usage`: requests, tokens and costs by user, group, key, model, backend or day.

Sums are by day (UTC). Whoever may not read the usage of others sees his own. Read next:
`mrproxy/storage/usage_reports.py`.
"""

import datetime
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mrproxy.control.admin.records import Named, own_of
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import PageQuery, answer_page
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.storage.usage_reports import SumCursor, UsageFilter, UsageSum, sum_all, sum_usage

Grouping = Literal["user", "group", "key", "model", "backend", "day"]


class UsageQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Most tokens first; days from the first to the last."""

    by: Grouping = "user"
    since: Annotated[datetime.date | None, Meta(description="The first day (UTC).")] = None
    until: Annotated[datetime.date | None, Meta(description="The last day.")] = None
    user: Named | None = None
    group: Named | None = None
    key: Annotated[Named | None, Meta(description="The key's id.")] = None
    model: Named | None = None
    backend: Named | None = None

    def wanted(self) -> UsageFilter:
        return UsageFilter(
            None if self.since is None else self.since.isoformat(),
            None if self.until is None else self.until.isoformat(),
            self.user,
            self.group,
            self.key,
            self.model,
            self.backend,
        )


class UsageShown(msgspec.Struct, frozen=True, kw_only=True):
    """`total` is of all that is wanted, on this page or not."""

    by: Grouping
    items: list[UsageSum]
    next_cursor: str | None
    total: UsageSum


async def show_usage(call: Call[Any, Any]) -> Answer:
    query: UsageQuery = call.query
    wanted = own_only(call.actor, query.wanted())
    page = await call.read(sum_usage, query.by, wanted, query.behind(SumCursor), query.limit)
    total = await call.read(sum_all, wanted)
    listed = answer_page(call, page.sums, page.following)
    cursor = getattr(listed.value, "next_cursor", None)
    shown = UsageShown(by=query.by, items=page.sums, next_cursor=cursor, total=total)
    return Answer(value=shown, headers=listed.headers)


def own_only(actor: Actor, wanted: UsageFilter) -> UsageFilter:
    """What is wanted, of what the actor may see. Raises Problem for what is explicitly somebody else's."""
    if Permission.USAGE_READ in actor.permissions:
        return wanted
    name, own = own_of(actor)
    if getattr(wanted, name) not in (None, own):
        raise Problem("forbidden", f"This needs the permission {Permission.USAGE_READ.value}.")
    return replace(wanted, user=own) if name == "user" else replace(wanted, key_id=own)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/usage",
        Permission.OWN_USAGE_READ,
        show_usage,
        query=UsageQuery,
        answer=UsageShown,
        summary="Requests, tokens and costs by user, group, key, model, backend or day",
        tag="usage",
    ),
)
