"""Pure. Deltas → answers of /api/chat and /api/generate, which differ in where a line keeps its text.

1. A line per delta; the last one has `done`, why, and what the engine counted. What it did not count is left out.
2. A call is told when it is complete, all of them together at the end: fragments of several may come interleaved.
   Ollama's arguments are an object. Where the model broke off, or wrote no object, it is told as text, as Ollama does
   with what its own parsers cannot read.
3. Thinking's signatures and redacted thinking have no place here.

Sources: ollama docs/api.md, api/types.go (ChatResponse, GenerateResponse, Metrics), v0.17.4 (February 2026).
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from mrproxy.canonical.deltas import (
    Context,
    Delta,
    Finish,
    FinishReason,
    Logprobs,
    RefusalDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.ollama.fields import OBJECT
from mrproxy.dialects.ollama.logprobs import Logprob, of_ollama
from mrproxy.dialects.unreadable import UNREADABLE

_REASONS = {
    FinishReason.LENGTH: b'"length"',
    FinishReason.LOAD: b'"load"',
    FinishReason.UNLOAD: b'"unload"',
    # Ollama knows no such end; "stop" would say that the model was done.
    FinishReason.CONTENT_FILTER: b'"content_filter"',
    FinishReason.REFUSAL: b'"refusal"',
    FinishReason.PAUSE: b'"pause"',
}
_encode = msgspec.json.Encoder().encode


class Shape(msgspec.Struct, frozen=True):
    """What stands before the text of a line, and after what belongs to it."""

    before: bytes
    after: bytes


CHAT = Shape(b'"message":{"role":"assistant","content":', b"}")
COMPLETION = Shape(b'"response":', b"")


def head_of(context: AnswerContext) -> bytes:
    """How every object of an answer begins."""
    return b'{"model":%b,"created_at":"%b",' % (_encode(context.model), rfc3339(context.created_utc).encode())


def rfc3339(seconds: float) -> str:
    whole = int(seconds)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{int((seconds - whole) * 1e9):09d}Z"


class _Call(msgspec.Struct):
    id: str
    name: str
    fragments: list[str]


class _Ending:
    """What is only told at the end."""

    __slots__ = ("calls", "context", "reason", "tokens")

    def __init__(self) -> None:
        self.calls: dict[int, _Call] = {}
        self.context: msgspec.Raw | None = None
        self.reason = FinishReason.STOP
        self.tokens = TokenReport()

    def take(self, delta: Delta) -> None:
        match delta:
            case ToolCallBegin(call=number, choice=0):
                self.calls[number] = _Call(delta.id, delta.name, [])
            case ToolCallArguments(call=number, choice=0) if number in self.calls:
                self.calls[number].fragments.append(delta.fragment)
            case Finish(choice=0):
                self.reason = delta.reason
            case Report():
                self.tokens = delta.tokens
            case Context():
                self.context = delta.tokens

    def take_calls(self) -> tuple[bytes, str]:
        """The member `tool_calls` with its comma, empty without calls; and as text what is no call."""
        calls: list[dict[str, object]] = []
        texts: list[str] = []
        for call in self.calls.values():
            arguments = _compact_object("".join(call.fragments))
            if arguments is None:
                texts.append(f'{{"name": {_encode(call.name).decode()}, "arguments": {"".join(call.fragments)}')
                continue
            function = {"index": len(calls), "name": call.name, "arguments": arguments}
            calls.append({"id": call.id, "function": function})
        self.calls.clear()
        return (b',"tool_calls":' + _encode(calls) if calls else b""), "\n".join(texts)

    def members(self) -> bytes:
        """The members of a line that is done, with their comma."""
        tokens = self.tokens
        counts = {
            "total_duration": tokens.total_ns,
            "load_duration": tokens.load_ns,
            "prompt_eval_count": tokens.prompt_tokens,
            "prompt_eval_duration": tokens.prompt_ns,
            "eval_count": tokens.completion_tokens,
            "eval_duration": tokens.completion_ns,
        }
        said = b"".join(b',"%b":%d' % (name.encode(), count) for name, count in counts.items() if count is not None)
        # Numbers only: a line break in it is a space, and would end the line.
        context = b"" if self.context is None else b',"context":' + bytes(self.context).replace(b"\n", b" ")
        return b',"done":true,"done_reason":' + _REASONS.get(self.reason, b'"stop"') + context + said


def _compact_object(text: str) -> msgspec.Raw | None:
    """Without line breaks, which would end a line of NDJSON; None if it is no object."""
    text = text.strip() or "{}"
    try:
        OBJECT.decode(text)
        return msgspec.Raw(msgspec.json.format(text, indent=-1).encode())
    except UNREADABLE:
        return None


class StreamEncoder:
    """NDJSON."""

    content_type = b"application/x-ndjson"

    __slots__ = ("_after", "_before", "_ending", "_thinking_before")

    def __init__(self, context: AnswerContext, shape: Shape) -> None:
        self._before = head_of(context) + shape.before
        self._thinking_before = self._before + b'"","thinking":'
        self._after = shape.after
        self._ending = _Ending()

    def send(self, deltas: Sequence[Delta]) -> bytes:
        lines: list[bytes] = []
        for delta in deltas:
            match delta:
                case TextDelta(choice=0) | RefusalDelta(choice=0):
                    lines.append(self._before + _encode(delta.text) + self._after + b',"done":false}\n')
                case ThinkingDelta(choice=0):
                    lines.append(self._thinking_before + _encode(delta.text) + self._after + b',"done":false}\n')
                case Logprobs(choice=0):
                    lines.append(self._with_logprobs(lines.pop() if lines else b"", delta))
                case _:
                    self._ending.take(delta)
        return b"".join(lines)

    def finish(self) -> bytes:
        calls, text = self._ending.take_calls()
        lines = b""
        if text or calls:
            lines = self._before + _encode(text) + calls + self._after + b',"done":false}\n'
        return lines + self._before + b'""' + self._after + self._ending.members() + b"}\n"

    def ping(self) -> bytes:
        """SDKs parse every line, so that there is none which they would ignore."""
        return b""

    def _with_logprobs(self, line: bytes, delta: Logprobs) -> bytes:
        """In the line of the text that they are of; in one of their own if that has been sent, or has some already."""
        tokens = of_ollama(delta.content)
        if not tokens:
            return line
        told, line = (b"", line) if line.endswith(b'"done":false}\n') else (line, b"")
        line = line or self._before + b'""' + self._after + b',"done":false}\n'
        return told + line[:-2] + b',"logprobs":' + _encode(tokens) + b"}\n"


class DocumentEncoder:
    """One object."""

    content_type = b"application/json; charset=utf-8"

    __slots__ = ("_after", "_before", "_ending", "_logprobs", "_texts", "_thoughts")

    def __init__(self, context: AnswerContext, shape: Shape) -> None:
        self._before = head_of(context) + shape.before
        self._after = shape.after
        self._ending = _Ending()
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._logprobs: list[Logprob] = []

    def send(self, deltas: Sequence[Delta]) -> bytes:
        for delta in deltas:
            match delta:
                case TextDelta(choice=0) | RefusalDelta(choice=0):
                    self._texts.append(delta.text)
                case ThinkingDelta(choice=0):
                    self._thoughts.append(delta.text)
                case Logprobs(choice=0):
                    self._logprobs += of_ollama(delta.content)
                case _:
                    self._ending.take(delta)
        return b""

    def finish(self) -> bytes:
        calls, text = self._ending.take_calls()
        thinking = b',"thinking":' + _encode("".join(self._thoughts)) if self._thoughts else b""
        logprobs = b',"logprobs":' + _encode(self._logprobs) if self._logprobs else b""
        content = _encode("".join([*self._texts, text]))
        return self._before + content + thinking + calls + self._after + self._ending.members() + logprobs + b"}"

    def ping(self) -> bytes:
        return b""
