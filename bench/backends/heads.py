"""Pure. Response heads as the engines' servers write them: uvicorn's (vLLM), Go's net/http (Ollama), Anthropic's.

`now_utc` is wall time in whole seconds; the date is formatted once per second.
"""

import email.utils
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from bench.backends.work import Reply

_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed", 429: b"Too Many Requests"}
_REASONS |= {500: b"Internal Server Error", 503: b"Service Unavailable", 401: b"Unauthorized", 529: b"Overloaded"}


class Heads(Protocol):
    """One of them, for routes that several engines serve."""

    def stream(self, content_type: str, now_utc: int) -> bytes: ...
    def reply(self, status: int, body: bytes, content_type: str, now_utc: int, extra: bytes = b"") -> Reply: ...
    def json(self, status: int, value: Any, now_utc: int) -> Reply: ...


class _Dates:
    __slots__ = ("_at_utc", "_text")

    def __init__(self) -> None:
        self._at_utc = -1
        self._text = b""

    def format(self, now_utc: int) -> bytes:
        if self._at_utc != now_utc:
            self._at_utc, self._text = now_utc, email.utils.formatdate(now_utc, usegmt=True).encode()
        return self._text


class UvicornHeads:
    """Lower-case names; `date` and `server` first, then the application's headers."""

    def __init__(self) -> None:
        self._dates = _Dates()

    def stream(self, content_type: str, now_utc: int) -> bytes:
        kind = content_type.encode()
        return b"%bcontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % (self._start(200, now_utc), kind)

    def reply(self, status: int, body: bytes, content_type: str, now_utc: int, extra: bytes = b"") -> Reply:
        kind = f"content-type: {content_type}\r\n".encode() if content_type else b""
        head = b"%bcontent-length: %d\r\n%b%b\r\n" % (self._start(status, now_utc), len(body), kind, extra)
        return Reply(head + body, status)

    def json(self, status: int, value: Any, now_utc: int) -> Reply:
        return self.reply(status, msgspec.json.encode(value), "application/json", now_utc)

    def _start(self, status: int, now_utc: int) -> bytes:
        date = self._dates.format(now_utc)
        return b"HTTP/1.1 %d %b\r\ndate: %b\r\nserver: uvicorn\r\n" % (status, _REASONS[status], date)


class GoHeads:
    """Canonical names: `Content-Type`, `Date`, then how long the body is."""

    def __init__(self) -> None:
        self._dates = _Dates()

    def stream(self, content_type: str, now_utc: int) -> bytes:
        return self._start(200, content_type, now_utc) + b"Transfer-Encoding: chunked\r\n\r\n"

    def reply(self, status: int, body: bytes, content_type: str, now_utc: int, extra: bytes = b"") -> Reply:
        head = self._start(status, content_type, now_utc) + extra
        return Reply(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), status)

    def json(self, status: int, value: Any, now_utc: int) -> Reply:
        """As gin's c.JSON."""
        return self.reply(status, msgspec.json.encode(value), "application/json; charset=utf-8", now_utc)

    def _start(self, status: int, content_type: str, now_utc: int) -> bytes:
        line = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS[status])
        return line + b"Content-Type: %b\r\nDate: %b\r\n" % (content_type.encode(), self._dates.format(now_utc))


class AnthropicHeads:
    """Canonical names, and on every answer the `request-id` that the SDKs show."""

    def __init__(self, next_id: Callable[[], str]) -> None:
        self._dates = _Dates()
        self._next_id = next_id

    def stream(self, content_type: str, now_utc: int) -> bytes:
        return (
            self._start(200, content_type, now_utc) + b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    def reply(self, status: int, body: bytes, content_type: str, now_utc: int, extra: bytes = b"") -> Reply:
        head = self._start(status, content_type, now_utc) + extra
        return Reply(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), status)

    def json(self, status: int, value: Any, now_utc: int) -> Reply:
        return self.reply(status, msgspec.json.encode(value), "application/json", now_utc)

    def _start(self, status: int, content_type: str, now_utc: int) -> bytes:
        line = b"HTTP/1.1 %d %b\r\nDate: %b\r\n" % (status, _REASONS[status], self._dates.format(now_utc))
        return line + b"Content-Type: %b\r\nrequest-id: req_%b\r\n" % (content_type.encode(), self._next_id().encode())
