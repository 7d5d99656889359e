"""Pure. An engine's answer in Anthropic's dialect → deltas: a stream of events, or one message.

Rules: blocks and events of unknown kinds are passed over, as Anthropic's versioning policy asks; what is broken in a
known one ends the answer with a Failure; nothing is read after the end. A stream's usage is reported whenever it
changes, so that of an aborted stream the last counts are known.
Source: Anthropic API reference, "Streaming messages", "Handling stop reasons" (2026).
"""

import msgspec

from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    RedactedThinkingDelta,
    RefusalDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.anthropic.counts import Counts, read_counts
from mrproxy.dialects.sse import MAX_HELD_BYTES, Alien, SseReader
from mrproxy.dialects.unreadable import UNREADABLE

_NOTHING = msgspec.Raw(b"")
_ENDED_EARLY = Failure("the engine's answer ended early")
_NO_STREAM = Failure("the engine sent what is no event stream")
_TOO_LONG = Failure("the engine's answer is too long to be read")
_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.REFUSAL,
    "pause_turn": FinishReason.PAUSE,
}


class _Error(msgspec.Struct, gc=False):
    message: str | None = None
    type: str | None = None


class _StopDetails(msgspec.Struct, gc=False):
    explanation: str | None = None


class _Stop(msgspec.Struct, gc=False):
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class _Piece(_Stop, gc=False):
    """The `delta` of content_block_delta and of message_delta."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: msgspec.Raw = _NOTHING


class _Message(_Stop, gc=False):
    id: str | None = None
    model: str | None = None
    content: list[_Block] | None = None
    usage: msgspec.Raw = _NOTHING
    error: _Error | str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int | None = None
    delta: _Piece | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: msgspec.Raw = _NOTHING
    error: _Error | str | None = None


class _Kind(msgspec.Struct, gc=False):
    type: str = ""


_event = msgspec.json.Decoder(_Event)
_message = msgspec.json.Decoder(_Message)
_kind = msgspec.json.Decoder(_Kind)
_KNOWN = frozenset(
    {
        *("message_start", "message_delta", "message_stop", "error", ""),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    }
)


class _Call:
    """A tool call that is being said: its number, and whether its arguments have come."""

    __slots__ = ("given", "is_said", "number")

    def __init__(self, number: int, given: str) -> None:
        self.number = number
        self.given = given
        self.is_said = False


class _Reader:
    """What streams and documents share: blocks, counts and the end."""

    __slots__ = ("_calls", "_counts", "_finished", "_has_begun", "_is_over", "_made")

    def __init__(self, request_id: str) -> None:
        self._made = f"call_{request_id.replace('-', '')}_"
        self._calls = 0
        self._counts = Counts()
        self._has_begun = False
        self._finished = False
        self._is_over = False

    def _begin(self, message: _Message | None, out: list[Delta]) -> None:
        if not self._has_begun:
            self._has_begun = True
            out.append(Begin(message.id or "", message.model or "") if message is not None else Begin())

    def _fail(self, failure: Failure, out: list[Delta]) -> None:
        if not self._is_over:
            self._is_over = True
            out.append(failure)

    def _open_call(self, block: _Block, out: list[Delta]) -> _Call:
        call = _Call(self._calls, _arguments(block.input))
        self._calls += 1
        out.append(ToolCallBegin(call.number, block.id or f"{self._made}{call.number}", block.name or ""))
        return call

    def _read_stop(self, stop: _Stop, out: list[Delta]) -> None:
        if stop.stop_reason is None or self._finished:
            return
        self._finished = True
        if stop.stop_details is not None and stop.stop_details.explanation:
            out.append(RefusalDelta(stop.stop_details.explanation))
        reason = _REASONS.get(stop.stop_reason, FinishReason.STOP)
        out.append(Finish(reason, stop_sequence=stop.stop_sequence))

    def _end(self, out: list[Delta]) -> None:
        self._is_over = True
        if not self._finished:
            out.append(Finish(FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP))
        out.append(End())


class ChatStreamDecoder(_Reader):
    """Server-sent events."""

    __slots__ = ("_events", "_open")

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self._events = SseReader()
        self._open: dict[int, _Call] = {}

    def receive_data(self, data: bytes) -> list[Delta]:
        out: list[Delta] = []
        for found in self._events.receive_data(data):
            self._take(found, out)
        return out

    def finish(self) -> list[Delta]:
        out: list[Delta] = []
        for rest in self._events.finish():
            if isinstance(rest, Alien) or _is_event(rest):  # only its blank line is missing
                self._take(rest, out)
        self._fail(_ENDED_EARLY, out)
        return out

    def _take(self, data: bytes | Alien, out: list[Delta]) -> None:
        if self._is_over:
            return
        if isinstance(data, Alien):
            self._fail(_strange(data), out)
            return
        try:
            event = _event.decode(data)
        except UNREADABLE as exc:
            if _matters(data):
                self._fail(Failure(f"the engine sent an event that cannot be read: {exc}"), out)
            return
        if event.type == "content_block_delta":
            self._read_piece(event, out)
        elif event.error is not None:
            self._fail(Failure(_error_text(event.error)), out)
        elif event.type in _KNOWN:
            self._read_rare(event, out)

    def _read_piece(self, event: _Event, out: list[Delta]) -> None:
        piece = event.delta
        if piece is None:
            return
        if not self._has_begun:
            self._begin(None, out)
        match piece.type:
            case "text_delta":
                if piece.text:
                    out.append(TextDelta(piece.text))
            case "thinking_delta":
                if piece.thinking:
                    out.append(ThinkingDelta(piece.thinking))
            case "input_json_delta":
                call = self._open.get(event.index or 0)
                if piece.partial_json and call is not None:
                    call.is_said = True
                    out.append(ToolCallArguments(call.number, piece.partial_json))
            case "signature_delta":
                if piece.signature:
                    out.append(ThinkingSignature(piece.signature))

    def _read_rare(self, event: _Event, out: list[Delta]) -> None:
        match event.type:
            case "message_start":
                self._begin(event.message, out)
                if event.message is not None:
                    counts = read_counts(event.message.usage)
                    counts.output_tokens = None  # a beginning, and often made up
                    self._report(counts, out)
            case "content_block_start" if event.content_block is not None:
                self._begin(None, out)
                self._open_block(event.index or 0, event.content_block, out)
            case "content_block_stop":
                self._close_block(event.index or 0, out)
            case "message_delta":
                self._begin(None, out)
                self._close_all(out)
                if event.delta is not None:
                    self._read_stop(event.delta, out)
                self._report(read_counts(event.usage), out)
            case "message_stop":
                self._begin(None, out)
                self._close_all(out)
                self._end(out)

    def _open_block(self, index: int, block: _Block, out: list[Delta]) -> None:
        if block.type == "tool_use":
            self._close_block(index, out)
            self._open[index] = self._open_call(block, out)
        else:
            _say(block, out)

    def _close_block(self, index: int, out: list[Delta]) -> None:
        """A call whose arguments did not come in pieces has them from its beginning, or has none."""
        call = self._open.pop(index, None)
        if call is not None and not call.is_said:
            out.append(ToolCallArguments(call.number, call.given))

    def _close_all(self, out: list[Delta]) -> None:
        for index in list(self._open):
            self._close_block(index, out)

    def _report(self, counts: Counts, out: list[Delta]) -> None:
        self._counts.merge(counts)
        if counts.prompt_tokens is not None or counts.output_tokens is not None:
            out.append(Report(self._counts.report()))


class ChatDocumentDecoder(_Reader):
    """One JSON object."""

    __slots__ = ("_pieces", "_size")

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self._pieces: list[bytes] = []
        self._size = 0

    def receive_data(self, data: bytes) -> list[Delta]:
        out: list[Delta] = []
        self._size += len(data)
        if self._size > MAX_HELD_BYTES:
            self._pieces.clear()
            self._fail(_TOO_LONG, out)
        else:
            self._pieces.append(data)
        return out

    def finish(self) -> list[Delta]:
        out: list[Delta] = []
        if self._is_over:
            return out
        try:
            message = _message.decode(b"".join(self._pieces))
        except UNREADABLE as exc:
            self._fail(Failure(f"the engine's answer cannot be read: {exc}"), out)
            return out
        if message.error is not None:
            self._fail(Failure(_error_text(message.error)), out)
        elif message.content is None:
            self._fail(Failure("the engine's answer is no message"), out)
        else:
            self._read(message, message.content, out)
        return out

    def _read(self, message: _Message, content: list[_Block], out: list[Delta]) -> None:
        self._begin(message, out)
        for block in content:
            if block.type == "tool_use":
                call = self._open_call(block, out)
                out.append(ToolCallArguments(call.number, call.given))
            else:
                _say(block, out)
        self._read_stop(message, out)
        counts = read_counts(message.usage)
        if counts.prompt_tokens is not None or counts.output_tokens is not None:
            out.append(Report(counts.report()))
        self._end(out)


def _say(block: _Block, out: list[Delta]) -> None:
    """What a block that is no call holds, or holds at its beginning."""
    match block.type:
        case "text" if block.text:
            out.append(TextDelta(block.text))
        case "thinking":
            if block.thinking:
                out.append(ThinkingDelta(block.thinking))
            if block.signature:
                out.append(ThinkingSignature(block.signature))
        case "redacted_thinking":
            out.append(RedactedThinkingDelta(block.data or ""))


def _arguments(given: msgspec.Raw) -> str:
    text = bytes(given).decode("utf-8", "replace")
    return text if text.startswith("{") else "{}"


def _is_event(data: bytes) -> bool:
    try:
        _event.decode(data)
    except UNREADABLE:
        return False
    return True


def _matters(data: bytes) -> bool:
    """Whether an event that cannot be read is one of those that have to be."""
    if data.strip() == b"[DONE]":  # vLLM's, after message_stop
        return False
    try:
        return _kind.decode(data).type in _KNOWN
    except UNREADABLE:
        return True


def _strange(alien: Alien) -> Failure:
    """A document instead of a stream may still say what went wrong."""
    try:
        error = _message.decode(alien.line).error if alien.line else None
    except UNREADABLE:
        error = None
    if error is not None:
        return Failure(_error_text(error))
    return _NO_STREAM if alien.line else _TOO_LONG


def _error_text(error: _Error | str) -> str:
    if isinstance(error, str):
        return error
    return error.message or error.type or "the engine failed"
