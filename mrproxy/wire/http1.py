"""Pure. Request and response heads of HTTP/1.1 (RFC 9112), checked strictly, kept in the shape we forward.

llhttp (httptools) is the grammar; the rules below are those it leaves to its user:
  1. Only a complete head is parsed (up to CRLF CRLF), so "byte by byte" and "whole" cannot differ.
  2. A bare LF anywhere in a head is refused at once (RFC 9112 §2.2 allows lenience; lenience is smuggling).
  3. `Transfer-Encoding` is exactly `chunked` or 501; never in HTTP/1.0; never beside a length (llhttp refuses).
  4. Exactly one `Host` in HTTP/1.1 (RFC 9112 §3.2); versions other than 1.0 and 1.1 get 505.
  5. The request line is method, space, target, space, version, CRLF and nothing else: llhttp skips bytes around them.
  6. Heads repeat: `split_length` cuts the digits of Content-Length out of a head, and what remains is a key
     under which a parsed head may be kept. A head whose length is not plain digits has no key.
Read next: `mrproxy/accept/heads.py` (the cache), `mrproxy/upstream/answer.py` (response heads).
"""

import re
from typing import Any

import httptools

from mrproxy.errors import ClientError, Code

# Hop-by-hop (RFC 9110 §7.6.1) and what the proxy itself decides: never forwarded as received.
HOP_BY_HOP = frozenset(
    [
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    ]
)  # fmt: skip
# Credentials stay here; the length, the id and the encoding are ours (an encoded answer has no readable usage).
_REQUEST_OWN = HOP_BY_HOP | {
    b"host", b"content-length", b"expect", b"authorization", b"x-api-key", b"accept-encoding",
    b"x-request-id", b"cookie",
}  # fmt: skip
# A backend's cookies and name are no business of the caller; the control plane's cookies are.
PLAIN_RESPONSE = HOP_BY_HOP | {b"content-length", b"x-request-id", b"request-id", b"server-timing", b"server"}
BACKEND_RESPONSE = PLAIN_RESPONSE | {b"x-mrproxy-backend", b"set-cookie"}

_MAX_LENGTH_DIGITS = 15
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ ")
_AUTHORITY_END = re.compile(rb"[/?#]|$")


def split_length(raw: bytes) -> tuple[bytes, int]:
    """Cut the Content-Length digits out of a complete head: (key, length).

    ("", -1) when the head must not be kept: its length is not 1 to 15 plain digits.
    (raw, -1) when it has no length in one of the two spellings that clients use.
    """
    start = raw.find(b"\r\nContent-Length: ")
    if start < 0:
        start = raw.find(b"\r\ncontent-length: ")
        if start < 0:
            return raw, -1
    start += 18
    end = raw.find(b"\r", start)
    digits = raw[start:end]
    if not digits.isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
        return b"", -1
    return raw[:start] + raw[end:], int(digits)


class Repetition:
    """What recognises the next message with a head that differs in the digits of its length only, or not at all.

    Five searches in C instead of a parse or a hash: 0.6 µs. `match` says where the body begins and how long it is.
    """

    __slots__ = ("_digits_at", "_prefix", "_suffix", "_suffix_bytes")

    def __init__(self, raw: bytes) -> None:
        """`raw` is a complete head for which `split_length` found digits."""
        start = raw.find(b"\r\nContent-Length: ")
        if start < 0:
            start = raw.find(b"\r\ncontent-length: ")
        start += 18
        self._prefix = raw[:start]
        self._suffix = raw[raw.find(b"\r", start) :]
        self._digits_at = start
        self._suffix_bytes = len(self._suffix)

    def match(self, data: bytes) -> tuple[int, int]:
        """(where the body begins, its length); (0, 0) if `data` begins otherwise."""
        if data.startswith(self._prefix):
            start = self._digits_at
            end = data.find(b"\r", start, start + _MAX_LENGTH_DIGITS + 1)
            digits = data[start:end]
            if digits.isdigit() and data.startswith(self._suffix, end):
                return end + self._suffix_bytes, int(digits)
        return 0, 0


class RequestHead:
    """A checked request head. Immutable but for `content_length`, which is read beside a kept head.

    `headers` have lower-case names, in order. `target` is as sent; `path` and `query` are its parts, `path` without
    an absolute form's authority; `relative` is both together. `forward` is the block of header lines for a backend,
    each with CRLF.
    """

    __slots__ = (
        "chunked", "content_length", "expects_continue", "forward", "headers", "http10", "keep_alive", "method",
        "path",
        "query",
        "raw",
        "relative", "target", "upgrade",
    )  # fmt: skip

    def __init__(self, raw: bytes, method: bytes, target: bytes, version: str, headers: list[tuple[bytes, bytes]]):
        self.raw = raw
        self.method = method
        self.target = target
        self.headers = headers
        self.http10 = version == "1.0"
        self.path, self.query = _split_target(target, method)
        self.relative = b"%b?%b" % (self.path, self.query) if self.query else self.path
        connection = _connection_tokens(headers)
        self.keep_alive = b"keep-alive" in connection if self.http10 else b"close" not in connection
        self.chunked = False
        self.content_length = -1
        self.expects_continue = False
        self.upgrade: bytes | None = None
        self._frame(connection)
        self.forward = _forward_block(headers, _REQUEST_OWN | connection)

    def _frame(self, connection: frozenset[bytes]) -> None:
        hosts = 0
        for name, value in self.headers:
            match name:
                case b"content-length":
                    self.content_length = int(value)
                case b"transfer-encoding":
                    self.chunked = True
                    if self.http10:
                        raise ClientError(Code.BAD_REQUEST, "Transfer-Encoding in HTTP/1.0", closes=True)
                    if value.lower() != b"chunked":
                        raise ClientError(Code.NOT_IMPLEMENTED, "only chunked transfer coding is known", closes=True)
                case b"host":
                    hosts += 1
                case b"expect":
                    if value.lower() != b"100-continue":
                        raise ClientError(Code.EXPECTATION_FAILED, "unknown expectation", closes=True)
                    self.expects_continue = not self.http10
                case b"upgrade" if b"upgrade" in connection:
                    self.upgrade = value
        if hosts > 1 or (hosts == 0 and not self.http10):
            raise ClientError(Code.BAD_REQUEST, "exactly one Host header is needed", closes=True)

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header by its lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class _Collector:
    """What llhttp calls back into."""

    __slots__ = ("complete", "headers", "limit", "status_text", "target")

    def __init__(self, limit: int) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.limit = limit
        self.complete = False
        self.status_text = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp leaves the white space after a value, which is no part of it (RFC 9110 §5.5).
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_request_head(raw: bytes, max_headers: int) -> RequestHead:
    """Parse one complete head, CRLF CRLF included. Raises ClientError with `closes` set."""
    if raw.count(b"\n") != raw.count(b"\r\n"):
        raise ClientError(Code.BAD_REQUEST, "bare LF in the request head", closes=True)
    collector = _Collector(max_headers)
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserInvalidMethodError:
        if not _METHOD.match(raw):
            raise ClientError(Code.BAD_REQUEST, "this is not an HTTP/1.1 request", closes=True) from None
        raise ClientError(Code.NOT_IMPLEMENTED, "unknown method", closes=True) from None
    except httptools.HttpParserError as exc:
        if raw.startswith(b"PRI "):
            raise ClientError(Code.HTTP_VERSION, "HTTP/1.1 only", closes=True) from None
        raise _worded(exc) from None
    version = parser.get_http_version()
    if version not in ("1.1", "1.0"):
        raise ClientError(Code.HTTP_VERSION, "HTTP/1.1 only", closes=True)
    request_line = b"%b %b HTTP/%b\r\n" % (parser.get_method(), collector.target, version.encode())
    if not raw.removeprefix(b"\r\n").startswith(request_line):  # one empty line before it is allowed (RFC 9112 §2.2)
        raise ClientError(Code.BAD_REQUEST, "malformed request line", closes=True)
    if len(collector.headers) > max_headers:
        raise ClientError(Code.HEAD_TOO_LARGE, f"more than {max_headers} headers", closes=True)
    if not collector.complete:
        raise ClientError(Code.BAD_REQUEST, "incomplete request head", closes=True)
    return RequestHead(raw, parser.get_method(), collector.target, version, collector.headers)


def _worded(exc: httptools.HttpParserError) -> ClientError:
    reason = str(exc)
    if "HTTP version" in reason:
        return ClientError(Code.HTTP_VERSION, "HTTP/1.1 only", closes=True)
    return ClientError(Code.BAD_REQUEST, f"malformed request: {reason}", closes=True)


def _split_target(target: bytes, method: bytes) -> tuple[bytes, bytes]:
    """(path, query) of origin-form, absolute-form or asterisk-form (RFC 9112 §3.2)."""
    if method == b"CONNECT":
        raise ClientError(Code.NOT_IMPLEMENTED, "CONNECT is not offered", closes=True)
    if not target.startswith(b"/"):
        scheme, mark, rest = target.partition(b"://")
        if mark and scheme.lower() in (b"http", b"https"):
            end = _AUTHORITY_END.search(rest)
            target = rest[end.start() :] if end is not None else b""
            if not target.startswith(b"/"):
                target = b"/" + target
        elif not (target == b"*" and method == b"OPTIONS"):
            raise ClientError(Code.BAD_REQUEST, "malformed request target", closes=True)
    path, _, query = target.partition(b"?")
    return path, query


def _connection_tokens(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    return frozenset(
        token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    )


def _forward_block(headers: list[tuple[bytes, bytes]], dropped: frozenset[bytes]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers if header[0] not in dropped])


class ResponseHead:
    """A backend's answer head. `body` is what follows: see `framing`.

    `content_length` is -1 when unknown; `reusable` says whether the connection may carry another request.
    `forward` is the block of header lines that the caller gets, each with CRLF.
    """

    __slots__ = ("chunked", "content_length", "content_type", "forward", "headers", "reusable", "status", "upgrade")

    def __init__(
        self, status: int, version: str, headers: list[tuple[bytes, bytes]], dropped: frozenset[bytes]
    ) -> None:
        self.status = status
        self.headers = headers
        connection = _connection_tokens(headers)
        self.chunked = False
        self.content_length = -1
        self.content_type = b""
        for name, value in headers:
            if name == b"content-length":
                self.content_length = int(value)
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise ValueError("the backend uses an unknown transfer coding")
                self.chunked = True
            elif name == b"content-type":
                self.content_type = value.lower()
        if status in (204, 304):
            self.content_length, self.chunked = 0, False
        framed = self.chunked or self.content_length >= 0
        stays = b"keep-alive" in connection if version == "1.0" else b"close" not in connection
        self.reusable = framed and stays
        self.upgrade = status == 101
        self.forward = _forward_block(headers, dropped | connection)

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header by its lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


def parse_response_head(raw: bytes, dropped: frozenset[bytes] = BACKEND_RESPONSE) -> ResponseHead:
    """Parse one complete response head, CRLF CRLF included. Raises ValueError. `dropped`: not for the caller."""
    collector = _Collector(1000)
    parser: Any = httptools.HttpResponseParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as exc:
        raise ValueError(f"malformed answer head: {exc}") from None
    if not collector.complete:
        raise ValueError("incomplete answer head")
    if parser.get_http_version() not in ("1.1", "1.0"):
        raise ValueError("not an HTTP/1.1 answer")
    return ResponseHead(parser.get_status_code(), parser.get_http_version(), collector.headers, dropped)
