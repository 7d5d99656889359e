"""Every pair of the translating lane: what callers ask, of which kinds of engines, and where each engine hears it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mrproxy.canonical.conversation import ChatRequest, TextRequest
from mrproxy.canonical.deltas import Delta, End
from mrproxy.canonical.request import Operation
from mrproxy.canonical.surface import NATIVE
from mrproxy.dialects.anthropic import requests as anthropic_requests
from mrproxy.dialects.codec import Target
from mrproxy.dialects.lanes import can_serve
from mrproxy.dialects.ollama import generate as ollama_generate
from mrproxy.dialects.ollama import requests as ollama_requests
from mrproxy.dialects.openai import completions as openai_completions
from mrproxy.dialects.openai import requests as openai_requests
from mrproxy.dialects.responses.requests import decode_request
from mrproxy.dialects.translation import Asked, Translation, read_asked, translate
from tests.dialects.codecs import (
    CODECS,
    CONTEXT,
    REQUEST_ID,
    Heard,
    decoded,
    encoded,
    heard,
    heard_response,
    last_response,
)

KINDS = tuple(NATIVE)


class Pair(msgspec.Struct, frozen=True):
    """A caller's request and the kind of engine that it is for."""

    dialect: str
    operation: Operation
    kind: str
    streams: bool

    def __str__(self) -> str:
        return f"{self.dialect} {self.operation} to {self.kind}, {'stream' if self.streams else 'document'}"

    @property
    def engine(self) -> str:
        """The dialect in which the engine is asked."""
        return self.kind if self.kind in ("ollama", "anthropic") else "openai"

    @property
    def is_continued(self) -> bool:
        """The engine completes a text; else it is told a chat."""
        if self.operation is Operation.COMPLETIONS:
            return self.engine != "anthropic"
        return self.operation is Operation.GENERATE and self.engine == "ollama"

    @property
    def engine_codec(self) -> str:
        what = "text" if self.is_continued else "chat"
        return f"{self.engine} {what} {'stream' if self.streams else 'document'}"

    @property
    def caller_codec(self) -> str:
        what = "text" if self.operation in (Operation.COMPLETIONS, Operation.GENERATE) else "chat"
        return f"{self.dialect} {what} {'stream' if self.streams else 'document'}"


PROMPTS: dict[tuple[str, Operation], dict[str, Any]] = {
    ("openai", Operation.CHAT): {"messages": [{"role": "user", "content": "Why?"}]},
    ("openai", Operation.COMPLETIONS): {"prompt": "Why?"},
    ("responses", Operation.RESPONSES): {"input": "Why?"},
    ("anthropic", Operation.MESSAGES): {"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 64},
    ("ollama", Operation.CHAT): {"messages": [{"role": "user", "content": "Why?"}]},
    ("ollama", Operation.GENERATE): {"prompt": "Why?"},
}
CHATS = frozenset({Operation.CHAT, Operation.RESPONSES, Operation.MESSAGES})
PAIRS = [
    Pair(dialect, operation, kind, streams)
    for dialect, operation in PROMPTS
    for kind in KINDS
    for streams in (True, False)
    if can_serve(kind, operation)
]
PATHS = {
    ("openai", False): b"/v1/chat/completions",
    ("openai", True): b"/v1/completions",
    ("ollama", False): b"/api/chat",
    ("ollama", True): b"/api/generate",
    ("anthropic", False): b"/v1/messages",
}
READERS: dict[tuple[str, bool], Callable[[bytes], ChatRequest | TextRequest]] = {
    ("openai", False): openai_requests.decode_chat,
    ("openai", True): openai_completions.decode_text,
    ("ollama", False): ollama_requests.decode_chat,
    ("ollama", True): ollama_generate.decode_text,
    ("anthropic", False): anthropic_requests.decode_chat,
}


def ask(pair: Pair, **fields: Any) -> Asked:
    body = json.dumps({"model": "public", "stream": pair.streams} | PROMPTS[pair.dialect, pair.operation] | fields)
    if pair.operation is Operation.RESPONSES:
        response = decode_request(body.encode())
        return Asked(pair.dialect, pair.operation, response.chat, response)
    return read_asked(pair.dialect, pair.operation, body.encode())


def translation(pair: Pair, **fields: Any) -> Translation:
    return translate(ask(pair, **fields), Target(pair.kind, "own"), CONTEXT)


def spoken(pair: Pair, deltas: Sequence[Delta]) -> bytes:
    """An engine's answer: its dialect's own encoder says it."""
    return encoded(CODECS[pair.engine_codec].encoder(CONTEXT), deltas)


def through(made: Translation, pieces: Sequence[bytes]) -> bytes:
    return b"".join([made.tap.receive_data(piece) for piece in pieces]) + made.tap.finish()


def heard_by_caller(pair: Pair, data: bytes) -> Heard:
    if pair.dialect == "responses":
        return heard_response(data, is_document=not pair.streams)
    make = CODECS[pair.caller_codec].decoder
    assert make is not None
    return heard(decoded(make(REQUEST_ID), [data]))


def has_end(pair: Pair, data: bytes) -> bool:
    """Whether a reader of the caller's dialect takes it for a whole answer."""
    if pair.dialect == "responses":
        return last_response(data, is_document=not pair.streams) is not None
    make = CODECS[pair.caller_codec].decoder
    assert make is not None
    return isinstance(decoded(make(REQUEST_ID), [data])[-1], End)
