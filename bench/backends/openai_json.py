"""Pure. What the OpenAI-compatible endpoints of both engines share: reading requests, embeddings, token counts.

Requests are read leniently, as the engines do: unknown fields pass.
"""

import base64
import struct
from typing import Any

import msgspec


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = False


class ChatRequest(msgspec.Struct):
    model: str
    messages: list[msgspec.Raw]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    # What only a script can answer: here it is merely noticed, `openai_prompts.py` reads it.
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: Any = None
    stop: Any = None
    n: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    response_format: Any = None
    structured_outputs: Any = None
    guided_json: Any = None
    chat_template_kwargs: Any = None
    reasoning_effort: Any = None
    reasoning: Any = None

    @property
    def is_special(self) -> bool:
        return bool(
            self.tools
            or self.tool_choice
            or self.stop
            or self.response_format
            or self.structured_outputs
            or self.guided_json
            or self.chat_template_kwargs
            or self.reasoning_effort
            or self.reasoning
            or self.logprobs
            or (self.n and self.n != 1)
        )

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionRequest(msgspec.Struct):
    model: str
    prompt: msgspec.Raw
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = 16  # OpenAI's and vLLM's default
    stop: Any = None
    n: Any = None
    logprobs: Any = None
    echo: Any = None
    suffix: Any = None
    response_format: Any = None

    @property
    def is_special(self) -> bool:
        asked = self.stop or self.logprobs is not None or self.echo or self.suffix or self.response_format
        # Several prompts, or token ids: anything but one text.
        return bool(asked or (self.n and self.n != 1)) or bytes(memoryview(self.prompt)[:1]) != b'"'

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class EmbeddingRequest(msgspec.Struct):
    model: str
    input: str | list[Any]
    encoding_format: str | None = "float"
    dimensions: int | None = None


def count_prompt_tokens(prompt_bytes: int) -> int:
    """About four bytes a token, as for English text; at least one."""
    return max(1, prompt_bytes // 4)


def input_texts(request_input: str | list[Any]) -> list[str]:
    """One string per embedding asked for; lists of token ids count as one text."""
    if isinstance(request_input, str):
        return [request_input]
    if request_input and isinstance(request_input[0], int):
        return [str(request_input)]
    return [str(item) for item in request_input]


def count_input_tokens(request_input: str | list[Any]) -> int:
    """Of all inputs: a token id is a token, text is estimated."""
    if isinstance(request_input, str):
        return count_prompt_tokens(len(request_input))
    ids = sum(isinstance(item, int) for item in request_input)
    lists = sum(len(item) for item in request_input if isinstance(item, list))
    return ids + lists + sum(count_prompt_tokens(len(item)) for item in request_input if isinstance(item, str))


def embed_text(text: str, dimensions: int, seed: int) -> list[float]:
    """A vector that depends on the text and the seed only (an engine of the same seed gives the same)."""
    state = seed
    for byte in text.encode():
        state = (state * 1_103_515_245 + byte + 12_345) & 0x7FFFFFFF
    values = []
    for _ in range(dimensions):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        # A multiple of 1/1024 survives both JSON and float32 unchanged.
        values.append((state >> 16 & 1023) / 1024 - 0.5)
    return values


def encode_vector(vector: list[float], encoding_format: str | None) -> list[float] | str:
    """Floats, or base64 of little-endian float32, which the OpenAI SDK asks for by default."""
    if encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector


def filler(tokens: int, stamp_ns: int) -> str:
    """The text of an answer that does not stream: the tokens it would have streamed."""
    return f"t{stamp_ns:019d} " * tokens
