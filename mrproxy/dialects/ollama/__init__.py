"""Pure. Ollama's shapes: `{"error": "..."}`, /api/tags, /api/ps and /api/version.

Source: ollama docs/api.md and api/types.go (2026); both SDKs raise ResponseError with `error` and the status.
"""

from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from mrproxy.canonical.models import Model
from mrproxy.dialects.shallow import decode_ollama
from mrproxy.errors import ProxyError

GREETING = b"Ollama is running"
# Answered while no Ollama backend has told its version; clients compare it with what they need.
UNKNOWN_VERSION = "0.0.0"
_LAST_DATE = 253_402_300_799  # the end of the year 9999


class Ollama:
    """The dialect of `/api`."""

    name = "ollama"

    decode = staticmethod(decode_ollama)

    def encode_error(self, error: ProxyError, request_id: bytes) -> bytes:
        return msgspec.json.encode({"error": error.message})

    def encode_stream_error(self, error: ProxyError, request_id: bytes) -> bytes:
        return msgspec.json.encode({"error": error.message}) + b"\n"

    def encode_models(self, models: list[Model]) -> bytes:
        return msgspec.json.encode({"models": [_entry(model) for model in models]})

    def encode_running(self, entries: list[msgspec.Raw]) -> bytes:
        """/api/ps: the backends' own entries."""
        return msgspec.json.encode({"models": entries})

    def encode_version(self, version: str) -> bytes:
        return msgspec.json.encode({"version": version or UNKNOWN_VERSION})


def _entry(model: Model) -> msgspec.Raw | dict[str, object]:
    """The backend's own entry, under the public name when that is another.

    For a model of another engine the fields that Ollama's clients read without looking (its own CLI cuts 12 digits off
    the digest): what is not known is empty, the digest is the name's.
    """
    if model.entry is None:
        return {
            "name": model.name,
            "model": model.name,
            "modified_at": datetime.fromtimestamp(min(max(0, model.created), _LAST_DATE), UTC).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            ),
            "size": 0,
            "digest": sha256(model.name.encode()).hexdigest(),
            "details": {
                "parent_model": "",
                "format": "",
                "family": model.owned_by,
                "families": [],
                "parameter_size": "",
                "quantization_level": "",
            },
        }
    fields = msgspec.json.decode(model.entry, type=dict[str, msgspec.Raw])
    name = msgspec.Raw(msgspec.json.encode(model.name))
    fields["name"] = fields["model"] = name
    return msgspec.Raw(msgspec.json.encode(fields))


OLLAMA = Ollama()
