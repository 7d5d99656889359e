"""Pure. A model as callers see it: one public name, however many backends serve it."""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Model:
    """`entry` is the backend's own list entry (for Ollama: from /api/tags), kept as it came; `created` in Unix s."""

    name: str
    owned_by: str
    created: int
    entry: msgspec.Raw | None = None
    context_length: int | None = None
    backends: tuple[str, ...] = ()
