"""Pure. A decoded request of the translating lane: what every dialect can say, in one vocabulary.

Decoders make these from a caller's body, encoders make an engine's body from them. Values are what was said, not what
it means to an engine: a field that the caller did not set is None (or empty) and is not sent on. JSON that nobody has
to read stays `msgspec.Raw` (schemas, logit_bias, an engine's own extras).
Images may come as a URL; the shell has replaced it by base64 before an engine is asked that needs bytes.
Read next: `deltas.py` for answers, `dialects/codec.py` for who turns what into what.
"""

import enum
from typing import TypeAlias

import msgspec


class Role(enum.StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


# Parts of a message


class Text(msgspec.Struct, frozen=True):
    text: str


class Image(msgspec.Struct, frozen=True):
    """Either `data` (base64) with its `media_type`, or an http(s) `url`. `detail` is OpenAI's (low, high, auto)."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    detail: str | None = None


class Audio(msgspec.Struct, frozen=True):
    """`format` as OpenAI names it (wav, mp3); `data` is base64."""

    format: str
    data: str


class File(msgspec.Struct, frozen=True):
    """A document: `data` (base64), `text`, `url` or the provider's `file_id`, whichever was given."""

    name: str = ""
    media_type: str = ""
    data: str = ""
    text: str = ""
    url: str = ""
    file_id: str = ""


class Thinking(msgspec.Struct, frozen=True):
    """What an assistant thought in an earlier turn. `signature` is Anthropic's proof that it did."""

    text: str
    signature: str = ""


class RedactedThinking(msgspec.Struct, frozen=True):
    """Thinking that only its provider can read."""

    data: str


class Refusal(msgspec.Struct, frozen=True):
    text: str


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments` is the text of a JSON object. `id` is never empty: a decoder makes one where its dialect has none."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True):
    """The only part of a message of role TOOL. `name` is the function's, where the dialect says it."""

    call_id: str
    parts: "tuple[Text | Image | File, ...]"
    is_error: bool = False
    name: str = ""


Part: TypeAlias = Text | Image | Audio | File | Thinking | RedactedThinking | Refusal | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True):
    """One turn. Consecutive messages of one role are allowed; an encoder joins them if its dialect forbids it."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


# Tools


class Tool(msgspec.Struct, frozen=True):
    """A function. `parameters` is its JSON schema; None when it takes nothing."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: bool | None = None


class ToolMode(enum.Enum):
    AUTO = enum.auto()
    NONE = enum.auto()
    REQUIRED = enum.auto()
    NAMED = enum.auto()


class ToolChoice(msgspec.Struct, frozen=True):
    """`name` only with NAMED."""

    mode: ToolMode
    name: str = ""


# Wishes


class Sampling(msgspec.Struct, frozen=True):
    """`logit_bias` is a JSON object of token id → bias. `max_tokens` None: no bound."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: msgspec.Raw | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None


class FormatKind(enum.Enum):
    TEXT = enum.auto()
    JSON_OBJECT = enum.auto()
    JSON_SCHEMA = enum.auto()


class ResponseFormat(msgspec.Struct, frozen=True):
    """`schema` only with JSON_SCHEMA."""

    kind: FormatKind
    schema: msgspec.Raw | None = None
    name: str = ""
    strict: bool | None = None
    description: str | None = None


class ThinkingWish(msgspec.Struct, frozen=True):
    """Whether and how much to think. `effort` as the caller spelt it: none, minimal, low, medium, high, xhigh, max."""

    enabled: bool | None = None
    effort: str | None = None
    budget_tokens: int | None = None


# Requests


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What every request to a model may say.

    `context_length` is Ollama's `num_ctx`. `engine_options`: Ollama `options` without a canonical name.
    `extras`: top-level fields that the dialect's decoder does not know, by name; an encoder passes on those that its
    engine may know and warns of the others.
    `warnings`: what the decoder itself had to ignore, in words, for the `warning` header.
    """

    model: str
    user: str | None = None
    keep_alive: msgspec.Raw | None = None
    context_length: int | None = None
    engine_options: dict[str, msgspec.Raw] = {}
    extras: dict[str, msgspec.Raw] = {}
    warnings: tuple[str, ...] = ()


class Generating(Asking, frozen=True, kw_only=True):
    """What a request for new text may say.

    `include_usage`: the caller wants usage in its stream (dialects that always have it: True).
    """

    sampling: Sampling = Sampling()
    response_format: ResponseFormat | None = None
    thinking: ThinkingWish | None = None
    streams: bool = False
    include_usage: bool = True


class ChatRequest(Generating, frozen=True, kw_only=True):
    """A chat, whatever the caller's dialect."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None


class TextRequest(Generating, frozen=True, kw_only=True):
    """A completion: OpenAI's /v1/completions and Ollama's /api/generate.

    `prompts`: text or token ids, one or many. `raw`: no chat template is to be applied (always so in /v1/completions;
    in /api/generate only if asked). `context`: Ollama's token ids of an earlier answer.
    """

    prompts: tuple[str | tuple[int, ...], ...]
    raw: bool
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: tuple[int, ...] = ()
    images: tuple[Image, ...] = ()
    echo: bool | None = None
    best_of: int | None = None


class EmbeddingRequest(Asking, frozen=True, kw_only=True):
    """`is_single`: the caller gave one text, not a list. `wants_base64`: OpenAI's packed little-endian float32."""

    inputs: tuple[str | tuple[int, ...], ...]
    is_single: bool = False
    dimensions: int | None = None
    wants_base64: bool = False
    truncate: bool | None = None
