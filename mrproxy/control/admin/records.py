"""Shell. `/records`: what was asked of the gateway, newest first; one request with its bodies; all of them as a file.

Whoever may not read the records of others sees his own: a user's are those of all his keys, a key's without a user are
its own. The same goes for prompts and answers, which need a permission of their own where they are somebody else's.
Read next: `mrproxy/storage/records.py` and `search.py`; `exporting.py`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mrproxy.control.admin.exporting import FORMS, Export
from mrproxy.control.admin.shapes import Moment, at, must_be, seconds_of
from mrproxy.control.api.actor import Actor, ActorKind
from mrproxy.control.api.call import Call
from mrproxy.control.api.cursors import DEFAULT_LIMIT, MAX_LIMIT, decode_cursor
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, answer_page
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.storage.bodies import StoredBodies, read_bodies, text_of
from mrproxy.storage.export import FIELDS, Value
from mrproxy.storage.records import Cursor, RecordFilter, read_page
from mrproxy.storage.search import place_of, search_page

Named = Annotated[str, Meta(max_length=512)]
Status = Annotated[str, Meta(pattern="^[1-5]([0-9][0-9]|xx)$", description="404, or a class of them: 4xx.")]
# Of requests that have one id between them, because their callers said so.
_MOST_OF_ONE_ID = 10


class FilterQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all three share."""

    since: Annotated[Moment | None, Meta(description="Begun then or later.")] = None
    until: Annotated[Moment | None, Meta(description="Begun before then.")] = None
    user: Named | None = None
    key: Annotated[Named | None, Meta(description="The key's id.")] = None
    group: Named | None = None
    model: Named | None = None
    backend: Named | None = None
    status: Status | None = None
    code: Named | None = None
    dialect: Named | None = None
    operation: Named | None = None
    request_id: Named | None = None

    def wanted(self) -> RecordFilter:
        return RecordFilter(
            since_utc=seconds_of(self.since),
            until_utc=seconds_of(self.until),
            user=self.user,
            key_id=self.key,
            model=self.model,
            backend=self.backend,
            statuses=None if self.status is None else statuses_of(self.status),
            group=self.group,
            code=self.code,
            dialect=self.dialect,
            operation=self.operation,
            request_id=self.request_id,
        )


class RecordQuery(FilterQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page with `text` looks at a bounded stretch: it may be short, or empty, and still have a next one."""

    # As every list has them (`PageQuery`); a struct has one base.
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many at most.")] = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(max_length=1000, description="`next_cursor` of the page before.")] = ""
    text: Annotated[str, Meta(max_length=200, description="Part of a request id, model, user or code.")] = ""
    bodies: Annotated[bool, Meta(description="Look for `text` in prompts and answers, too.")] = False


class ExportQuery(FilterQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal["csv", "jsonl"] = "csv"


class OneQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    before: Annotated[Moment | None, Meta(description="Of several with this id, the newest begun before then.")] = None


class RecordShown(msgspec.Struct, frozen=True, kw_only=True):
    """docs/journal.md says what the fields mean. `cost` is in millionths of the currency, null without a price."""

    request_id: str
    worker: str
    started_utc: datetime
    key_id: str
    user: str
    group: str
    model: str
    backend: str
    dialect: str
    operation: str
    lane: str
    stream: bool
    status: int
    code: str
    attempts: int
    queue_seconds: float
    first_byte_seconds: float | None
    total_seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    usage_state: str
    bytes_in: int
    bytes_out: int
    client_address: str
    charged_tokens: int | None
    traceparent: str | None
    cost: int | None


class BodyShown(msgspec.Struct, frozen=True, kw_only=True):
    """Text, or base64 where it is not UTF-8. `is_truncated`: there was more of it."""

    text: str
    is_base64: bool
    is_truncated: bool


class BodiesShown(msgspec.Struct, frozen=True, kw_only=True):
    """As the caller sent it, and as it was answered."""

    request: BodyShown
    answer: BodyShown


class RecordDetails(msgspec.Struct, frozen=True, kw_only=True):
    """`bodies` are null where none were kept, or where they are not for whoever asks. `others` have the same id."""

    record: RecordShown
    bodies: BodiesShown | None
    others: list[RecordShown]


async def list_records(call: Call[Any, Any]) -> Answer:
    query: RecordQuery = call.query
    wanted = own_only(call.actor, query.wanted())
    if query.bodies and not may_read_bodies(call.actor, wanted):
        raise Problem("forbidden", f"This needs the permission {Permission.BODIES_READ.value}.")
    behind = decode_cursor(query.cursor, Cursor) if query.cursor else None
    page = await call.read(search_page, wanted, query.text, query.bodies, behind, query.limit)
    return answer_page(call, [record_shown(row) for row in page.rows], page.following)


async def show_record(call: Call[Any, Any]) -> Answer:
    request_id = call.path["request_id"]
    wanted = RecordFilter(request_id=request_id, until_utc=seconds_of(call.query.before))
    page = await call.read(read_page, own_only(call.actor, wanted), None, _MOST_OF_ONE_ID, True)
    row = must_be(page.rows[0] if page.rows else None, "record of a request", request_id)
    record = record_shown(row)
    others = [record_shown(other) for other in page.rows[1:]]
    shown = RecordDetails(record=record, bodies=None, others=others)
    if may_read_bodies(call.actor, RecordFilter(user=record.user, key_id=record.key_id)):
        bodies = await call.read(read_bodies, place_of(tuple(row)))
        if bodies is not None:
            return Answer(value=msgspec.structs.replace(shown, bodies=bodies_shown(bodies)))
    return Answer(value=shown)


async def export_records(call: Call[Any, Any]) -> Answer:
    """Oldest first."""
    wanted = own_only(call.actor, call.query.wanted())
    stream = Export(call, wanted, call.query.format)
    _, _, content_type, name = FORMS[call.query.format]
    disposition = ("Content-Disposition", f'attachment; filename="{name}"')
    return Answer(stream=stream, content_type=content_type, headers=(disposition,))


def own_only(actor: Actor, wanted: RecordFilter) -> RecordFilter:
    """What is wanted, of what the actor may see. Raises Problem for what is explicitly somebody else's."""
    if Permission.RECORDS_READ in actor.permissions:
        return wanted
    name, own = own_of(actor)
    if getattr(wanted, name) not in (None, own):
        raise Problem("forbidden", f"This needs the permission {Permission.RECORDS_READ.value}.")
    return replace(wanted, user=own) if name == "user" else replace(wanted, key_id=own)


def own_of(actor: Actor) -> tuple[Literal["user", "key_id"], str]:
    """By which column an actor's own rows are told, and its value. Raises Problem for whoever can have none."""
    if actor.kind is ActorKind.KEY and actor.key_id is not None and actor.name == actor.key_id:
        return "key_id", actor.key_id  # without a user
    if not actor.name or actor.kind not in (ActorKind.KEY, ActorKind.USER):
        raise Problem("forbidden", "You have no records of your own.")
    return "user", actor.name


def may_read_bodies(actor: Actor, wanted: RecordFilter) -> bool:
    if Permission.BODIES_READ in actor.permissions:
        return True
    if Permission.OWN_RECORDS_READ not in actor.permissions or actor.kind is ActorKind.LOCAL:
        return False
    name, own = own_of(actor)
    return bool(getattr(wanted, name) == own)


def statuses_of(status: str) -> tuple[int, int]:
    """`404` or `4xx`: from, and up to but without."""
    low = int(status.replace("x", "0"))
    return (low, low + 100) if status.endswith("xx") else (low, low + 1)


def record_shown(row: Sequence[Value]) -> RecordShown:
    fields: dict[str, Any] = dict(zip(FIELDS, row, strict=True))
    return RecordShown(**fields | {"started_utc": at(fields["started_utc"])})


def bodies_shown(bodies: StoredBodies) -> BodiesShown:
    return BodiesShown(
        request=body_shown(bodies.request, is_truncated=bodies.request_truncated),
        answer=body_shown(bodies.answer, is_truncated=bodies.answer_truncated),
    )


def body_shown(body: bytes, *, is_truncated: bool) -> BodyShown:
    text, is_base64 = text_of(body)
    return BodyShown(text=text, is_base64=is_base64, is_truncated=is_truncated)


P = Permission
ENDPOINTS = (
    Endpoint(
        "GET",
        "/records",
        P.OWN_RECORDS_READ,
        list_records,
        query=RecordQuery,
        answer=Listing[RecordShown],
        summary="Requests, newest first",
        tag="records",
    ),
    Endpoint(
        "GET",
        "/records/export",
        P.OWN_RECORDS_READ,
        export_records,
        query=ExportQuery,
        summary="All requests that are wanted, as CSV or JSON lines, oldest first",
        tag="records",
        content_type="text/csv",
    ),
    Endpoint(
        "GET",
        "/records/{request_id:path}",
        P.OWN_RECORDS_READ,
        show_record,
        query=OneQuery,
        answer=RecordDetails,
        summary="One request, with what was asked and answered where that was kept",
        tag="records",
    ),
)
