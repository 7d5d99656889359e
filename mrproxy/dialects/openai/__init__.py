"""Pure. OpenAI's shapes: errors that `openai` raises as its own exceptions, and model lists.

Source: OpenAI API reference, "Errors" and "Models" (2026); the SDK maps the status to an exception class and reads
`error.message`, `error.type`, `error.param`, `error.code`.
"""

from typing import Any

import msgspec

from mrproxy.canonical.models import Model
from mrproxy.dialects.shallow import decode_openai
from mrproxy.errors import Code, ProxyError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
# OpenAI's own spelling where it has one, so that clients that match on `code` keep working.
_CODES = {
    Code.INVALID_KEY: "invalid_api_key",
    Code.MISSING_KEY: "invalid_api_key",
    Code.REQUEST_LIMIT: "rate_limit_exceeded",
    Code.TOKEN_LIMIT: "rate_limit_exceeded",
    Code.BUDGET_EXHAUSTED: "insufficient_quota",
}


class OpenAI:
    """The dialect of `/v1`."""

    name = "openai"

    decode = staticmethod(decode_openai)

    def encode_error(self, error: ProxyError, request_id: bytes) -> bytes:
        kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        return msgspec.json.encode(
            {
                "error": {
                    "message": error.message,
                    "type": kind,
                    "param": error.param,
                    "code": _CODES.get(error.code, error.code.value),
                    "request_id": request_id.decode("latin-1"),
                }
            }
        )

    def encode_stream_error(self, error: ProxyError, request_id: bytes) -> bytes:
        return b"data: %b\n\ndata: [DONE]\n\n" % self.encode_error(error, request_id)

    def encode_models(self, models: list[Model]) -> bytes:
        return msgspec.json.encode({"object": "list", "data": [self._entry(model) for model in models]})

    def encode_model(self, model: Model) -> bytes:
        return msgspec.json.encode(self._entry(model))

    @staticmethod
    def _entry(model: Model) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": model.name,
            "object": "model",
            "created": model.created,
            "owned_by": model.owned_by,
        }
        if model.context_length is not None:
            entry["max_model_len"] = model.context_length  # vLLM's name for it
        return entry


OPENAI = OpenAI()
