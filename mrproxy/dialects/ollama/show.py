"""Pure. /api/show of a model that no Ollama server has: what is known of it, in Ollama's shape.

Clients look for `capabilities`, and for the context length under `<general.architecture>.context_length`. The
architecture of a model on another engine is not known, so the engine's kind stands in its place. Everything else that
is not known is empty or absent, as Ollama has it for models that are elsewhere; nothing is made up.
Sources: ollama docs/api.md (Show Model Information), api/types.go (ShowResponse), server/routes.go (GetModelInfo),
v0.17.4 (February 2026).
"""

from collections.abc import Sequence

import msgspec


def encode_show(model_name: str, context_length: int | None, kind: str, capabilities: Sequence[str]) -> bytes:
    """`capabilities` in Ollama's words: completion, tools, insert, vision, embedding, thinking."""
    info: dict[str, object] = {"general.architecture": kind, "general.name": model_name}
    if context_length is not None:
        info[f"{kind}.context_length"] = context_length
    details: dict[str, object] = {
        "parent_model": "",
        # llama.cpp reads nothing else; of the other engines it is not known.
        "format": "gguf" if kind == "llamacpp" else "",
        "family": "",
        "families": [],
        "parameter_size": "",
        "quantization_level": "",
    }
    return msgspec.json.encode({"details": details, "model_info": info, "capabilities": list(capabilities)})
