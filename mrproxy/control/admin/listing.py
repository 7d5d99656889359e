"""Shell. Lists of what is configured and what is managed, one behind the other, in pages.

The configured part is short and sorted by name; its place in a page is counted. Then come the rows of the database.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta

from mrproxy.control.admin.shapes import CONFIGURATION, MANAGED, Source
from mrproxy.control.api.call import Call
from mrproxy.control.api.pages import PageQuery
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.storage.people.values import Page

T = TypeVar("T")

# Keysets of lists of rows only.
RowKey: Any = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Place = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Keyset: Any = tuple[Literal["c", "m"], Place | Annotated[str, Meta(max_length=512, pattern="^[^\\x00]*$")]]
# A page of rows behind a row, at most so many of them.
Fetch = Callable[[Any, int], Awaitable[Page[T]]]


class BothQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of lists that have a configured part."""

    source: Annotated[Source | None, Meta(description="Only what comes from there.")] = None
    search: Annotated[str, Meta(max_length=200, description="Part of a name, in any case.")] = ""


def start_of(query: PageQuery, key: type) -> tuple[str, Any]:
    """Where a page begins: at a place of the configured part, or behind a row whose key is of that type."""
    start: tuple[str, Any] | None = query.behind(Keyset)
    if start is None:
        return "c", 0
    wanted = int if start[0] == "c" else key
    if not isinstance(start[1], wanted):
        raise Problem("invalid", "This is no cursor of this list.", errors=(Detail("?cursor", "unknown"),))
    return start


async def page_of_both(
    query: BothQuery, key: type, configured: Sequence[T], fetch: Fetch[T] | None
) -> tuple[list[T], tuple[str, int | str] | None]:
    """The items of a page and the keyset of the next. `fetch` None: there is no database."""
    part, place = start_of(query, key)
    items: list[T] = []
    behind = place
    if part == "c":
        shown = [] if query.source == MANAGED else configured
        items, behind = list(shown[place : place + query.limit]), None
        if place + query.limit < len(shown):
            return items, ("c", place + query.limit)
    if fetch is None or query.source == CONFIGURATION:
        return items, None
    if len(items) == query.limit:  # whether there are rows, the next page will tell
        return items, ("c", len(configured))
    page = await fetch(behind, query.limit - len(items))
    items += page.rows
    return items, None if page.following is None else ("m", page.following)


def fetch_by(
    call: Call[Any, Any], function: Callable[..., Awaitable[Page[Any]]], wanted: object, show: Callable[[Any], T]
) -> Fetch[T] | None:
    """`function` is one of storage's lists; None where there is no database, so that the configured part is shown."""
    if call.plane.store is None:
        return None

    async def fetch(behind: Any, limit: int) -> Page[T]:
        page = await call.read(function, wanted, behind, limit)
        return Page([show(row) for row in page.rows], page.following)

    return fetch


def is_found(search: str, *texts: str) -> bool:
    return not search or any(search.casefold() in text.casefold() for text in texts)
