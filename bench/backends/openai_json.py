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

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class EmbeddingRequest(msgspec.Struct):
    model: str
    input: str | list[Any]
    encoding_format: str | None = "float"


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
