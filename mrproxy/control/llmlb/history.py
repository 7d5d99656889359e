"""Shell. `/dashboard/request-responses`: what was asked of the gateway, newest first, in numbered pages.

Prompts and answers are in the details only, where they were kept: a page of them would be megabytes.
Read next: `history_shapes.py`; `../admin/records.py`, which does the same in our own words.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.records import may_read_bodies, record_shown
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.llmlb.endpoint_shapes import Known
from mrproxy.control.llmlb.exporting import FORMS, HistoryExport
from mrproxy.control.llmlb.history_shapes import HistoryPage, RecordDetails, shown, with_bodies
from mrproxy.control.llmlb.knowing import all_known
from mrproxy.control.llmlb.manners import Named, Part, Wanted, Word, bad_request, moment_in, not_found, theirs
from mrproxy.control.permissions import Permission
from mrproxy.storage.bodies import read_bodies
from mrproxy.storage.history import HistoryFilter, read_numbered_page
from mrproxy.storage.outcomes import COUNTED_RECORDS, count_records
from mrproxy.storage.records import RecordFilter, read_page
from mrproxy.storage.search import place_of

# Their pages offer these; another number is taken for the first one, as there.
PAGE_SIZES = (10, 25, 50, 100)
MOST_RECORDS = 1000


class FilterQuery(Wanted, frozen=True, kw_only=True):
    """`model` is a part of a name. An endpoint's id may be called by any of four names."""

    model: Part | None = None
    endpoint_id: Named | None = None
    node_id: Named | None = None
    runtime_id: Named | None = None
    agent_id: Named | None = None
    status: Word | None = None
    start_time: Word | None = None
    end_time: Word | None = None
    client_ip: Named | None = None

    def wanted(self, known: list[Known]) -> HistoryFilter:
        """Raises Problem."""
        since_utc, until_utc = moment_in(self.start_time, "start_time"), moment_in(self.end_time, "end_time")
        if since_utc is not None and until_utc is not None and since_utc > until_utc:
            raise bad_request("start_time must not be after end_time")
        if self.status not in (None, "", "success", "error"):
            raise bad_request("status must be success or error")
        id_ = self.endpoint_id or self.node_id or self.runtime_id or self.agent_id
        return HistoryFilter(
            since_utc=since_utc,
            until_utc=until_utc,
            backend=None if id_ is None else next((each.name for each in known if each.id == id_), id_),
            model_part=self.model or None,
            client_address=self.client_ip or None,
            is_success=self.status == "success" if self.status else None,
        )


class HistoryQuery(FilterQuery, frozen=True, kw_only=True):
    """`page` and `per_page`, or `limit` and `offset`."""

    page: int = 1
    per_page: int = PAGE_SIZES[0]
    limit: int | None = None
    offset: int | None = None

    def place(self) -> tuple[int, int, int]:
        """How many to skip, how many there may be, and the number of that page."""
        if self.limit is None and self.offset is None:
            size = self.per_page if self.per_page in PAGE_SIZES else PAGE_SIZES[0]
            page = max(1, min(self.page, COUNTED_RECORDS))
            return (page - 1) * size, size, page
        size = max(1, min(self.limit or PAGE_SIZES[0], MOST_RECORDS))
        skip = max(0, min(self.offset or 0, COUNTED_RECORDS))
        return skip, size, skip // size + 1


class ExportQuery(FilterQuery, frozen=True, kw_only=True):
    """`format`: csv or json."""

    format: Word = "csv"


async def _page_and_count(
    connection: AsyncConnection, wanted: RecordFilter, skip: int, size: int
) -> tuple[Sequence[Any], int]:
    """Of one moment: a page would else be shorter than what is counted beside it."""
    return await read_numbered_page(connection, wanted, skip, size), await count_records(connection, wanted)


async def list_history(call: Call[None, HistoryQuery]) -> Answer:
    """Requests, newest first, in numbered pages."""
    known = await all_known(call)
    wanted = call.query.wanted(known)
    skip, size, page = call.query.place()
    rows, total = await call.read(_page_and_count, wanted, skip, size)
    records = [shown(record_shown(row), by_name(known)) for row in rows]
    return Answer(value=HistoryPage(records=records, total_count=total, page=page, per_page=size))


async def show_history(call: Call[None, None]) -> Answer:
    """One request, with what was asked and answered where that was kept."""
    id_ = call.path["id"]
    page = await call.read(read_page, RecordFilter(request_id=id_), None, 1, True)
    if not page.rows:
        raise not_found(f"Record {id_}")
    ours = record_shown(page.rows[0])
    record = shown(ours, by_name(await all_known(call)))
    bodies = None
    if may_read_bodies(call.actor, RecordFilter(user=ours.user, key_id=ours.key_id)):
        bodies = await call.read(read_bodies, place_of(tuple(page.rows[0])))
    return Answer(value=with_bodies(record, bodies))


async def export_history(call: Call[None, ExportQuery]) -> Answer:
    """All requests that are wanted, newest first, as CSV or JSON."""
    form = call.query.format
    if form not in FORMS:
        raise bad_request(f"Unknown format {form!r}; there are csv and json")
    known = await all_known(call)
    stream = HistoryExport(call, call.query.wanted(known), form, by_name(known))
    disposition = ("Content-Disposition", f'attachment; filename="request_history.{form}"')
    return Answer(stream=stream, content_type=FORMS[form][-1], headers=(disposition,))


def by_name(known: list[Known]) -> dict[str, Known]:
    """Of one name, the configured one comes first and is the one that answered."""
    return {each.name: each for each in reversed(known)}


P = Permission
TAG = "llmlb: history"
ALL = "/dashboard/request-responses"
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", ALL, P.RECORDS_READ, theirs(list_history), query=HistoryQuery, answer=HistoryPage, tag=TAG),
    Endpoint(
        "GET",
        f"{ALL}/export",
        P.RECORDS_READ,
        theirs(export_history),
        query=ExportQuery,
        tag=TAG,
        content_type="text/csv",
    ),
    Endpoint("GET", f"{ALL}/{{id:path}}", P.RECORDS_READ, theirs(show_history), answer=RecordDetails, tag=TAG),
)
