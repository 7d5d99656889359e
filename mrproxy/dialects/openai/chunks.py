"""Pure. What chats and completions share of a caller's answer: its head, its choices, its last words, in a
stream and in a document.

The constant part of a chunk is made once per choice. A stop sequence is told as vLLM tells it, in `stop_reason`.
Sources: OpenAI API reference, "Chat completion chunk object", "Completion object" (2026).
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from mrproxy.canonical.deltas import Finish, FinishReason, TokenReport
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.openai.tokens import write_usage

encode = msgspec.json.Encoder().encode

_WORDS = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.REFUSAL: "content_filter",
    FinishReason.PAUSE: "stop",
    FinishReason.LOAD: "stop",
    FinishReason.UNLOAD: "stop",
}


def write_finish(finish: Finish | None) -> dict[str, object]:
    """An answer that was not said to end did so by itself."""
    if finish is None:
        return {"finish_reason": "stop"}
    said: dict[str, object] = {"finish_reason": _WORDS[finish.reason]}
    if finish.stop_sequence is not None:
        said["stop_reason"] = finish.stop_sequence
    return said


def write_head(context: AnswerContext, prefix: str, kind: str) -> dict[str, object]:
    return {
        "id": f"{prefix}-{context.request_id}",
        "object": kind,
        "created": int(context.created_utc),
        "model": context.model,
    }


class ChunkWriter:
    """`field`: where a choice says something. `opening`: what it says first. `tokens`: to be told at the end."""

    __slots__ = ("_field", "_frames", "_include_usage", "_opening", "_plain", "_start", "_tail", "tokens")

    def __init__(self, context: AnswerContext, head: dict[str, object], field: bytes, opening: bytes) -> None:
        self._start = b"data: %b" % encode(head)[:-1]
        self._tail = b'}],"usage":null}\n\n' if context.include_usage else b"}]}\n\n"
        self._plain = b',"logprobs":null,"finish_reason":null' + self._tail
        self._include_usage = context.include_usage
        self._field = field
        self._opening = opening
        self._frames: dict[int, bytes] = {}
        self.tokens: TokenReport | None = None

    def write(
        self, out: list[bytes], choice: int, said: bytes, logprobs: bytes = b"", finish: Finish | None = None
    ) -> None:
        out += (self._frames.get(choice) or self.begin(out, choice), said)
        if not logprobs and finish is None:
            out.append(self._plain)
            return
        end = b'"finish_reason":null' if finish is None else encode(write_finish(finish))[1:-1]
        out += (b',"logprobs":', logprobs or b"null", b",", end, self._tail)

    def begin(self, out: list[bytes], choice: int) -> bytes:
        """The frame of a choice, and its opening if it has not begun."""
        frame = self._frames.get(choice)
        if frame is None:
            frame = self._frames[choice] = b'%b,"choices":[{"index":%d,"%b":' % (self._start, choice, self._field)
            if self._opening:
                out += (frame, self._opening, self._plain)
        return frame

    def finish(self) -> bytes:
        usage = b""
        if self._include_usage and self.tokens is not None:
            usage = b'%b,"choices":[],"usage":%b}\n\n' % (self._start, encode(write_usage(self.tokens)))
        return usage + b"data: [DONE]\n\n"


class Growing(Protocol):
    """One choice of a document, until that is written."""

    def write(self, index: int) -> dict[str, object]: ...


C = TypeVar("C", bound=Growing)


class DocumentWriter(Generic[C]):
    """`new`: an empty choice; the first is there in any case. `tokens`: to be told, if there are any."""

    __slots__ = ("_choices", "_head", "_new", "tokens")

    def __init__(self, head: dict[str, object], new: Callable[[], C]) -> None:
        self._head = head
        self._new = new
        self._choices: dict[int, C] = {0: new()}
        self.tokens: TokenReport | None = None

    def choice(self, index: int) -> C:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = self._new()
        return choice

    def finish(self) -> bytes:
        document = {**self._head, "choices": [choice.write(index) for index, choice in sorted(self._choices.items())]}
        if self.tokens is not None:
            document["usage"] = write_usage(self.tokens)
        return encode(document)
