"""Pure. What every dialect can do, as a protocol: decode a request, word an error, list models."""

from collections.abc import Callable
from typing import Protocol

from mrproxy.canonical.models import Model
from mrproxy.canonical.request import Operation, Request
from mrproxy.errors import ProxyError


class Dialect(Protocol):
    """One SDK's language."""

    @property
    def name(self) -> str:
        """As in the journal: openai, ollama."""

    @property
    def decode(self) -> Callable[[bytes, Operation], Request]:
        """Shallow. Raises ClientError."""

    def encode_error(self, error: ProxyError, request_id: bytes) -> bytes:
        """The body of a refusal, application/json."""

    def encode_stream_error(self, error: ProxyError, request_id: bytes) -> bytes:
        """What ends a stream that has begun, in the stream's own framing."""

    def encode_models(self, models: list[Model]) -> bytes:
        """The list of models, each once."""
