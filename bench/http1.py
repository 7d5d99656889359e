"""Pure. As much HTTP/1.1 as a load generator and a mock engine need, and no more.

Not a validating parser: both ends are ours or under test, so anything unexpected is an error that is
reported, never repaired. `RequestReader` is the mock's side, `parse_response_head` and `ChunkDecoder` the
client's. The client's per-token path does not come through here at all when an event arrives as one whole
chunk (`bench/streams.py`): this is what it falls back to.
"""

from dataclasses import dataclass


class WireError(Exception):
    """The peer sent something that is not HTTP/1.1 as we know it."""


@dataclass(frozen=True, slots=True)
class Request:
    method: bytes
    path: bytes
    head: bytes  # the raw head, lower case, blank line excluded; names are looked up in it
    body: bytes

    @property
    def keep_alive(self) -> bool:
        return b"\r\nconnection: close" not in self.head

    def header(self, name: bytes) -> bytes:
        """Value of the header called `name` (lower case), or b""; the value comes back in lower case."""
        return find_header(self.head, name)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    status: int
    head: bytes  # lower case
    body_at: int  # offset of the body in the data that was given
    content_length: int | None
    is_chunked: bool
    keep_alive: bool

    def header(self, name: bytes) -> bytes:
        return find_header(self.head, name)


def find_header(head: bytes, name: bytes) -> bytes:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start:end].strip() if end >= 0 else head[start:].strip()


def parse_response_head(data: bytes) -> ResponseHead | None:
    """The head at the start of `data`, or None while it is incomplete; 1xx heads are skipped."""
    start = 0
    while True:
        end = data.find(b"\r\n\r\n", start)
        if end < 0:
            return None
        head = data[start:end].lower()
        if not head.startswith(b"http/1.1 ") and not head.startswith(b"http/1.0 "):
            raise WireError(f"not a response: {data[start : start + 60]!r}")
        status = int(head[9:12])
        if status >= 200:
            break
        start = end + 4
    length = find_header(head, b"content-length")
    return ResponseHead(
        status=status,
        head=head,
        body_at=end + 4,
        content_length=int(length) if length else None,
        is_chunked=b"\r\ntransfer-encoding: chunked" in head,
        keep_alive=b"\r\nconnection: close" not in head and head.startswith(b"http/1.1"),
    )


# What a ChunkDecoder expects next, where it is not payload.
_SIZE_LINE, _CRLF, _TRAILER = -1, -2, -3


class ChunkDecoder:
    """Incremental `Transfer-Encoding: chunked`: bytes in, payload out; `finished` after the last chunk."""

    __slots__ = ("_buffer", "_expected", "finished")

    def __init__(self) -> None:
        self._buffer = b""
        self._expected = _SIZE_LINE  # or the payload bytes left in the current chunk
        self.finished = False

    @property
    def is_between_chunks(self) -> bool:
        return self._expected == _SIZE_LINE and not self._buffer

    @property
    def unread(self) -> bytes:
        """What came after the end (or is not decodable yet)."""
        return self._buffer

    def receive_data(self, data: bytes) -> bytes:
        """The payload in `data`; what is incomplete is kept for the next call."""
        buffer = self._buffer + data if self._buffer else data
        pieces: list[bytes] = []
        at = 0
        while at < len(buffer) and not self.finished:
            if self._expected > 0:
                piece = buffer[at : at + self._expected]
                pieces.append(piece)
                at += len(piece)
                self._expected = self._expected - len(piece) or _CRLF
                continue
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            self._read_line(buffer[at:end])
            at = end + 2
        self._buffer = buffer[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_line(self, line: bytes) -> None:
        if self._expected == _TRAILER:
            self.finished = not line
        elif self._expected == _CRLF:
            if line:
                raise WireError(f"a chunk does not end in CRLF: {line[:40]!r}")
            self._expected = _SIZE_LINE
        else:
            self._expected = self._read_size(line) or _TRAILER

    @staticmethod
    def _read_size(line: bytes) -> int:
        try:
            return int(line.split(b";", 1)[0], 16)
        except ValueError as exc:
            raise WireError(f"not a chunk size: {line[:40]!r}") from exc


class RequestReader:
    """The mock's side of a connection: `receive_data(bytes)`, then `next_request()` until it says None."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def receive_data(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data

    def next_request(self) -> Request | None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = buffer[:end].lower()
        start = end + 4
        if b"\r\ntransfer-encoding:" in head:
            decoder = ChunkDecoder()
            body = decoder.receive_data(buffer[start:])
            if not decoder.finished:
                return None
            self._buffer = decoder.unread
        else:
            size = int(find_header(head, b"content-length") or 0)
            if len(buffer) < start + size:
                return None
            body = buffer[start : start + size]
            self._buffer = buffer[start + size :]
        line = buffer[: buffer.find(b"\r\n")].split(b" ")
        if len(line) != 3:
            raise WireError(f"not a request line: {line!r}")
        return Request(line[0], line[1], head, body)
