"""Shell. `/api/admin/audit/search` and `/audit/{id}`: the requests that were made, and what was said in one.

What is called an audit there are records here; the log of administrative actions is at `/admin/api/v1/audit-log`.
Counting ends somewhere (`outcomes.COUNTED_RECORDS`), and so does looking for a text: then `total_is_exact` is false.
Prompts and answers are there only where the user's group keeps them. Read next: `transcript.py`.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.mindrouter.transcript import Asked, read_answer, read_request
from mrproxy.control.mindrouter.values import (
    MomentText,
    Number,
    PageQuery,
    Search,
    configured_number,
    iso_at,
    not_found,
    number_in,
    seconds_of,
)
from mrproxy.control.permissions import Permission
from mrproxy.storage.bodies import StoredBodies, read_bodies
from mrproxy.storage.export import FIELDS
from mrproxy.storage.numbers import numbers_of
from mrproxy.storage.outcomes import COUNTED_RECORDS, OutcomeFilter, count_records, find_record, outcome_of
from mrproxy.storage.people.users import find_user
from mrproxy.storage.records import Cursor
from mrproxy.storage.rows import Row
from mrproxy.storage.search import place_of, search_page

# Stretches that one search looks at; each is bounded in itself.
MOST_STRETCHES = 20
MAX_SKIP = 100_000


class HistoryQuery(PageQuery, frozen=True, kw_only=True):
    """`start_date` is included, `end_date` is not."""

    skip: Annotated[int, Meta(ge=0, le=MAX_SKIP)] = 0
    user_id: Number | None = None
    model: Annotated[str, Meta(max_length=512)] | None = None
    status: Literal["queued", "processing", "completed", "failed", "cancelled"] | None = None
    start_date: MomentText | None = None
    end_date: MomentText | None = None
    search_text: Search = ""


class RequestShown(msgspec.Struct, frozen=True, kw_only=True):
    """`user_id` null: a key without a user, or somebody who is gone."""

    id: int
    request_uuid: str
    user_id: int | None
    endpoint: str
    model: str
    status: str
    is_streaming: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    total_time_ms: int
    created_at: str
    backend_id: int | None


class HistoryShown(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    total_is_exact: bool
    skip: int
    limit: int
    results: list[RequestShown]


class RequestDetails(RequestShown, frozen=True, kw_only=True):
    """`messages`, `prompt`, `parameters`, `response_format`: null where no bodies are kept."""

    api_key_id: int | None
    modality: str
    messages: Any = None
    prompt: Any = None
    parameters: dict[str, Any] | None = None
    response_format: Any = None
    queued_at: str
    started_at: str
    completed_at: str
    queue_delay_ms: int
    processing_time_ms: int
    total_tokens: int | None
    tokens_estimated: bool
    error_message: str | None
    client_ip: str


class AnswerDetails(msgspec.Struct, frozen=True, kw_only=True):
    content: str | None
    finish_reason: str | None
    chunk_count: int
    structured_output_valid: bool | None = None
    validation_errors: str | None = None


class Details(msgspec.Struct, frozen=True, kw_only=True):
    request: RequestDetails
    response: AnswerDetails | None


class Found(msgspec.Struct, frozen=True):
    """Rows with their numbers, and those of the users, backends and keys that they name."""

    rows: list[tuple[int, Row]]
    users: dict[str, int]
    backends: dict[str, int]
    keys: dict[str, int]


class Configured(msgspec.Struct, frozen=True):
    """Names that have a number without a row."""

    users: frozenset[str]
    backends: frozenset[str]
    keys: frozenset[str]


async def search_history(call: Call[None, HistoryQuery]) -> Answer:
    """Search the requests that were made."""
    query = call.query
    since, until = seconds_of(query.start_date, "?start_date"), seconds_of(query.end_date, "?end_date")
    user = await name_of_user(call, query.user_id)
    if query.status in ("queued", "processing") or user == "":
        return Answer(value=HistoryShown(total=0, total_is_exact=True, skip=query.skip, limit=query.limit, results=[]))
    wanted = OutcomeFilter(since_utc=since, until_utc=until, user=user, model=query.model, outcome=query.status)
    in_bodies = Permission.BODIES_READ in call.actor.permissions
    rows, is_all = await look(call, wanted, in_bodies)
    total = len(rows)
    if not query.search_text:
        total = await call.read(count_records, wanted)
        is_all = total < COUNTED_RECORDS
    found = await call.read(with_numbers, rows[query.skip : query.skip + query.limit])
    configured = configured_names(call)
    results = [RequestShown(**plain_of(configured, found, number, row)) for number, row in found.rows]
    return Answer(
        value=HistoryShown(total=total, total_is_exact=is_all, skip=query.skip, limit=query.limit, results=results)
    )


async def show_request(call: Call[None, None]) -> Answer:
    """One request, with what was asked and answered where that is kept."""
    number = number_in(call, "request_id")
    row = await call.read(find_record, number)
    if row is None:
        raise not_found("Request")
    found = await call.read(with_numbers, [(number, row)])
    bodies = await call.read(read_bodies, place_of(row))
    asked = Asked() if bodies is None else read_request(bodies.request)
    request = details_of(configured_names(call), found, number, row, asked)
    return Answer(value=Details(request=request, response=answer_of(bodies)))


async def look(
    call: Call[None, HistoryQuery], wanted: OutcomeFilter, in_bodies: bool
) -> tuple[list[tuple[int, Row]], bool]:
    """What is found up to the end of the page that is asked for, newest first, and whether it is all there is."""
    query = call.query
    rows: list[tuple[int, Row]] = []
    behind: Cursor | None = None
    for _ in range(MOST_STRETCHES + query.skip // 1000):
        limit = min(1000, query.skip + query.limit - len(rows))
        page = await call.read(search_page, wanted, query.search_text, in_bodies, behind, limit)
        rows += zip(page.ids, page.rows, strict=True)
        behind = page.following
        if behind is None or len(rows) >= query.skip + query.limit:
            break
    return rows, behind is None


async def name_of_user(call: Call[Any, Any], number: int | None) -> str | None:
    """Empty for nobody, None where nobody in particular is meant."""
    if number is None:
        return None
    names = (each.name for each in call.plane.configured().users if configured_number(each.name) == number)
    found = await call.read(find_user, number)
    return next(names, "") if found is None else found.name


async def with_numbers(connection: AsyncConnection, rows: list[tuple[int, Row]]) -> Found:
    def names(field: str) -> set[str]:
        place = FIELDS.index(field)
        return {str(row[place]) for _, row in rows}

    return Found(
        rows,
        await numbers_of(connection, "user", names("user")),
        await numbers_of(connection, "backend", names("backend")),
        await numbers_of(connection, "key", names("key_id")),
    )


def configured_names(call: Call[Any, Any]) -> Configured:
    found = call.plane.configured()
    return Configured(
        frozenset(each.name for each in found.users),
        frozenset(each.name for each in found.backends),
        frozenset(each.id for each in found.keys),
    )


def plain_of(configured: Configured, found: Found, number: int, row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = dict(zip(FIELDS, row, strict=True))
    return {
        "id": number,
        "request_uuid": fields["request_id"],
        "user_id": known(fields["user"], found.users, configured.users),
        "endpoint": f"{fields['dialect']}/{fields['operation']}",
        "model": fields["model"],
        "status": outcome_of(fields["status"], fields["code"]),
        "is_streaming": fields["stream"],
        "prompt_tokens": fields["prompt_tokens"],
        "completion_tokens": fields["completion_tokens"],
        "total_time_ms": round(fields["total_seconds"] * 1000),
        "created_at": iso_at(fields["started_utc"]),
        "backend_id": known(fields["backend"], found.backends, configured.backends),
    }


def known(name: str, managed: dict[str, int], configured: frozenset[str]) -> int | None:
    return managed.get(name, configured_number(name) if name in configured else None)


def details_of(configured: Configured, found: Found, number: int, row: Row, asked: Asked) -> RequestDetails:
    fields: dict[str, Any] = dict(zip(FIELDS, row, strict=True))
    begun, queue_seconds, seconds = fields["started_utc"], fields["queue_seconds"], fields["total_seconds"]
    counted = [each for each in (fields["prompt_tokens"], fields["completion_tokens"]) if each is not None]
    return RequestDetails(
        **plain_of(configured, found, number, row),
        **msgspec.structs.asdict(asked),
        api_key_id=known(fields["key_id"], found.keys, configured.keys),
        modality=fields["operation"],
        queued_at=iso_at(begun),
        started_at=iso_at(begun + queue_seconds),
        completed_at=iso_at(begun + seconds),
        queue_delay_ms=round(queue_seconds * 1000),
        processing_time_ms=max(0, round((seconds - queue_seconds) * 1000)),
        total_tokens=sum(counted) if counted else None,
        tokens_estimated=fields["usage_state"] in ("estimated", "partial"),
        error_message=fields["code"] or None,
        client_ip=fields["client_address"],
    )


def answer_of(bodies: StoredBodies | None) -> AnswerDetails | None:
    if bodies is None:
        return None
    found = read_answer(bodies.answer)
    return AnswerDetails(content=found.content, finish_reason=found.finish_reason, chunk_count=found.chunk_count)


P = Permission
TAG = "MindRouter: requests"
ENDPOINTS = (
    Endpoint("GET", "/audit/search", P.RECORDS_READ, search_history, query=HistoryQuery, answer=HistoryShown, tag=TAG),
    Endpoint("GET", "/audit/{request_id}", P.BODIES_READ, show_request, answer=Details, tag=TAG),
)
