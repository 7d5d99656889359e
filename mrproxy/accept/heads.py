"""Pure. Request heads with what follows from them alone, and a cache of them.

An SDK sends the same head again and again, but for the digits of Content-Length. So a parsed and routed head is kept
under its bytes without those digits (`wire.http1.split_length`), and the next request with it costs one dict lookup
instead of a parse: 1 µs instead of 14, measured with the openai SDK's head of 15 lines. Only heads that passed every
check are kept, and the digits themselves are checked each time; what is equal byte for byte cannot parse otherwise.
"""

import re

from mrproxy.canonical.request import FORMS, Operation
from mrproxy.dialects.anthropic import ANTHROPIC
from mrproxy.dialects.routes import Route, Way, find_route
from mrproxy.errors import ClientError, Code
from mrproxy.link.trace import checked_traceparent
from mrproxy.wire.http1 import Repetition, RequestHead, parse_request_head, split_length
from mrproxy.wire.multipart import parse_boundary

_CACHED_HEADS = 2048
# Longer heads carry cookies or tokens that change; keeping them would only cost memory (2048 × 4 KiB at most).
_CACHED_HEAD_BYTES = 4096
_ANTHROPIC = b"/anthropic/v1/"
# What may go the express way: nothing has to be kept, resolved or made up.
_EXPRESS = frozenset(
    {
        Operation.CHAT,
        Operation.COMPLETIONS,
        Operation.EMBEDDINGS,
        Operation.GENERATE,
        Operation.EMBED,
        Operation.MESSAGES,
    }
)
_CHECKABLE = frozenset({Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class Head:
    """A request head, routed. Shared between equal requests, so nothing of one request is kept in it.

    `credential` is the key as sent, or None; `request_id` the caller's own id, if it is a harmless one; `is_plain`
    says that nothing in it needs more than the usual (mrproxy/express.py). `boundary` is that of a request that has to
    be a form, None if it is not (`takes_form`).
    """

    __slots__ = (
        "boundary",
        "content_type",
        "credential",
        "http",
        "is_checked",
        "is_plain",
        "key",
        "origin",
        "repetition",
        "request_id",
        "route",
        "takes_form",
        "traceparent",
    )

    def __init__(self, http: RequestHead) -> None:
        self.http = http
        self.route: Route = find_route(http.method, http.path, http.get(b"accept"), http.get(b"anthropic-version"))
        if http.relative.startswith(_ANTHROPIC):  # our prefix: a backend's path begins at /v1
            http.relative = http.relative[len(_ANTHROPIC) - 4 :]
        if self.route.dialect is ANTHROPIC and http.get(b"anthropic-version") is None:
            http.forward += b"anthropic-version: 2023-06-01\r\n"  # curl forgets it
        self.credential = find_credential(http)
        wants_check = http.get(b"x-mrproxy-validate") in (b"1", b"true")
        self.is_checked = wants_check and self.route.operation in _CHECKABLE
        given = http.get(b"x-request-id")
        self.request_id = given if given is not None and _REQUEST_ID.fullmatch(given) else None
        self.origin = http.get(b"origin")
        self.content_type = http.get(b"content-type")
        self.traceparent = checked_traceparent(http.get(b"traceparent"))
        self.takes_form = self.route.operation in FORMS
        self.boundary = find_boundary(http) if self.takes_form else None
        self.key = b""  # under what it may be kept, until it is
        # Set when it may be kept and has a length: then the next request like it may go the express way.
        self.repetition: Repetition | None = None
        self.is_plain = (
            self.route.way is Way.RELAY
            and self.route.operation in _EXPRESS
            and not self.is_checked
            and self.credential is not None
            and self.origin is None
            and not self.traceparent
            and http.keep_alive
            and not (http.http10 or http.chunked or http.expects_continue)
            and (self.content_type is None or b"json" in self.content_type.lower())
        )


def find_credential(http: RequestHead) -> bytes | None:
    """The key: `Authorization: Bearer`, else `X-API-Key` (Anthropic's SDK). Never from the URL: URLs are logged."""
    authorization = http.get(b"authorization")
    if authorization is not None:
        scheme, _, credential = authorization.partition(b" ")
        if scheme.lower() == b"bearer" and credential.strip():
            return credential.strip()
    return http.get(b"x-api-key") or None


def find_boundary(http: RequestHead) -> bytes | None:
    """Of a form; None if it is not one, or if it is said twice what it is."""
    kinds = [value for name, value in http.headers if name == b"content-type"]
    return parse_boundary(kinds[0]) if len(kinds) == 1 else None


class HeadCache:
    """raw head -> (Head, content length). One per worker."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def find(self, raw: bytes, max_headers: int, max_target_bytes: int) -> tuple[Head, int]:
        """Length -1: the head has none. Raises ClientError with `closes` set."""
        key, length = split_length(raw)
        head = self._heads.get(key)
        if head is not None:
            return head, length
        http = parse_request_head(raw, max_headers)
        if len(http.target) > max_target_bytes:
            raise ClientError(Code.TARGET_TOO_LONG, f"request target longer than {max_target_bytes} bytes", closes=True)
        head = Head(http)
        # The boundary of a form is another one each time, and so is a span.
        is_lasting = len(key) <= _CACHED_HEAD_BYTES and head.boundary is None and not head.traceparent
        if key and is_lasting and (length >= 0) == (http.content_length >= 0):
            head.key = key
            if length >= 0:
                head.repetition = Repetition(raw)
        return head, http.content_length

    def keep(self, head: Head) -> None:
        """Its caller is known, so it is worth keeping: a flood of invalid keys must not push out the good ones."""
        key, head.key = head.key, b""
        if key:
            if len(self._heads) >= _CACHED_HEADS:
                self._heads.clear()
            self._heads[key] = head

    def forget(self) -> None:
        """After a reload: limits may have become stricter."""
        self._heads.clear()
