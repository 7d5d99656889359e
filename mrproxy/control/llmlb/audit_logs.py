"""Shell. `/dashboard/audit-logs` in llmlb's words. There an entry is a request, here it is an action that changed
something: so what was done to what is said in fields of ours, and those of HTTP are null.

Read next: `../admin/audit_log.py`, which does the same in our own words; `mrproxy/storage/audit.py`.
"""

from datetime import datetime
from typing import Any

import msgspec

from mrproxy.control.admin.audit_log import VerdictShown, verify
from mrproxy.control.admin.shapes import at
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.llmlb.manners import Named, Part, Wanted, Word, bad_request, moment_in, theirs
from mrproxy.control.permissions import Permission
from mrproxy.storage.audit import AuditEntry, AuditFilter, count_by, count_entries, list_entries

DAY_SECONDS = 86_400.0
MOST_ENTRIES, MOST_SKIPPED = 500, 1_000_000
# What is called otherwise there.
ACTOR_TYPES = {"key": "api_key"}
OUR_KINDS = {theirs_: ours for ours, theirs_ in ACTOR_TYPES.items()}
# Of requests, which are not what is written here.
NOT_KEPT = ("http_method", "request_path", "status_code", "ip")


class AuditQuery(Wanted, frozen=True, kw_only=True):
    """`actor_id` is a name."""

    actor_type: Word | None = None
    actor_id: Part | None = None
    time_from: Word | None = None
    time_to: Word | None = None
    search: Part = ""
    page: int = 1
    per_page: int = 50
    http_method: Word | None = None
    request_path: Part | None = None
    status_code: Word | None = None
    ip: Named | None = None

    def wanted(self) -> AuditFilter:
        """Raises Problem."""
        for name in NOT_KEPT:
            if getattr(self, name):
                raise bad_request(f"{name} cannot be filtered by: the log has actions, not requests")
        kind = self.actor_type or None
        return AuditFilter(
            actor_kind=None if kind is None else OUR_KINDS.get(kind, kind),
            actor=self.actor_id or None,
            since_utc=moment_in(self.time_from, "time_from"),
            until_utc=moment_in(self.time_to, "time_to"),
            search=self.search,
        )


class EntryShown(msgspec.Struct, frozen=True, kw_only=True):
    """`action` on `entity` is what was done; `before` and `after` have what differs."""

    id: int
    timestamp: datetime
    actor_type: str
    actor_id: str
    actor_username: str | None
    client_ip: str
    action: str
    entity_kind: str
    entity: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    detail: str | None
    request_id: str
    http_method: str | None = None
    request_path: str | None = None
    status_code: int | None = None
    duration_ms: int | None = None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[EntryShown]
    total: int
    page: int
    per_page: int


class ActorTypeCount(msgspec.Struct, frozen=True):
    actor_type: str
    count: int


class ActionCount(msgspec.Struct, frozen=True):
    action: str
    count: int


class AuditStats(msgspec.Struct, frozen=True, kw_only=True):
    """`by_method` is empty: see the top. `by_action` is ours."""

    total_entries: int
    by_method: list[str] = []
    by_actor_type: list[ActorTypeCount]
    by_action: list[ActionCount]
    last_24h: int


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Every entry is a batch of its own."""

    valid: bool
    batches_checked: int
    tampered_batch: int | None
    message: str


async def list_audit(call: Call[None, AuditQuery]) -> Answer:
    """Search the audit log, the newest first."""
    query, wanted = call.query, call.query.wanted()
    size = max(1, min(query.per_page, MOST_ENTRIES))
    page = max(1, min(query.page, MOST_SKIPPED // size))
    found = await call.read(list_entries, wanted, None, size, (page - 1) * size)
    total = await call.read(count_entries, wanted)
    items = [shown(each) for each in found.rows]
    return Answer(value=AuditPage(items=items, total=total, page=page, per_page=size))


async def show_stats(call: Call[None, None]) -> Answer:
    """How many entries the audit log has."""
    by_kind, by_action = await call.read(count_by, "actor_kind"), await call.read(count_by, "action")
    recent = await call.read(count_entries, AuditFilter(since_utc=call.now_utc - DAY_SECONDS))
    stats = AuditStats(
        total_entries=sum(by_kind.values()),
        by_actor_type=[ActorTypeCount(ACTOR_TYPES.get(kind, kind), count) for kind, count in by_kind.items()],
        by_action=[ActionCount(action, count) for action, count in by_action.items()],
        last_24h=recent,
    )
    return Answer(value=stats)


async def verify_audit(call: Call[None, None]) -> Answer:
    """Check that the audit log is what was written."""
    verdict = (await verify(call)).value
    assert isinstance(verdict, VerdictShown)
    return Answer(
        value=Verified(
            valid=verdict.is_whole,
            batches_checked=verdict.count,
            tampered_batch=None if verdict.first_bad_id is None else int(verdict.first_bad_id),
            message=verdict.reason or "The hash chain is whole",
        )
    )


def shown(entry: AuditEntry) -> EntryShown:
    return EntryShown(
        id=entry.id,
        timestamp=at(entry.at_utc),
        actor_type=ACTOR_TYPES.get(entry.actor_kind, entry.actor_kind),
        actor_id=entry.actor,
        actor_username=entry.actor if entry.actor_kind == "user" else None,
        client_ip=entry.address,
        action=entry.action,
        entity_kind=entry.entity_kind,
        entity=entry.entity,
        before=entry.before,
        after=entry.after,
        detail=entry.detail or None,
        request_id=entry.request_id,
    )


P = Permission
TAG = "llmlb: audit log"
ALL = "/dashboard/audit-logs"
ENDPOINTS = (
    Endpoint("GET", ALL, P.AUDIT_READ, theirs(list_audit), query=AuditQuery, answer=AuditPage, tag=TAG),
    Endpoint("GET", f"{ALL}/stats", P.AUDIT_READ, theirs(show_stats), answer=AuditStats, tag=TAG),
    Endpoint("POST", f"{ALL}/verify", P.AUDIT_READ, theirs(verify_audit), answer=Verified, tag=TAG, publishes=False),
)
