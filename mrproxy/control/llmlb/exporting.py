"""Shell. Llmlb's export: all records that are wanted as CSV or one JSON list, page by page, in constant memory.

As in `../admin/exporting.py`, whose rules hold here, too: nothing is read before the client has taken what came before,
and an end that looks like one would be a lie where the database stays away.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
import trio

from mrproxy.control.admin.exporting import RETRY_SECONDS
from mrproxy.control.admin.records import record_shown
from mrproxy.control.api.call import Call
from mrproxy.control.api.problem import Problem
from mrproxy.control.llmlb.endpoint_shapes import Known
from mrproxy.control.llmlb.history_shapes import CSV_COLUMNS, RecordShown, csv_of, shown
from mrproxy.storage.failures import DatabaseError
from mrproxy.storage.records import PAGE_RECORDS, Cursor, Page, RecordFilter, read_page


def json_of(records: Sequence[RecordShown]) -> bytes:
    """Elements of a list, with what separates them."""
    return b",\n".join(msgspec.json.encode(each) for each in records)


# Of each form: how it is encoded, what comes before, between and after, its content type.
FORMS: dict[str, tuple[Callable[[Sequence[RecordShown]], bytes], bytes, bytes, bytes, str]] = {
    "csv": (csv_of, (",".join(CSV_COLUMNS) + "\r\n").encode(), b"", b"", "text/csv; charset=utf-8"),
    "json": (json_of, b"[", b",\n", b"]", "application/json"),
}


class HistoryExport(AsyncIterator[bytes]):
    """The pieces of one answer. Quart calls `aclose` when it is over, however that came."""

    def __init__(self, call: Call[Any, Any], wanted: RecordFilter, form: str, known: Mapping[str, Known]) -> None:
        """Raises Problem when too many run already."""
        self._call = call
        self._wanted = wanted
        self._known = known
        self._encode, self._before, self._between, self._after, _ = FORMS[form]
        self._behind: Cursor | None = None
        self._has_begun = self._is_over = False
        call.plane.exports.begin(self)

    def __aiter__(self) -> "HistoryExport":
        return self

    async def __anext__(self) -> bytes:
        """Raises DatabaseError or Problem when the database stays away."""
        if self._is_over:
            await self.aclose()
            raise StopAsyncIteration
        page = await self._next_page()
        joint = self._between if self._has_begun and page.rows else b"" if self._has_begun else self._before
        self._has_begun = True
        self._behind = page.following
        self._is_over = page.following is None
        records = [shown(record_shown(row), self._known) for row in page.rows]
        return joint + self._encode(records) + (self._after if self._is_over else b"")

    async def aclose(self) -> None:
        self._is_over = True
        self._call.plane.exports.end(self)

    async def _next_page(self) -> Page:
        for delay_seconds in RETRY_SECONDS:
            try:
                return await self._read()
            except (DatabaseError, Problem):
                await trio.sleep(delay_seconds)
        return await self._read()

    async def _read(self) -> Page:
        return await self._call.read(read_page, self._wanted, self._behind, PAGE_RECORDS, True)
