"""Pure. What the translating lane asks of a dialect, as protocols: requests both ways, answers both ways.

    caller's body ── decode ──▶ ChatRequest ── encode ──▶ engine's body
    engine's bytes ── AnswerDecoder ──▶ deltas ── AnswerEncoder ──▶ caller's bytes

An AnswerDecoder never raises for what an engine sends: it ends with a `Failure`. An AnswerEncoder never fails.
Streams and documents have the same two protocols; a document's encoder says everything in `finish`.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from mrproxy.canonical.deltas import Delta


class Target(msgspec.Struct, frozen=True):
    """The backend that an encoder writes for. `kind`: vllm, openai, llamacpp, ollama or anthropic.

    `model` is its own name for the model. `context_length`: what is configured as the model's `num_ctx` (Ollama);
    with `is_context_fixed` it overrides the caller's.
    """

    kind: str
    model: str
    context_length: int | None = None
    is_context_fixed: bool = True


class Encoded(msgspec.Struct, frozen=True):
    """An engine's request body, and in words what had to be left out of it, for the `warning` header."""

    body: bytes
    warnings: tuple[str, ...] = ()


class AnswerContext(msgspec.Struct, frozen=True):
    """What an encoder has to know of the request it answers.

    `request_id` is ours; ids of messages, calls and responses are made from it. `created_utc` in Unix seconds.
    """

    request_id: str
    model: str
    created_utc: float
    include_usage: bool = True


class AnswerDecoder(Protocol):
    """Bytes of an engine's answer → deltas, however they are cut."""

    def receive_data(self, data: bytes) -> list[Delta]:
        """The deltas that are complete now."""

    def finish(self) -> list[Delta]:
        """The body has ended. If the answer had not, the last delta is a Failure."""


class AnswerEncoder(Protocol):
    """Deltas → bytes of an answer in the caller's dialect."""

    content_type: bytes

    def send(self, deltas: Sequence[Delta]) -> bytes:
        """What can be said now; for one read of the engine's answer one write."""

    def finish(self) -> bytes:
        """What ends the answer. `End` was sent before; never called after a Failure."""

    def ping(self) -> bytes:
        """A sign of life that SDKs ignore; empty where the dialect has none, or not yet."""
