"""Shell. Puts one mock engine together and runs it: dialect, engine, server on one reactor."""

import gc
import random
import signal
import time
from collections.abc import Callable
from types import FrameType

from bench.backends.anthropic import Anthropic
from bench.backends.engine import Engine
from bench.backends.faults import Rule
from bench.backends.llamacpp import Llamacpp
from bench.backends.native import WithNative
from bench.backends.ollama import Ollama
from bench.backends.ollama_openai import OllamaWithOpenai
from bench.backends.server import Dialect, MockServer
from bench.backends.settings import EngineSettings
from bench.backends.stats import Stats
from bench.backends.vllm import Vllm
from bench.backends.work import Counts
from bench.reactor import Reactor


class EngineResidency:
    """What `/api/ps` shows and what unloads a model: the engine's residency on the real clock."""

    def __init__(self, engine: Engine) -> None:
        self._residency = engine.residency

    def resident(self) -> list[tuple[str, float]]:
        return self._residency.resident(time.monotonic_ns())

    def num_ctx(self, model: str) -> int:
        return self._residency.lane_of(model).num_ctx

    def unload(self, model: str) -> None:
        self._residency.unload(model)


def id_source(seed: int) -> Callable[[], str]:
    """vLLM's random_uuid: 16 hexadecimal digits; the same ones for the same seed."""
    source = random.Random(seed)
    return lambda: f"{source.getrandbits(64):016x}"


def build_server(settings: EngineSettings, reactor: Reactor) -> MockServer:
    stats = Stats()
    engine = Engine(settings, reactor, stats)
    return MockServer(settings, build_dialect(settings, engine, stats), engine, stats, reactor)


def build_dialect(settings: EngineSettings, engine: Engine, stats: Stats) -> Dialect:
    if settings.kind == "anthropic":
        return Anthropic(settings, id_source(settings.seed))

    def counts() -> Counts:
        return Counts(engine.running, engine.waiting, stats.prompt_tokens, stats.generation_tokens)

    dialect: OllamaWithOpenai | Vllm | Llamacpp
    if settings.kind == "ollama":
        dialect = OllamaWithOpenai(settings, Ollama(settings, EngineResidency(engine)))
    else:
        dialect = Vllm(settings, id_source(settings.seed), counts)
        if settings.kind == "llamacpp":
            dialect = Llamacpp(settings, dialect)
    return WithNative(settings, dialect, id_source(settings.seed + 1)) if settings.native else dialect


def serve_mock(
    settings: EngineSettings, host: str, port: int, rules: list[Rule], announce: Callable[[int], None]
) -> None:
    """Serve until SIGTERM or SIGINT; `announce(port)` once listening."""
    reactor = Reactor()
    server = build_server(settings, reactor)
    server.faults.rules = rules
    announce(server.listen(host, port))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise_stopped)
    # What exists now lives for ever: the collector need not walk it while tokens flow.
    gc.freeze()
    try:
        reactor.run()
    except Stopped:
        server.close()
    reactor.close()


class Stopped(Exception):
    """A signal asked the mock to end. Raised out of the poll: PEP 475 would only resume it."""


def _raise_stopped(_number: int, _frame: FrameType | None) -> None:
    raise Stopped
