"""Pure. What chats and completions share of an engine's answer: its end, its early end, its errors.

An answer is a stream of events that ends with `[DONE]`, or one JSON document. Whatever is wrong with it becomes a
Failure, after which nothing comes.
Sources: OpenAI API reference, "Streaming" (2026); errors in a stream: vLLM `create_streaming_error_response`, llama.cpp
server-context.cpp (2026).
"""

from abc import abstractmethod
from collections.abc import Callable, Container
from typing import Generic, Protocol, TypeVar

import msgspec

from mrproxy.canonical.deltas import Begin, Delta, End, Failure, Finish, FinishReason, Report
from mrproxy.dialects.openai.logprobs import read_logprobs
from mrproxy.dialects.openai.tokens import read_report
from mrproxy.dialects.sse import MAX_HELD_BYTES, Alien, SseReader
from mrproxy.dialects.unreadable import UNREADABLE

ENDED_EARLY = "the engine's answer ended early"
_STRANGE = "the engine sent what cannot be read as an answer"

_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "load": FinishReason.LOAD,  # Ollama's /v1 passes its own reasons on
    "unload": FinishReason.UNLOAD,
}
# vLLM's words for an answer that it broke off itself.
_BROKEN_OFF = frozenset({"abort", "error"})


class BrokenAnswer(Exception):
    """What an engine sent ends its answer. Raised by readers of chunks, turned into a Failure here."""


class Head(msgspec.Struct, gc=False):
    """What every chunk and document says about itself. `message`: an error without its envelope."""

    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    usage: msgspec.Raw = msgspec.Raw()
    timings: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    message: str | None = None

    def begin(self) -> Begin:
        created = self.created
        is_sane = created is not None and 0 <= created < 2**53
        return Begin(self.id or "", self.model or "", int(created) if is_sane and created is not None else 0)

    def require_no_error(self) -> None:
        """Raises BrokenAnswer."""
        if self.error and bytes(self.error) != b"null":
            raise BrokenAnswer(_message_of(self.error))
        if self.message is not None:
            raise BrokenAnswer(self.message)

    def report(self, deltas: list[Delta]) -> None:
        if len(self.usage) > 4 or self.timings:  # longer than null
            report = read_report(self.usage, self.timings)
            if report is not None:
                deltas.append(Report(report))


class _Error(msgspec.Struct):
    message: str


_error = msgspec.json.Decoder(_Error | str)


def _message_of(error: msgspec.Raw) -> str:
    try:
        said = _error.decode(error)
    except UNREADABLE:
        return "the engine reported an error"
    return said if isinstance(said, str) else said.message


class Ends:
    """Which choices of an answer there are, and which still lack their Finish.

    `with_calls`: the choices that called tools. Engines say "stop" there when the caller named the function.
    """

    __slots__ = ("_open", "_seen", "_with_calls")

    def __init__(self, with_calls: Container[int] = ()) -> None:
        self._seen: set[int] = set()
        self._open: set[int] = set()
        self._with_calls = with_calls

    def see(self, choice: int) -> None:
        if choice not in self._seen:
            self._seen.add(choice)
            self._open.add(choice)

    def read(self, choice: int, said: str, stop_reason: int | str | None, deltas: list[Delta]) -> None:
        """`stop_reason`: vLLM's stop sequence, or the id of its token. Raises BrokenAnswer."""
        if said in _BROKEN_OFF:
            raise BrokenAnswer("the engine broke its answer off")
        if choice not in self._open:
            return
        self._open.remove(choice)
        reason = self._reason(said, choice)
        if reason is FinishReason.STOP and isinstance(stop_reason, str):
            deltas.append(Finish(FinishReason.STOP_SEQUENCE, choice, stop_reason))
        else:
            deltas.append(Finish(reason, choice))

    def read_end(self, deltas: list[Delta]) -> None:
        """Raises BrokenAnswer."""
        if not self._seen:
            raise BrokenAnswer("the engine's answer holds no choice")
        deltas.extend(Finish(self._reason("stop", choice), choice) for choice in sorted(self._open))

    def _reason(self, said: str, choice: int) -> FinishReason:
        reason = _REASONS.get(said, FinishReason.STOP)
        return FinishReason.TOOL_CALLS if reason is FinishReason.STOP and choice in self._with_calls else reason


class Chunks(Protocol):
    """Reads the chunks of one answer; a document is one chunk."""

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """Appends what the chunk says. May raise BrokenAnswer or what msgspec raises."""

    def read_end(self, deltas: list[Delta]) -> None:
        """The engine has said that this is all. Appends a Finish for each choice that has none."""


class Choice(msgspec.Struct, gc=False):
    """What chats and completions say alike of a choice."""

    index: int = 0
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: msgspec.Raw = msgspec.Raw()


C = TypeVar("C", bound=Choice)


class Chunk(Head, Generic[C], gc=False):
    choices: list[C] | None = None


class ChoiceChunks(Generic[C]):
    """Chunks to deltas; a document is a chunk, too. `read_text` reads what a choice says besides its end."""

    __slots__ = ("_decode", "_ends", "_has_begun")

    def __init__(self, decode: Callable[[bytes], Chunk[C]], with_calls: Container[int] = ()) -> None:
        self._decode = decode
        self._ends = Ends(with_calls)
        self._has_begun = False

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        chunk = self._decode(data)
        if chunk.error or chunk.choices is None:
            chunk.require_no_error()
        if not self._has_begun:
            self._has_begun = True
            deltas.append(chunk.begin())
        for choice in chunk.choices or ():
            index = choice.index
            self._ends.see(index)
            self.read_text(choice, deltas)
            if len(choice.logprobs) > 4:  # longer than null
                read_logprobs(choice.logprobs, index, deltas)
            if choice.finish_reason:
                self._ends.read(index, choice.finish_reason, choice.stop_reason, deltas)
        chunk.report(deltas)

    def read_end(self, deltas: list[Delta]) -> None:
        self._ends.read_end(deltas)

    @abstractmethod
    def read_text(self, choice: C, deltas: list[Delta]) -> None:
        """Appends."""


class EventStream:
    """Events to deltas."""

    __slots__ = ("_chunks", "_is_empty", "_is_over", "_reader")

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._reader = SseReader()
        self._is_over = False
        self._is_empty = True

    def receive_data(self, data: bytes) -> list[Delta]:
        return self._deltas(self._reader.receive_data(data)) if not self._is_over else []

    def finish(self) -> list[Delta]:
        if self._is_over:
            return []
        deltas = self._deltas(self._reader.finish())
        if not self._is_over:
            self._is_over = True
            deltas.append(Failure(ENDED_EARLY))
        return deltas

    def _deltas(self, events: list[bytes | Alien]) -> list[Delta]:
        deltas: list[Delta] = []
        for event in events:
            try:
                if isinstance(event, Alien):
                    event = _strange(event)
                elif len(event) < 16 and event.strip() == b"[DONE]":
                    self._read_done(deltas)
                    break
                self._chunks.read(event, deltas)
                self._is_empty = False
            except BrokenAnswer as exc:
                deltas.append(Failure(str(exc)))
            except UNREADABLE:
                deltas.append(Failure(_STRANGE))
            else:
                continue
            self._is_over = True
            break
        return deltas

    def _read_done(self, deltas: list[Delta]) -> None:
        self._is_over = True
        if self._is_empty:
            deltas.append(Failure(ENDED_EARLY))
        else:
            self._chunks.read_end(deltas)
            deltas.append(End())


def _strange(alien: Alien) -> bytes:
    """A document instead of a stream may still say what went wrong. Raises BrokenAnswer."""
    if not alien.line:
        raise BrokenAnswer("the engine sent an event that is too long")
    if not alien.line.lstrip().startswith(b"{"):
        raise BrokenAnswer("the engine sent what is no event stream")
    msgspec.json.decode(alien.line, type=Head).require_no_error()
    raise BrokenAnswer("the engine sent a document instead of a stream")


class Document:
    """A whole body to deltas, at its end."""

    __slots__ = ("_chunks", "_is_over", "_pieces", "_size")

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_over = False

    def receive_data(self, data: bytes) -> list[Delta]:
        if self._is_over:
            return []
        self._pieces.append(data)
        self._size += len(data)
        if self._size <= MAX_HELD_BYTES:
            return []
        self._is_over = True
        self._pieces = []
        return [Failure("the engine sent an answer that is too long")]

    def finish(self) -> list[Delta]:
        if self._is_over:
            return []
        self._is_over = True
        body = b"".join(self._pieces)
        deltas: list[Delta] = []
        try:
            self._chunks.read(body, deltas)
            self._chunks.read_end(deltas)
            deltas.append(End())
        except BrokenAnswer as exc:
            deltas.append(Failure(str(exc)))
        except UNREADABLE:
            deltas.append(Failure(_STRANGE if body.strip() else ENDED_EARLY))
        return deltas
