"""Pure. /api/chat asked: a caller's body → ChatRequest → the body for an Ollama server.

The parts are elsewhere: `messages.py`, `tools.py`, `wishes.py`. What each field becomes: docs/dialects/ollama.md.
Sources: ollama docs/api.md, docs/openapi.yaml, api/types.go (ChatRequest), v0.17.4 (February 2026).
"""

import msgspec

from mrproxy.canonical.conversation import ChatRequest, TextRequest
from mrproxy.canonical.deltas import FinishReason
from mrproxy.dialects.codec import Encoded, Target
from mrproxy.dialects.ollama.fields import Fields
from mrproxy.dialects.ollama.messages import read_messages, write_messages
from mrproxy.dialects.ollama.tools import read_tools, write_tools
from mrproxy.dialects.ollama.wishes import (
    is_zero,
    read_format,
    read_keep_alive,
    read_options,
    read_think,
    write_format,
    write_options,
    write_rest,
    write_sampling,
    write_think,
)


def decode_chat(body: bytes) -> ChatRequest:
    """Raises ClientError. Ollama streams unless told not to."""
    fields = Fields(body)
    options = read_options(fields)
    return ChatRequest(
        model=fields.model(),
        messages=read_messages(fields),
        tools=read_tools(fields),
        sampling=options.sampling,
        response_format=read_format(fields),
        thinking=read_think(fields),
        streams=fields.flag("stream") is not False,
        keep_alive=read_keep_alive(fields),
        context_length=options.context_length,
        engine_options=options.engine_options,
        extras=fields.rest(),
    )


def encode_chat(request: ChatRequest, target: Target) -> Encoded:
    """Raises ClientError for what cannot be said to Ollama without changing its meaning."""
    warnings: list[str] = []
    body: dict[str, object] = {"model": target.model, "messages": write_messages(request.messages, warnings)}
    write_tools(request, body, warnings)
    write_wishes(request, target, body, warnings)
    return Encoded(msgspec.json.encode(body), tuple(warnings))


def write_wishes(
    request: ChatRequest | TextRequest, target: Target, body: dict[str, object], warnings: list[str]
) -> None:
    """All that /api/chat and /api/generate have in common."""
    options = write_options(request, target, warnings)
    write_sampling(request.sampling, options, body, warnings)
    if options:
        body["options"] = options
    write_format(request.response_format, body, warnings)
    write_think(request.thinking, target.model, body, warnings)
    write_rest(request, body, warnings)


def load_reason(request: ChatRequest | TextRequest) -> FinishReason | None:
    """LOAD or UNLOAD when nothing is asked of the model but that; None for everything else.

    Ollama answers both with one object that is done, even to callers who want a stream."""
    is_empty = not request.messages if isinstance(request, ChatRequest) else request.prompts in ((), ("",))
    if not is_empty:
        return None
    return FinishReason.UNLOAD if is_zero(request.keep_alive) else FinishReason.LOAD
