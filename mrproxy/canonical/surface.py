"""Pure. Surfaces: the wire formats that a caller may address and that a backend may serve by itself.

A backend of a kind serves some for certain; newer servers also serve `/v1/messages` and `/v1/responses`, which a probe
finds out. Where both sides have the same surface, bytes can pass (`dialects/lanes.py`).
"""

import enum
from collections.abc import Mapping


class Surface(enum.StrEnum):
    CHAT = "chat"  # OpenAI's /v1/chat/completions
    TEXT = "text"  # OpenAI's /v1/completions
    EMBEDDINGS = "embeddings"  # OpenAI's /v1/embeddings
    RESPONSES = "responses"  # OpenAI's /v1/responses
    MESSAGES = "messages"  # Anthropic's /v1/messages, and count_tokens below it
    OLLAMA = "ollama"  # everything below /api
    MEDIA = "media"  # OpenAI's audio, images and moderations; vLLM's and llama.cpp's rerank and score
    OURS = "ours"  # lists and greetings, which no backend is asked for


_OPENAI = frozenset({Surface.CHAT, Surface.TEXT, Surface.EMBEDDINGS})
# Which of these a server has depends on its model, and what it has not it refuses by itself.
_MEDIA = _OPENAI | {Surface.MEDIA}
# Ollama has served OpenAI's three since 0.1.24, 0.1.39 and 0.2.6 (ollama docs/openai.md).
NATIVE: Mapping[str, frozenset[Surface]] = {
    "vllm": _MEDIA,
    "openai": _MEDIA,
    "llamacpp": _MEDIA,
    "ollama": _OPENAI | {Surface.OLLAMA},
    "anthropic": frozenset({Surface.MESSAGES}),
}
"""What a backend of each kind serves for certain."""

PROBED: Mapping[str, Surface] = {"/v1/messages": Surface.MESSAGES, "/v1/responses": Surface.RESPONSES}
"""Paths to ask a backend about: one that has them answers a GET with 405, one that has not with 404."""
