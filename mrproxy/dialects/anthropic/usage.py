"""Pure. Finds the true usage in an answer of Anthropic's Messages API that passes by; it cuts nothing.

A stream says its input in `message_start` and cumulative counts in each `message_delta`; where that one repeats the
input, it is the truer one (Anthropic API reference, "Streaming messages", 2026; vLLM and Ollama put zeros into
`message_start`). What the counts mean: `counts.py`.
Read first: `dialects/usage.py`, for what a tap is to the relay.
"""

import msgspec

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.anthropic.counts import Counts
from mrproxy.dialects.event_tap import EventTap
from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.dialects.usage import event_data, search_count

_NAMES = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class _Begun(msgspec.Struct, gc=False):
    usage: Counts | None = None


class _Event(msgspec.Struct, gc=False):
    """`message` stands in message_start, `usage` in message_delta."""

    type: str = ""
    message: _Begun | None = None
    usage: Counts | None = None


_event = msgspec.json.Decoder(_Event)
_document = msgspec.json.Decoder(_Begun)


class MessagesTap(EventTap):
    """Both shapes of an answer. The relay's fast path begins after the first token and ends with `message_delta`, so
    that what it counts by chunks are content deltas and little else.
    """

    __slots__ = ("_counts",)
    ping_event = b'event: ping\ndata: {"type": "ping"}\n\n'

    def __init__(self, is_stream: bool) -> None:
        super().__init__(is_stream)
        self._counts = Counts()

    def read_event(self, event: bytes) -> None:
        if self.marker in event and self._read(event):
            self._is_flowing = False
        elif b"content_block_delta" in event:
            self._is_flowing = True
            self.events += 1

    def read_overlong(self, end: bytes) -> None:
        self.events += 1  # those are content

    def read_document(self, document: bytes, *, is_whole: bool) -> Usage | None:
        return read_usage(document, is_whole=is_whole)

    def _read(self, event: bytes) -> bool:
        """Whether it was one of the two that count."""
        try:
            said = _event.decode(event_data(event))
        except UNREADABLE:
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
    except UNREADABLE:
        return None
    return _usage(counts) if counts is not None else None


def _search(text: bytes) -> Counts:
    """In a piece of JSON that cannot be parsed."""
    counts = Counts()
    for name in _NAMES:
        if (found := search_count(text, name.encode())) is not None:
            setattr(counts, name, found)
    return counts
