"""Shell. `/audit`: who did what when, and whether the log is still what was written.

Read next: `mrproxy/storage/audit.py`.
"""

from datetime import datetime
from typing import Annotated, Any, cast

import msgspec
import trio
from msgspec import Meta

from mrproxy.control.admin.listing import RowKey
from mrproxy.control.admin.shapes import Moment, at, must_be, seconds_of
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, PageQuery, answer_page
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.storage import audit
from mrproxy.storage.audit import AuditEntry, AuditFilter, HeadLost
from mrproxy.storage.database import Database

Word = Annotated[str, Meta(max_length=200)]
VERIFY_SECONDS = 50.0  # the front door waits a minute for an answer to begin


class EntryShown(msgspec.Struct, frozen=True, kw_only=True):
    """`before` null: it was made; `after` null: it is gone; otherwise what differs. `hash` covers the one before."""

    id: str
    at_utc: datetime
    actor_kind: str
    actor: str
    action: str
    entity_kind: str
    entity: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str
    request_id: str
    detail: str
    hash: str


class VerdictShown(msgspec.Struct, frozen=True, kw_only=True):
    """`first_bad_id` null: all entries are as they were written."""

    is_whole: bool
    count: int
    first_bad_id: str | None
    reason: str


class AuditQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`since_utc` is included, `until_utc` is not."""

    actor: Word | None = None
    action: Word | None = None
    entity_kind: Word | None = None
    entity: Word | None = None
    since_utc: Moment | None = None
    until_utc: Moment | None = None
    search: Word = ""


async def list_entries(call: Call[None, AuditQuery]) -> Answer:
    """Search the audit log, the newest first."""
    query = call.query
    wanted = AuditFilter(
        actor=query.actor,
        action=query.action,
        entity_kind=query.entity_kind,
        entity=query.entity,
        since_utc=seconds_of(query.since_utc),
        until_utc=seconds_of(query.until_utc),
        search=query.search,
    )
    page = await call.read(audit.list_entries, wanted, query.behind(RowKey), query.limit)
    return answer_page(call, [shown(each) for each in page.rows], page.following)


async def show_entry(call: Call[None, None]) -> Answer:
    """One entry of the audit log."""
    number = call.path["entry"]
    is_number = number.isascii() and number.isdigit() and len(number) <= 18
    found = await call.read(audit.find_entry, int(number)) if is_number else None
    return Answer(value=shown(must_be(found, "entry", number)))


async def verify(call: Call[None, None]) -> Answer:
    """Check that the audit log is what was written."""
    if call.plane.store is None:
        raise Problem("no-database", "This gateway runs without a database.", retry_seconds=3600)
    try:
        head = audit.load_head(call.plane.data_dir)
        with trio.fail_after(VERIFY_SECONDS):
            found = await audit.verify(cast("Database", call.plane.store), head)
    except trio.TooSlowError as exc:
        raise Problem("unavailable", "It is a long log: use `mrproxy audit verify`.", retry_seconds=60) from exc
    except HeadLost as exc:
        return Answer(value=VerdictShown(is_whole=False, count=0, first_bad_id=None, reason=str(exc)))
    bad = None if found.first_bad_id is None else str(found.first_bad_id)
    return Answer(value=VerdictShown(is_whole=bad is None, count=found.count, first_bad_id=bad, reason=found.reason))


def shown(entry: AuditEntry) -> EntryShown:
    plain = msgspec.structs.asdict(entry)
    return EntryShown(**plain | {"id": str(entry.id), "at_utc": at(entry.at_utc)})


P = Permission
ENDPOINTS = (
    Endpoint("GET", "/audit", P.AUDIT_READ, list_entries, query=AuditQuery, answer=Listing[EntryShown]),
    Endpoint("GET", "/audit/verify", P.AUDIT_READ, verify, answer=VerdictShown),
    Endpoint("GET", "/audit/{entry}", P.AUDIT_READ, show_entry, answer=EntryShown),
)
