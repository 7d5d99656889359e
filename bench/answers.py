"""Pure. Reading answers while they arrive: whole ones, and token streams whose every event carries a stamp.

A `TokenStream` learns, from the first token event that arrives as one whole HTTP chunk, what such a chunk looks
like around its stamp. From then on a token costs two comparisons, one `int` and one CRC; anything else (split,
merged or re-chunked events, the first and the last ones) takes the slow path through `ChunkDecoder`. Both paths
feed the same CRC over the payload, the usage event left out, so that a whole stream can be compared with what the
mock says it sent (`GET /_mock/sent`).
"""

import re
from collections.abc import Callable
from zlib import crc32

from bench.http1 import ChunkDecoder, ResponseHead, WireError, parse_response_head

_TOKEN = re.compile(rb'"t(\d{19}) "')
_DATE = re.compile(rb'"created_at":"([^"]*)"')
_ID = re.compile(rb'"id":"([^"]*)"')
MAX_HEAD_BYTES = 65536


class Answer:
    """One response, read to its end. `receive_data` returns True when it is complete."""

    __slots__ = ("_body", "_decoder", "_pending", "_size", "error", "first_ns", "head")

    def __init__(self) -> None:
        self._pending = b""
        self._decoder: ChunkDecoder | None = None
        self._body: list[bytes] = []
        self._size = 0
        self.head: ResponseHead | None = None
        self.first_ns = 0
        self.error = ""

    @property
    def status(self) -> int:
        return self.head.status if self.head is not None else 0

    @property
    def body(self) -> bytes:
        return b"".join(self._body)

    @property
    def body_bytes(self) -> int:
        return self._size

    @property
    def fingerprint(self) -> tuple[int, int, int]:
        """(tokens, payload bytes, CRC-32 of the payload), as the mock notes them for what it sent."""
        body = self.body
        return 0, len(body), crc32(body)

    @property
    def keeps_connection(self) -> bool:
        return self.head is not None and self.head.keep_alive and not self.error

    def receive_data(self, data: bytes, now: int) -> bool:
        head = self.head
        if head is None:
            data = self._pending + data
            head = parse_response_head(data)
            if head is None:
                self._pending = data
                if len(data) > MAX_HEAD_BYTES:
                    raise WireError("no end of the head")
                return False
            self.first_ns = now
            self.head = head
            self._pending = b""
            data = data[head.body_at :]
            if head.is_chunked:
                self._decoder = ChunkDecoder()
        return self._receive_body(head, data, now)

    def _receive_body(self, head: ResponseHead, data: bytes, now: int) -> bool:
        decoder = self._decoder
        if decoder is not None:
            payload = decoder.receive_data(data) if data else b""
            if payload:
                self._take(payload, now)
            return decoder.finished
        if data:
            self._take(data, now)
        # No length and not chunked: the body ends with the connection (HTTP/1.0 style).
        return head.content_length is not None and self._size >= head.content_length

    def _take(self, payload: bytes, _now: int) -> None:
        self._body.append(payload)
        self._size += len(payload)

    def connection_closed(self) -> str:
        """What it means that the peer closed now: "" if that is how this answer ends, else the error."""
        head = self.head
        if head is not None and not head.is_chunked and head.content_length is None:
            return ""
        return "closed before the head" if head is None else "closed mid-answer"


class TokenStream(Answer):
    """A streamed completion. Delays (arrival minus stamp, ns) and gaps go to the given sinks."""

    __slots__ = (
        "_digits_at", "_events", "_note_delay", "_note_gap", "_payload_at", "_prefix", "_shape", "_size_of_token",
        "_suffix", "crc", "events_altered", "first_token_ns", "is_complete", "last_ns", "last_stamp", "out_of_order",
        "payload_bytes", "separator", "stream_id", "tokens", "usage_events",
    )  # fmt: skip

    def __init__(self, note_delay: Callable[[int], None], note_gap: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self._note_delay = note_delay
        self._note_gap = note_gap
        self._events = b""  # the beginning of an event whose end has not arrived
        self._shape = b""  # a token event with its stamp (and date) blanked
        self._size_of_token = -1  # of a whole chunk with one token event in it; -1: not learnt
        self._prefix = self._suffix = b""
        self._digits_at = self._payload_at = 0
        self.separator = b"\n\n"
        self.tokens = self.crc = self.payload_bytes = 0
        self.first_token_ns = self.last_ns = self.last_stamp = 0
        self.out_of_order = self.events_altered = self.usage_events = 0
        self.is_complete = False  # its own end marker was seen
        self.stream_id = ""

    @property
    def fingerprint(self) -> tuple[int, int, int]:
        return self.tokens, self.payload_bytes, self.crc

    def receive_data(self, data: bytes, now: int) -> bool:
        if len(data) == self._size_of_token and data.startswith(self._prefix) and data.endswith(self._suffix):
            at = self._digits_at
            stamp = int(data[at : at + 19])
            payload = data[self._payload_at : -2]
            self.crc = crc32(payload, self.crc)
            self.payload_bytes += len(payload)
            self._note_token(stamp, now)
            return False
        return super().receive_data(data, now) if self.head is None else self._receive_slowly(data, now)

    def _receive_slowly(self, data: bytes, now: int) -> bool:
        assert self.head is not None
        decoder = self._decoder
        starts_clean = decoder is not None and decoder.is_between_chunks and not self._events
        tokens = self.tokens
        finished = self._receive_body(self.head, data, now)
        if starts_clean and self.tokens == tokens + 1 and decoder is not None and decoder.is_between_chunks:
            self._learn(data)
        return finished

    def _learn(self, chunk: bytes) -> None:
        """`chunk` arrived as one piece: if it is exactly one token event, later ones like it take the fast path."""
        token = _TOKEN.search(chunk)
        payload_at = chunk.find(b"\r\n") + 2
        if self._events or token is None or chunk.count(self.separator, payload_at) != 1 or chunk.count(b"\r\n") != 2:
            return
        date = _DATE.search(chunk)
        self._size_of_token = len(chunk)
        self._digits_at = token.start(1)
        self._payload_at = payload_at
        self._prefix = chunk[: date.start(1) if date else token.start(1)]
        self._suffix = chunk[token.end(1) :]

    def _take(self, payload: bytes, now: int) -> None:
        if self.status != 200:
            super()._take(payload, now)
            return
        head = self.head
        if not self.tokens and head is not None and b"ndjson" in head.head:
            self.separator = b"\n"
        separator = self.separator
        data = self._events + payload
        start = 0
        while (end := data.find(separator, start)) >= 0:
            end += len(separator)
            self._note_event(data[start:end], now)
            start = end
        self._events = data[start:]
        self._size += len(payload)

    def _note_event(self, event: bytes, now: int) -> None:
        token = _TOKEN.search(event)
        if token is None:
            if b'"choices":[]' in event and b'"usage":{' in event:
                self.usage_events += 1
                return
            if event.startswith(b"data: [DONE]") or b'"done":true' in event:
                self.is_complete = True
            elif b'"error"' in event:
                self.error = event.decode("utf-8", "replace").strip()[:300]
        else:
            self._check_shape(event, token)
            self._note_token(int(token[1]), now)
        if not self.stream_id and (found := _ID.search(event)):
            self.stream_id = found[1].decode("latin-1")
        self.crc = crc32(event, self.crc)
        self.payload_bytes += len(event)

    def _check_shape(self, event: bytes, token: re.Match[bytes]) -> None:
        shape = event[: token.start(1)] + event[token.end(1) :]
        date = _DATE.search(shape)
        if date:
            shape = shape[: date.start(1)] + shape[date.end(1) :]
        if not self._shape:
            self._shape = shape
        elif shape != self._shape:
            self.events_altered += 1

    def _note_token(self, stamp: int, now: int) -> None:
        if stamp < self.last_stamp:
            self.out_of_order += 1
        self.last_stamp = stamp
        self._note_delay(now - stamp)
        if not self.tokens:
            self.first_token_ns = now
        elif self._note_gap is not None:
            self._note_gap(now - self.last_ns)
        self.tokens += 1
        self.last_ns = now
