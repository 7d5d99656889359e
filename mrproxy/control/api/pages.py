"""Pure. Lists in pages: `?limit=&cursor=` in, `{"items": […], "next_cursor": …}` and `Link: rel="next"` out (RFC 8288).

Pages are by keyset: a row that is added or removed meanwhile shifts nothing, and page 1,000 costs what page 1 does.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from msgspec import Meta

from mrproxy.control.api.call import Call
from mrproxy.control.api.cursors import DEFAULT_LIMIT, MAX_LIMIT, decode_cursor, encode_cursor
from mrproxy.control.api.endpoint import Answer

T = TypeVar("T")


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of every list; those of one list are added by inheriting."""

    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many at most.")] = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(max_length=1000, description="`next_cursor` of the page before.")] = ""

    def behind(self, kind: Any) -> Any:
        """Where the page begins, as such a type; None at the beginning. Raises Problem."""
        return decode_cursor(self.cursor, kind) if self.cursor else None


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """`next_cursor` is null on the last page."""

    items: Sequence[T]
    next_cursor: str | None = None


def answer_page(call: Call[Any, Any], items: Sequence[object], following: object) -> Answer:
    """`following` is the keyset of the next page, None after the last."""
    if following is None:
        return Answer(value=Listing(items))
    cursor = encode_cursor(following)
    return Answer(value=Listing(items, cursor), headers=(("Link", f'<{next_url(call.url, cursor)}>; rel="next"'),))


def next_url(url: str, cursor: str) -> str:
    """Relative: behind whatever proxies there are, it leads where the request came from."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "cursor"]
    return f"{parts.path}?{urlencode([*kept, ('cursor', cursor)])}"
