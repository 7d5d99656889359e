"""Pure. Answers of an Ollama server → deltas: NDJSON as it arrives, or one document.

/api/chat and /api/generate differ in where a line keeps its text. Each line is whole JSON, so that nothing is decoded
before its newline has come; the last one may lack it. `done: true` ends the answer, `{"error": ...}` fails it.
Calls are complete when they come, and get dense numbers in their order: older servers give each the index 0.
Sources: ollama docs/api.md, api/types.go, server/routes.go (streamResponse), docs/api/errors.mdx, v0.17.4
(February 2026).
"""

from datetime import UTC, datetime

import msgspec

from mrproxy.canonical.deltas import (
    Begin,
    Context,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    Logprobs,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.ollama.fields import TEXT, is_said
from mrproxy.dialects.ollama.logprobs import Logprob, of_chat, of_completion
from mrproxy.dialects.unreadable import UNREADABLE

# An answer of one document has images or long texts in it; a line of a stream is a few hundred bytes.
MAX_HELD_BYTES = 16 << 20

_REASONS = {
    "length": FinishReason.LENGTH,
    "load": FinishReason.LOAD,
    "unload": FinishReason.UNLOAD,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_ENDED_EARLY = Failure("the engine's answer ended early")
_NOT_OURS = Failure("the engine's answer is not one of Ollama's")
_TOO_LONG = Failure("the engine's answer is too long")


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct, gc=False):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    images: list[str] | None = None


class _Line(msgspec.Struct, gc=False):
    model: str | None = None
    created_at: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    image: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    context: msgspec.Raw = msgspec.Raw()
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    logprobs: list[Logprob] | None = None
    error: msgspec.Raw = msgspec.Raw()


_line = msgspec.json.Decoder(_Line)


class Answer:
    """One answer, line by line. `is_over` after its End or its Failure."""

    __slots__ = ("_calls", "_has_begun", "_is_completion", "_prefix", "_told_characters", "is_over")

    def __init__(self, request_id: str, is_completion: bool) -> None:
        self.is_over = False
        self._has_begun = False
        self._is_completion = is_completion
        self._prefix = f"call_{request_id.replace('-', '')}_"
        self._calls = 0
        self._told_characters = 0

    def read(self, text: bytes) -> list[Delta]:
        try:
            line = _line.decode(text)
        except UNREADABLE:
            return self.fail(_NOT_OURS)
        if is_said(line.error):
            return self.fail(Failure(_message_of(line.error)))
        message = line.message
        if message is None:
            if line.response is None and not line.done:
                return self.fail(_NOT_OURS)
            message = _Message(line.response, line.thinking, line.tool_calls, [line.image] if line.image else None)
        if message.images:
            return self.fail(Failure("the engine answered with an image, which cannot be told"))
        deltas: list[Delta] = []
        if not self._has_begun:
            self._has_begun = True
            deltas.append(Begin(model=line.model or "", created=_unix_seconds(line.created_at)))
        self._read_message(message, deltas)
        if line.logprobs:
            deltas.append(Logprobs(self._logprobs(line.logprobs, message.content or "")))
        if line.done:
            self._end(line, deltas)
        return deltas

    def fail(self, failure: Failure) -> list[Delta]:
        self.is_over = True
        return [failure]

    def _read_message(self, message: _Message, deltas: list[Delta]) -> None:
        if message.thinking:
            deltas.append(ThinkingDelta(message.thinking))
        if message.content:
            deltas.append(TextDelta(message.content))
            self._told_characters += len(message.content)
        for call in message.tool_calls or ():
            number = self._calls
            self._calls += 1
            deltas.append(ToolCallBegin(number, call.id or f"{self._prefix}{number}", call.function.name))
            deltas.append(ToolCallArguments(number, _arguments_of(call.function.arguments)))

    def _logprobs(self, tokens: list[Logprob], text: str) -> msgspec.Raw:
        if self._is_completion:
            return of_completion(tokens, self._told_characters - len(text))
        return of_chat(tokens)

    def _end(self, line: _Line, deltas: list[Delta]) -> None:
        self.is_over = True
        if is_said(line.context):
            deltas.append(Context(line.context))
        reason = _REASONS.get(line.done_reason or "")
        if reason is None:
            reason = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
        deltas.append(Finish(reason))
        tokens = TokenReport(
            prompt_tokens=line.prompt_eval_count,
            completion_tokens=line.eval_count,
            load_ns=line.load_duration,
            prompt_ns=line.prompt_eval_duration,
            completion_ns=line.eval_duration,
            total_ns=line.total_duration,
        )
        if tokens != _NOTHING_SAID:
            deltas.append(Report(tokens))
        deltas.append(End())


_NOTHING_SAID = TokenReport()


def _message_of(error: msgspec.Raw) -> str:
    try:
        return TEXT.decode(error)
    except UNREADABLE:
        return bytes(error).decode(errors="replace")


def _unix_seconds(created_at: str | None) -> int:
    """0 for what is no time, and for Go's zero, which is in the year 1."""
    try:
        when = datetime.fromisoformat(created_at or "")
        return max(0, int(when.replace(tzinfo=when.tzinfo or UTC).timestamp()))
    except (ValueError, OverflowError):
        return 0


def _arguments_of(arguments: msgspec.Raw) -> str:
    """The object's text, or what a server that has OpenAI's arguments in mind put into a string."""
    if not is_said(arguments):
        return "{}"
    try:
        return TEXT.decode(arguments)
    except UNREADABLE:
        return bytes(arguments).decode(errors="replace")


class DocumentDecoder:
    """One object."""

    __slots__ = ("_answer", "_held")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._held = bytearray()

    def receive_data(self, data: bytes) -> list[Delta]:
        if self._answer.is_over:
            return []
        self._held += data
        return self._within_limit()

    def finish(self) -> list[Delta]:
        if self._answer.is_over:
            return []
        return _last_words(self._answer, bytes(self._held))

    def _within_limit(self) -> list[Delta]:
        return [] if len(self._held) <= MAX_HELD_BYTES else self._answer.fail(_TOO_LONG)


class StreamDecoder(DocumentDecoder):
    """NDJSON. What is loaded or unloaded is told in one line without a newline, as a document is."""

    __slots__ = ()

    def receive_data(self, data: bytes) -> list[Delta]:
        if self._answer.is_over:
            return []
        if self._held:
            self._held += data
            if b"\n" not in data:
                return self._within_limit()
            data = bytes(self._held)
            self._held.clear()
        answer = self._answer
        *lines, rest = data.split(b"\n")
        deltas: list[Delta] = []
        for line in lines:
            if line and not line.isspace():
                deltas += answer.read(line)
                if answer.is_over:
                    return deltas
        self._held += rest
        deltas += self._within_limit()
        return deltas


def _last_words(answer: Answer, text: bytes) -> list[Delta]:
    deltas = answer.read(text) if text.strip() else []
    if not answer.is_over:
        deltas += answer.fail(_ENDED_EARLY)
    elif deltas == [_NOT_OURS] and text.lstrip()[:1] == b"{":
        return [_ENDED_EARLY]
    return deltas
