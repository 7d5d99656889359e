"""Pure. An answer of the translating lane, as it arrives: a sequence of deltas, whatever the engine's dialect.

    Begin (Text | Thinking | Refusal | ToolCall… | Logprobs)* Finish per choice, Report, End

A whole document is the same sequence at once, so that one encoder per dialect and shape is enough. Order is the
engine's; Report may come before or after Finish, and more than once (the last one counts). `choice` is OpenAI's index
of an answer among `n`; `call` is the dense index of a tool call within its choice: 0, 1, 2 … in the order of their
begins, however the engine numbered them.
"""

import enum
from typing import TypeAlias

import msgspec


class FinishReason(enum.Enum):
    """Why an answer ended."""

    STOP = enum.auto()
    STOP_SEQUENCE = enum.auto()
    LENGTH = enum.auto()
    TOOL_CALLS = enum.auto()
    CONTENT_FILTER = enum.auto()
    REFUSAL = enum.auto()
    PAUSE = enum.auto()
    LOAD = enum.auto()
    UNLOAD = enum.auto()


class TokenReport(msgspec.Struct, frozen=True, gc=False):
    """The engine's own counts; None where it does not say. `prompt_tokens` includes what came from a cache, as in
    OpenAI's usage (Anthropic's `input_tokens` does not). Durations are Ollama's, in nanoseconds."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    load_ns: int | None = None
    prompt_ns: int | None = None
    completion_ns: int | None = None
    total_ns: int | None = None


class Begin(msgspec.Struct, frozen=True, gc=False):
    """The engine has begun to answer. `created` in Unix seconds, 0 when it does not say."""

    id: str = ""
    model: str = ""
    created: int = 0


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    text: str
    choice: int = 0


class ThinkingDelta(msgspec.Struct, frozen=True, gc=False):
    text: str
    choice: int = 0


class ThinkingSignature(msgspec.Struct, frozen=True, gc=False):
    """Ends the thinking block that it signs."""

    signature: str
    choice: int = 0


class RedactedThinkingDelta(msgspec.Struct, frozen=True, gc=False):
    data: str
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True, gc=False):
    text: str
    choice: int = 0


class ToolCallBegin(msgspec.Struct, frozen=True, gc=False):
    call: int
    id: str
    name: str
    choice: int = 0


class ToolCallArguments(msgspec.Struct, frozen=True, gc=False):
    """A piece of the JSON text of a call's arguments. Calls may interleave."""

    call: int
    fragment: str
    choice: int = 0


class Logprobs(msgspec.Struct, frozen=True):
    """OpenAI's object for the tokens of the text delta before it: `{"content": [...]}`, or of a completion."""

    content: msgspec.Raw
    choice: int = 0


class Context(msgspec.Struct, frozen=True):
    """Ollama's token ids, to be sent with the next /api/generate."""

    tokens: msgspec.Raw


class Finish(msgspec.Struct, frozen=True, gc=False):
    reason: FinishReason
    choice: int = 0
    stop_sequence: str | None = None


class Report(msgspec.Struct, frozen=True, gc=False):
    tokens: TokenReport


class Failure(msgspec.Struct, frozen=True, gc=False):
    """The engine failed after it had begun, or what it sent is not what it claims. Nothing follows."""

    message: str


class End(msgspec.Struct, frozen=True, gc=False):
    """The engine said that this is all. An answer that ends without it was cut off."""


Delta: TypeAlias = (
    Begin
    | TextDelta
    | ThinkingDelta
    | ThinkingSignature
    | RedactedThinkingDelta
    | RefusalDelta
    | ToolCallBegin
    | ToolCallArguments
    | Logprobs
    | Context
    | Finish
    | Report
    | Failure
    | End
)


class Vectors(msgspec.Struct, frozen=True):
    """Embeddings, one per input, in order."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: TokenReport = TokenReport()
    model: str = ""
