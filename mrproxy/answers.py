"""Pure. Answers that are not relayed: refusals in the caller's dialect, lists, and the lines every answer carries."""

import math
from typing import Protocol

from mrproxy.dialects.dialect import Dialect
from mrproxy.errors import ProxyError
from mrproxy.upstream.answer import status_line

JSON = b"application/json"
_CHALLENGE = b'www-authenticate: Bearer realm="mrproxy"\r\n'
# What a page of another origin may read; `*` would not do with credentials (Fetch, "CORS protocol").
_EXPOSED = b", ".join(
    [b"x-request-id", b"x-mrproxy-backend", b"x-mrproxy-lane", b"warning", b"server-timing", b"retry-after"]
    + [
        b"x-ratelimit-%b-%b" % (what, of)
        for of in (b"requests", b"tokens")
        for what in (b"limit", b"remaining", b"reset")
    ]
)


class EngineAnswer(Protocol):
    """An engine's error answer, kept."""

    engine_status: int
    content_type: bytes
    body: bytes
    retry_after_seconds: float | None


def answer_lines(
    request_id: bytes, limits: bytes, allowed_origin: bytes | None, *, keep_alive: bool, http10: bool
) -> bytes:
    """Header lines on every answer: the id, the limits, CORS when a browser asks, and how the connection goes on."""
    lines = b"x-request-id: %b\r\n%b" % (request_id, limits)
    if allowed_origin is not None:
        lines += b"access-control-allow-origin: %b\r\naccess-control-expose-headers: %b\r\n" % (
            allowed_origin,
            _EXPOSED,
        )
    if not keep_alive:
        lines += b"connection: close\r\n"
    elif http10:
        lines += b"connection: keep-alive\r\n"
    return lines


def encode_answer(status: int, content_type: bytes, body: bytes, lines: bytes, *, has_body: bool = True) -> bytes:
    """A whole answer. `has_body` false for HEAD: the length is told, the body is not sent (RFC 9110 §9.3.2)."""
    kind = b"content-type: %b\r\n" % content_type if content_type else b""
    length = b"" if status == 204 else b"content-length: %d\r\n" % len(body)
    head = b"%b%b%b%b\r\n" % (status_line(status), kind, length, lines)
    return head + body if has_body else head


def encode_refusal(
    error: ProxyError, dialect: Dialect, request_id: bytes, lines: bytes, *, has_body: bool = True
) -> bytes:
    """A refusal in the caller's dialect, with `Retry-After` in whole seconds where the error knows it."""
    extra = b"".join([b"%b: %b\r\n" % header for header in error.headers])
    if error.retry_after_seconds is not None:
        extra += b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after_seconds))
    if error.status == 401:
        extra += _CHALLENGE
    body = dialect.encode_error(error, request_id)
    return encode_answer(error.status, JSON, body, lines + extra, has_body=has_body)


def encode_engine_refusal(error: EngineAnswer, lines: bytes) -> bytes:
    """An engine's own refusal, as it came: same dialect, so the SDK parses it. 429, 503 and 529 get a `Retry-After`."""
    extra = b""
    if error.retry_after_seconds is not None:
        extra = b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after_seconds))
    return encode_answer(error.engine_status, error.content_type or JSON, error.body, lines + extra)
