"""Pure. Finds the true usage in an answer of Anthropic's Messages API that passes by; it cuts nothing.

A stream says its input in `message_start` and cumulative counts in each `message_delta`; where that one repeats the
input, it is the truer one (Anthropic API reference, "Streaming messages", 2026; vLLM and Ollama put zeros into
`message_start`). What the counts mean: `counts.py`.
Read first: `dialects/usage.py`, for what a tap is to the relay.
"""

import re

import msgspec

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.anthropic.counts import Counts
from mrproxy.dialects.usage import MAX_DOCUMENT_BYTES, MAX_HELD_BYTES

_TAIL_BYTES = 4096
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_NAMES = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Begun(msgspec.Struct, gc=False):
    usage: Counts | None = None


class _Event(msgspec.Struct, gc=False):
    """`message` stands in message_start, `usage` in message_delta."""

    type: str = ""
    message: _Begun | None = None
    usage: Counts | None = None


_event = msgspec.json.Decoder(_Event)
_document = msgspec.json.Decoder(_Begun)


class MessagesTap:
    """Both shapes of an answer. The relay's fast path begins after the first token and ends with `message_delta`, so
    that what it counts by chunks are content deltas and little else.
    """

    __slots__ = ("_counts", "_held", "_is_flowing", "_is_overlong", "_size", "events", "marker", "tail", "usage")
    cuts = False

    def __init__(self, is_stream: bool) -> None:
        self.marker = b'"usage"' if is_stream else b""
        self.tail = b"\n\n\r\n" if is_stream else b""
        self.usage: Usage | None = None
        self.events = 0
        self._counts = Counts()
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
            self._held = self._held[-3:]  # half a blank line
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
        """Anthropic's own event for it, between two others."""
        return b'event: ping\ndata: {"type": "ping"}\n\n' if self.marker and not self._is_overlong else b""

    def _receive_document(self, payload: bytes) -> None:
        self._size += len(payload)
        self._held += payload
        if len(self._held) > MAX_DOCUMENT_BYTES:
            self._held = self._held[-_TAIL_BYTES:]

    def _look(self, event: bytes) -> None:
        """At one complete event, or at the end of one that was too long to be held: those are content."""
        if self._is_overlong:
            self._is_overlong = False
            self.events += 1
        elif self.marker in event and self._read(event):
            self._is_flowing = False
        elif b"content_block_delta" in event:
            self._is_flowing = True
            self.events += 1

    def _read(self, event: bytes) -> bool:
        """Whether it was one of the two that count."""
        try:
            said = _event.decode(_event_data(event))
        except _UNREADABLE:
            return False
        counts = said.usage
        if said.type == "message_start" and said.message is not None:
            counts = said.message.usage
            if counts is not None:
                counts.output_tokens = None  # what it says there is a beginning, and often made up
        elif said.type != "message_delta":
            return False
        if counts is not None:
            self._counts.merge(counts)
            self.usage = _usage(self._counts)
        return True


def _event_data(event: bytes) -> bytes:
    """The data lines of an SSE event, joined (WHATWG HTML §9.2.6)."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def _usage(counts: Counts) -> Usage | None:
    prompt = counts.prompt_tokens
    return None if prompt is None and counts.output_tokens is None else Usage(prompt, counts.output_tokens)


def read_usage(document: bytes, *, is_whole: bool) -> Usage | None:
    """The usage in a message, or in the end of one; None when there is none to be found."""
    if not is_whole:
        place = document.rfind(b'"usage"')
        return _usage(_search(document[place:])) if place >= 0 else None
    try:
        counts = _document.decode(document).usage
    except _UNREADABLE:
        return None
    return _usage(counts) if counts is not None else None


def _search(text: bytes) -> Counts:
    """Counts by name, in a piece of JSON that cannot be parsed. Quotes in strings are escaped, so that a name in its
    own quotes is a key."""
    counts = Counts()
    for name in _NAMES:
        if found := re.search(rb'"%b"\s*:\s*(\d{1,15})(?!\d)' % name.encode(), text):
            setattr(counts, name, int(found[1]))
    return counts
