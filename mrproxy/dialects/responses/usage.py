"""Pure. Finds the true usage in an answer of an engine that speaks Responses itself; it cuts nothing.

A stream says it in `response.completed` or `response.incomplete`, as part of the whole response; that event may be
long, and of a long one the end is searched, where the API writes `usage` (OpenAI API reference, "Streaming events",
2026; vLLM `vllm/entrypoints/openai/responses/protocol.py`, 2026).
Read first: `dialects/usage.py`, for what a tap is to the relay.
"""

import msgspec

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.event_tap import EventTap
from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.dialects.usage import Count, event_data, search_count

# After `usage` come at most a user's name and 16 pairs of metadata of 64 and 512 characters.
_END_BYTES = 16384


class _Counts(msgspec.Struct, gc=False):
    input_tokens: Count | None = None
    output_tokens: Count | None = None


class _Response(msgspec.Struct, gc=False):
    usage: _Counts | None = None


class _Event(msgspec.Struct, gc=False):
    response: _Response | None = None


_event = msgspec.json.Decoder(_Event)
_document = msgspec.json.Decoder(_Response)


class ResponsesTap(EventTap):
    """Both shapes of an answer. The relay's fast path begins with the first delta and ends with the event that has the
    usage, so that what it counts by chunks are deltas and, where an item ends, the three events that say so.
    """

    __slots__ = ()
    document_end_bytes = event_end_bytes = _END_BYTES

    def read_event(self, event: bytes) -> None:
        if b'.delta"' in event:
            self._is_flowing = True
            self.events += 1
        elif self.marker in event:
            self._is_flowing = False
            self.usage = _read(event) or self.usage

    def read_overlong(self, end: bytes) -> None:
        self.usage = _search(end) or self.usage
        self._is_flowing = False

    def read_document(self, document: bytes, *, is_whole: bool) -> Usage | None:
        return read_usage(document, is_whole=is_whole)


def _read(event: bytes) -> Usage | None:
    try:
        response = _event.decode(event_data(event)).response
    except UNREADABLE:
        return None
    return _usage(response.usage) if response is not None and response.usage is not None else None


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
    except UNREADABLE:
        return None
    return _usage(counts) if counts is not None else None


def _search(text: bytes) -> Usage | None:
    """Behind the last `usage` of a piece of JSON that cannot be parsed."""
    place = text.rfind(b'"usage"')
    if place < 0:
        return None
    prompt, completion = search_count(text, b"input_tokens", place), search_count(text, b"output_tokens", place)
    return Usage(prompt, completion) if prompt is not None or completion is not None else None
