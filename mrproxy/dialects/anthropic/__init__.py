"""Pure. Anthropic's shapes: errors that `anthropic` raises as its own exceptions, and model lists.

Source: Anthropic API reference, "Errors", "Streaming messages" and "List models" (2026); the SDK maps the status to an
exception class, and reads `error.type` and `error.message`.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from mrproxy.canonical.models import Model
from mrproxy.dialects.anthropic.fields import NoThreads
from mrproxy.dialects.anthropic.shallow import decode_messages
from mrproxy.errors import ProxyError

# "Overloaded" is their 529. When we are, our status stays 503; the SDK retries both.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_LAST_DATE = 253_402_300_799  # the end of the year 9999


def error_type(status: int) -> str:
    """Anthropic's word for an HTTP status."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


class Anthropic:
    """The dialect of `/v1/messages`."""

    name = "anthropic"

    decode = staticmethod(decode_messages)

    def encode_error(self, error: ProxyError, request_id: bytes) -> bytes:
        described: dict[str, Any] = {"type": error_type(error.status), "message": error.message}
        if isinstance(error, NoThreads):
            described["details"] = {"error_code": error.error_code}
        return msgspec.json.encode({"type": "error", "error": described, "request_id": request_id.decode("latin-1")})

    def encode_stream_error(self, error: ProxyError, request_id: bytes) -> bytes:
        return b"event: error\ndata: %b\n\n" % self.encode_error(error, request_id)

    def encode_models(self, models: list[Model]) -> bytes:
        """All models on one page."""
        names = [model.name for model in models]
        return msgspec.json.encode(
            {
                "data": [_entry(model) for model in models],
                "has_more": False,
                "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None,
            }
        )

    def encode_model(self, model: Model) -> bytes:
        return msgspec.json.encode(_entry(model))


def _entry(model: Model) -> dict[str, Any]:
    """An unknown date is said as the epoch, as Anthropic does."""
    created = model.created if 0 <= model.created <= _LAST_DATE else 0
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": model.context_length,
        "max_tokens": None,
    }


ANTHROPIC = Anthropic()
