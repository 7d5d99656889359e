"""Pure. Trace contexts (W3C Trace Context, Recommendation of 2021-11-23): what is believed, and what is passed on.

A request's spans are made from its journal record, long after it has ended and in another process. So their ids follow
from what the record says: the worker can tell the backend its parent's id before that span exists.
"""

import re
from hashlib import blake2b
from typing import NamedTuple

# §3.2: version ff is invalid, and so are ids of zeros; later versions may append fields, version 00 must not.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_HEX_TRACE = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SAMPLED = 0x01


class TraceContext(NamedTuple):
    """`parent_id` is 0 where nobody began before us. Ids are numbers of 128 and 64 bits."""

    trace_id: int
    parent_id: int
    is_sampled: bool


def checked_traceparent(value: bytes | None) -> str:
    """The header's value if it is one, else an empty text: a broken one is ignored (§4.3)."""
    if value is None:
        return ""
    text = value.decode("latin-1").strip()
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found[1] == "00" and len(text) != 55):
        return ""
    return text[:55]


def context_of(traceparent: str, request_id: str) -> TraceContext:
    """Of a checked header; without one, a trace of our own that is called what the request is called."""
    if traceparent:
        _, trace, parent, flags = traceparent.split("-")
        return TraceContext(int(trace, 16), int(parent, 16), bool(int(flags, 16) & _SAMPLED))
    if _HEX_TRACE.fullmatch(request_id):
        return TraceContext(int(request_id, 16), 0, is_sampled=True)
    digest = blake2b(request_id.encode("utf-8", "replace"), digest_size=16).digest()
    return TraceContext(int.from_bytes(digest) or 1, 0, is_sampled=True)


def server_span_id(traceparent: str, request_id: str) -> int:
    """Of the span of the whole request."""
    return _span_id("server", traceparent, request_id)


def client_span_id(traceparent: str, request_id: str) -> int:
    """Of the span of what the backends did: theirs are its children."""
    return _span_id("client", traceparent, request_id)


def traceparent_onwards(traceparent: str, request_id: str) -> str:
    """What the backend gets instead of the checked `traceparent` of the caller."""
    _, trace, _, flags = traceparent.split("-")
    return f"00-{trace}-{client_span_id(traceparent, request_id):016x}-{flags}"


def _span_id(kind: str, traceparent: str, request_id: str) -> int:
    digest = blake2b(f"{kind} {traceparent} {request_id}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) or 1
