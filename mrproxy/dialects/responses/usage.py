"""Pure. Finds the true usage in an answer of an engine that speaks Responses itself; it cuts nothing.

A stream says it in `response.completed` or `response.incomplete`, as part of the whole response; that event may be
long, and of a long one the end is searched, where the API writes `usage` (OpenAI API reference, "Streaming events",
2026; vLLM `vllm/entrypoints/openai/responses/protocol.py`, 2026).
Read first: `dialects/usage.py`, for what a tap is to the relay.
"""

import re
from typing import Annotated

import msgspec

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.usage import MAX_DOCUMENT_BYTES, MAX_HELD_BYTES, PING_COMMENT

# After `usage` come at most a user's name and 16 pairs of metadata of 64 and 512 characters.
_TAIL_BYTES = 16384
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Counts(msgspec.Struct, gc=False):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None


class _Response(msgspec.Struct, gc=False):
    usage: _Counts | None = None


class _Event(msgspec.Struct, gc=False):
    response: _Response | None = None


_event = msgspec.json.Decoder(_Event)
_document = msgspec.json.Decoder(_Response)


class ResponsesTap:
    """Both shapes of an answer. The relay's fast path begins with the first delta and ends with the event that has the
    usage, so that what it counts by chunks are deltas and, where an item ends, the three events that say so.
    """

    __slots__ = ("_held", "_is_flowing", "_is_overlong", "_size", "events", "marker", "tail", "usage")
    cuts = False

    def __init__(self, is_stream: bool) -> None:
        self.marker = b'"usage"' if is_stream else b""
        self.tail = b"\n\n\r\n" if is_stream else b""
        self.usage: Usage | None = None
        self.events = 0
        self._held = b""
        self._size = 0
        self._is_flowing = False
        self._is_overlong = False

    @property
    def is_aligned(self) -> bool:
        return self._is_flowing and not self._held

    @property
    def is_mid_event(self) -> bool:
        return self._is_overlong

    def receive_data(self, payload: bytes) -> bytes:
        if not self.marker:
            self._receive_document(payload)
            return payload
        data = self._held + payload
        begin = len(self._held) if self._is_overlong else 0
        end = 0
        for blank in _BLANK_LINE.finditer(data):
            self._look(data[end : blank.start()])
            end = blank.end()
        self._held = data[end:]
        if self._is_overlong or len(self._held) > MAX_HELD_BYTES:
            self._is_overlong = True
            self._held = self._held[-_TAIL_BYTES:]
            end = len(data)
        return data[begin:end]

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        if not self.marker:
            self.usage = read_usage(held, is_whole=self._size <= MAX_DOCUMENT_BYTES)
            return b""
        out = b"" if self._is_overlong else held
        if held:
            self._look(held)
        return out

    def receive_whole(self, payload: bytes) -> None:
        self.receive_data(payload)
        self.finish()

    def skip(self, rest: int) -> int:
        """All but the end, of a document that is too long to be read whole."""
        if self.marker or self._size + rest <= MAX_DOCUMENT_BYTES or rest <= _TAIL_BYTES:
            return 0
        self._held = b""
        self._size += rest - _TAIL_BYTES
        return rest - _TAIL_BYTES

    def ping(self) -> bytes:
        """A comment, between two events."""
        return PING_COMMENT if self.marker and not self._is_overlong else b""

    def _receive_document(self, payload: bytes) -> None:
        self._size += len(payload)
        self._held += payload
        if len(self._held) > MAX_DOCUMENT_BYTES:
            self._held = self._held[-_TAIL_BYTES:]

    def _look(self, event: bytes) -> None:
        """At one complete event, or at the end of one that was too long to be held."""
        if self._is_overlong:
            self._is_overlong = False
            self.usage = _search(event) or self.usage
            self._is_flowing = False
        elif b'.delta"' in event:
            self._is_flowing = True
            self.events += 1
        elif self.marker in event:
            self._is_flowing = False
            self.usage = _read(event) or self.usage


def _read(event: bytes) -> Usage | None:
    try:
        response = _event.decode(_event_data(event)).response
    except _UNREADABLE:
        return None
    return _usage(response.usage) if response is not None and response.usage is not None else None


def _event_data(event: bytes) -> bytes:
    """The data lines of an SSE event, joined (WHATWG HTML §9.2.6)."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def _usage(counts: _Counts) -> Usage | None:
    if counts.input_tokens is None and counts.output_tokens is None:
        return None
    return Usage(counts.input_tokens, counts.output_tokens)


def read_usage(document: bytes, *, is_whole: bool) -> Usage | None:
    """The usage in a response, or in the end of one; None when there is none to be found."""
    if not is_whole:
        return _search(document)
    try:
        counts = _document.decode(document).usage
    except _UNREADABLE:
        return None
    return _usage(counts) if counts is not None else None


def _search(text: bytes) -> Usage | None:
    """Counts by name, behind the last `usage` of a piece of JSON that cannot be parsed. Quotes in strings are escaped,
    so that a name in its own quotes is a key."""
    place = text.rfind(b'"usage"')
    if place < 0:
        return None
    found = [re.compile(rb'"%b"\s*:\s*(\d{1,15})(?!\d)' % name).search(text, place) for name in _NAMES]
    prompt, completion = (int(match[1]) if match is not None else None for match in found)
    return Usage(prompt, completion) if prompt is not None or completion is not None else None


_NAMES = (b"input_tokens", b"output_tokens")
