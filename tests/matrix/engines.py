"""The engines behind the gateway. `python -m tests.matrix.engines` runs their mocks in one process, on one reactor.

An Engine is a backend with a model of its own, so that the model's name chooses the pair; `mock` is who serves it.
"""

import gc
import signal
from dataclasses import dataclass, field
from types import FrameType

from bench.backends.build import build_server
from bench.backends.settings import EngineSettings
from bench.reactor import Reactor
from tests.matrix.asks import Ask, Picture, Thought

CALLERS = ("chat", "responses", "messages", "ollama")
_OPENAI = frozenset({"chat", "text", "embeddings"})
SPOKEN = {
    "vllm": _OPENAI,
    "openai": _OPENAI,
    "llamacpp": _OPENAI,
    "ollama": _OPENAI | {"ollama"},
    "anthropic": frozenset({"messages"}),
}


@dataclass(frozen=True)
class Engine:
    """`native`: further surfaces that it serves by itself. `tool_style`: see bench/backends/settings.py."""

    name: str
    kind: str
    mock: str
    model: str
    native: frozenset[str] = field(default_factory=frozenset)

    def lane(self, surface: str, ask: Ask | None = None) -> str:
        """The lane of a request that keeps nothing and has nothing checked."""
        is_straight = surface in SPOKEN[self.kind] | self.native
        if ask is not None and self.kind == "ollama" and surface != "ollama" and says_more(surface, ask):
            is_straight = False
        return "straight" if is_straight else "translating"

    def dialect(self, surface: str, ask: Ask | None = None) -> str:
        """The surface in which the engine is spoken to on behalf of a caller of `surface`."""
        if self.lane(surface, ask) == "straight":
            return surface
        return {"ollama": "ollama", "anthropic": "messages"}.get(self.kind, "chat")


def says_more(surface: str, ask: Ask) -> bool:
    """What Ollama passes over where it is asked in another dialect than its own."""
    parts = [part for turn in ask.turns for part in turn.parts]
    if any(isinstance(part, Picture) and part.url.startswith("http") for part in parts):
        return True
    if ask.choice is not None or ask.parallel is False:
        return True
    is_chat = surface == "chat"
    return is_chat and (isinstance(ask.thinking, bool) or any(isinstance(part, Thought) for part in parts))


_BOTH = frozenset({"messages", "responses"})
VLLM = Engine("vllm", "vllm", "vllm", "on-vllm")
OLLAMA = Engine("ollama", "ollama", "ollama", "on-ollama:1b")
ANTHROPIC = Engine("anthropic", "anthropic", "anthropic", "on-anthropic")
OPENAI = Engine("openai", "openai", "vllm", "on-openai")
LLAMACPP = Engine("llamacpp", "llamacpp", "llamacpp", "on-llamacpp")
NEW_VLLM = Engine("new-vllm", "vllm", "new-vllm", "on-new-vllm", _BOTH)
NEW_OLLAMA = Engine("new-ollama", "ollama", "new-ollama", "on-new-ollama:1b", _BOTH)
# Ollama's only model that has levels of thinking.
GPT_OSS = Engine("gpt-oss", "ollama", "ollama", "gpt-oss:20b")

KINDS = (VLLM, OLLAMA, ANTHROPIC)
ENGINES = (*KINDS, OPENAI, LLAMACPP, NEW_VLLM, NEW_OLLAMA)

STYLES = ("whole", "index0", "idless", "anonymous", "interleaved")
STYLED = {style: Engine(style, "vllm", style, f"on-{style}") for style in STYLES}
REASONING = {style: Engine(style, "vllm", style, f"on-{style}") for style in ("reasoning", "both")}
# A backend that says 429 is left alone for as long as it asks: each test has its own.
BUSY = {
    (caller, kind.name): Engine(f"busy-{kind.name}-{caller}", kind.kind, kind.mock, f"busy-{kind.name}-{caller}:1b")
    for caller in CALLERS
    for kind in KINDS
}

ALL = (*ENGINES, GPT_OSS, *STYLED.values(), *REASONING.values(), *BUSY.values())


def settings_of(mock: str) -> EngineSettings:
    """As quick as may be: a token every 0.2 ms."""
    engines = [engine for engine in ALL if engine.mock == mock]
    kind = engines[0].kind
    return EngineSettings(
        kind=kind,
        models=tuple(engine.model for engine in engines),
        itl_seconds=0.0002,
        prefill_seconds=0.0002,
        answer_tokens=8,
        max_num_seqs=1000,
        native=tuple(sorted(engines[0].native)),
        tool_style=mock if mock in STYLES else "index0" if kind == "ollama" else "fragments",
        reasoning_field=mock if mock in REASONING else "reasoning_content",
    )


def main() -> None:
    """Serves until SIGTERM; says `NAME http://…` for each mock, then `ready`."""
    reactor = Reactor()
    servers = {mock: build_server(settings_of(mock), reactor) for mock in dict.fromkeys(each.mock for each in ALL)}
    for mock, server in servers.items():
        print(f"{mock} http://127.0.0.1:{server.listen('127.0.0.1', 0)}", flush=True)
    print("ready", flush=True)
    signal.signal(signal.SIGTERM, _stop)
    gc.freeze()
    reactor.run()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit


if __name__ == "__main__":
    main()
