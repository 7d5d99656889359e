"""Shell. Whole lists, as llmlb's programs expect them: they know no pages of users, keys and endpoints.

Read page by page, each in a transaction of its own; nothing where there is no database.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mrproxy.control.api.call import Call
from mrproxy.storage.people.pages import MAX_PAGE
from mrproxy.storage.people.values import Page

T = TypeVar("T")


async def read_all(call: Call[Any, Any], function: Callable[..., Awaitable[Page[T]]], wanted: object) -> list[T]:
    """`function` is one of storage's lists."""
    if call.plane.store is None:
        return []
    rows: list[T] = []
    behind: int | str | None = None
    while True:
        page = await call.read(function, wanted, behind, MAX_PAGE)
        rows += page.rows
        behind = page.following
        if behind is None:
            return rows
