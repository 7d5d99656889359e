"""Shell. Records as a stream, page by page, however many there are.

Nothing is read before the client has taken what came before, and no transaction is open in between. A client that
leaves ends it at the page that is being read. A database that goes away for a moment is asked again; if it stays away,
the connection is broken off, for an end that looks like one would be a lie.
Read next: `records.py`, whose endpoint this is; `mrproxy/storage/export.py`, the two forms.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.api.call import Call
from mrproxy.control.api.problem import Problem
from mrproxy.storage.export import CSV_HEAD, Encode, encode_csv, encode_jsonl
from mrproxy.storage.failures import DatabaseError
from mrproxy.storage.records import PAGE_RECORDS, Cursor, RecordFilter, read_page

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0)

# What is said of each form: its encoding, its head, its content type, the file's name.
FORMS: dict[str, tuple[Encode, bytes, str, str]] = {
    "csv": (encode_csv, CSV_HEAD, "text/csv; charset=utf-8; header=present", "records.csv"),
    "jsonl": (encode_jsonl, b"", "application/jsonl", "records.jsonl"),
}


class Export(AsyncIterator[bytes]):
    """The pieces of one answer. Quart calls `aclose` when it is over, however that came."""

    def __init__(self, call: Call[Any, Any], wanted: RecordFilter, form: str) -> None:
        """Raises Problem when too many run already."""
        self._call = call
        self._wanted = wanted
        self._encode, self._head, _, _ = FORMS[form]
        self._behind: Cursor | None = None
        self._is_over = False
        call.plane.exports.begin(self)

    def __aiter__(self) -> "Export":
        return self

    async def __anext__(self) -> bytes:
        """Raises DatabaseError or Problem when the database stays away."""
        if self._head:
            head, self._head = self._head, b""
            return head
        if self._is_over:
            await self.aclose()
            raise StopAsyncIteration
        return await self._next_page()

    async def aclose(self) -> None:
        self._is_over = True
        self._call.plane.exports.end(self)

    async def _next_page(self) -> bytes:
        page = await read_patiently(self._call, read_page, self._wanted, self._behind, PAGE_RECORDS)
        self._behind = page.following
        self._is_over = page.following is None
        return self._encode(page.rows)


async def read_patiently(
    call: Call[Any, Any],
    function: Callable[[AsyncConnection, *Ts], Awaitable[T]],
    *args: *Ts,
) -> T:
    """From a database that may be away for a moment. Raises DatabaseError or Problem when it stays away."""
    for delay_seconds in RETRY_SECONDS:
        try:
            return await call.read(function, *args)
        except (DatabaseError, Problem):
            await trio.sleep(delay_seconds)
    return await call.read(function, *args)
