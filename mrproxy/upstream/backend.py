"""Shell. One inference server: what is known of it, its slots, its connections, its pump, its nursery.

What routing, metrics and the status page read is the same state: `is_routable` = healthy by the last probes, not
draining, breaker not open. `in_flight` counts at selection (`take`) and falls in one place (`release`).
A bug in its tasks ends this backend's nursery only; the registry starts it again.
Read next: `pump.py` (its streams), `probe.py` (how its state is found out).
"""

import math
from collections.abc import Callable

import trio

from mrproxy.canonical.surface import NATIVE, Surface
from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.dialects.lanes import Lane
from mrproxy.errors import BackendError, Code, Phase
from mrproxy.link.snapshot import BackendSpec
from mrproxy.sockets import Poller
from mrproxy.upstream.breaker import Breaker, BreakerPolicy, BreakerState, Failure
from mrproxy.upstream.endpoint import Endpoint
from mrproxy.upstream.live import Pump
from mrproxy.upstream.pool import Connection, Pool
from mrproxy.upstream.probe import Prober
from mrproxy.upstream.probing import ModelInfo, ProbeError, ProbeResult, RunningModel
from mrproxy.upstream.tokenizer import Tokenizer
from mrproxy.upstream.turns import Turns

# One lost probe may be a busy moment; two in a row (the second after `probe_retry_seconds`) are an outage.
_PROBES_UNTIL_DOWN = 2
_TTFT_RATE = 0.2
_FAILURE_RATE = 0.2
_CLOSED = BreakerState.CLOSED
# Per sweep of 0.25 s: a backend that failed is half forgiven after 9 s without traffic.
_FORGIVING = 0.98
# Looked at in any case: whether a response is ours to keep, a message continues a thread, and Ollama would pass over
# something, stands in the body (`dialects/lanes.py`).
_OF_OTHERS = frozenset({Surface.RESPONSES, Surface.MESSAGES})
_IN_THE_BODY = {"anthropic": frozenset({Surface.RESPONSES}), "ollama": frozenset(Surface) - {Surface.OLLAMA}}


class Backend:
    """A backend and its state; `models` maps public names to its own."""

    def __init__(self, spec: BackendSpec, settings: Settings, counters: Counters, poller: Poller, now: float) -> None:
        self.spec = spec
        self.name = spec.name
        self.max_concurrent = spec.max_concurrent
        self.in_flight = 0
        self.ttft_seconds = 0.0
        self.failure_ewma = 0.0
        self.resident: frozenset[str] = frozenset()  # keys of pools whose model is in its memory now
        self.resident_models: frozenset[str] = frozenset()  # the same by its own names
        self.gpu_utilisation: float | None = None
        self.cpu_percent: float | None = None
        self.memory_percent: float | None = None
        self.is_draining = False
        self.is_healthy = False
        self.is_known = False  # a probe has succeeded at least once
        self.is_loading = False
        self.models: dict[str, ModelInfo] = {}
        self.running: tuple[RunningModel, ...] = ()
        self.kind = spec.kind
        self.native: frozenset[Surface] = frozenset()  # what it serves by itself, by its last probe
        self.version = ""
        self.last_probe_error = ""
        self.breaker = Breaker(_policy(settings), now)
        self.endpoint = Endpoint(spec.url, spec.api_key, spec.kind)
        self.pump = Pump(poller, settings, counters, *_lines(spec.name))
        self.pool = Pool(poller, settings.pool_max_idle, settings.pool_idle_seconds)
        self.tokenizer = Tokenizer(self.endpoint)
        self.changed: Callable[[], None] = lambda: None
        self._settings = settings
        self._counters = counters
        self._failed_probes = 0
        self._was_open = False
        self._probe_now = trio.Event()
        self._has_bug = trio.Event()
        self._bug: Exception | None = None
        self.probe_turns = Turns(0.0)  # in a registry: those of all its backends

    # What routing reads

    def is_routable(self, now: float) -> bool:
        return self.is_healthy and not self.is_draining and (self.breaker.is_at_ease or not self.breaker.is_open(now))

    def straight(self, model: str) -> frozenset[Surface]:
        """The surfaces whose bytes can pass whatever the request says, without being looked at for this backend."""
        if self.context_length(model) is not None or self.own_name(model) != model:
            return frozenset()  # something in each body has to be another one
        return self.native - _IN_THE_BODY.get(self.kind, _OF_OTHERS)

    def context_length(self, model: str) -> int | None:
        """What is configured as `num_ctx` of a public model; only Ollama can be told."""
        return self.spec.context_length(model) if self.kind == "ollama" else None

    def own_name(self, model: str) -> str:
        """The name under which the backend itself knows a public model."""
        return self.spec.aliases.get(model, model)

    def take(self) -> None:
        """A slot is taken. In a breaker that has rested, this request is its test."""
        self.in_flight += 1
        if self.breaker.state is not _CLOSED:
            self.breaker.allows(trio.current_time())

    def release(self) -> None:
        self.in_flight -= 1

    def first_byte_seconds(self, model: str) -> float:
        """How long the first byte may take: a model that must be loaded first has its own budget."""
        settings = self._settings
        own = self.spec.first_byte_deadline_seconds
        if self.is_loading or (self.kind == "ollama" and self.own_name(model) not in self.resident_models):
            return max(own or 0.0, settings.loading_deadline_seconds)
        return own or settings.first_byte_deadline_seconds

    # What attempts report

    def succeeded(self, ttft_seconds: float, now: float) -> None:
        self.breaker.record_success(now)
        # Peak-EWMA (Finagle): a rise is believed at once, a fall slowly.
        known = self.ttft_seconds
        self.ttft_seconds = max(ttft_seconds, known + (ttft_seconds - known) * _TTFT_RATE)
        if self.failure_ewma:
            self.failure_ewma *= 1 - _FAILURE_RATE

    def failed(self, kind: Failure, now: float, hold_seconds: float | None = None) -> None:
        """`hold_seconds`: it asked to be left alone for so long (`Retry-After`)."""
        self.breaker.record_failure(kind, now)
        if hold_seconds is not None:
            self.breaker.hold(hold_seconds, now)
        self.failure_ewma += (1 - self.failure_ewma) * _FAILURE_RATE
        if kind is Failure.CONNECT:
            self.probe_soon()

    def gave_up(self, now: float) -> None:
        """The client left before anything was known; if this was the test of a half-open breaker, the next one is."""
        if self.breaker.state is BreakerState.HALF_OPEN:
            self.breaker.abandon(now)

    # Connections

    async def connect(self) -> Connection:
        """A new connection. Raises BackendError (phase connect)."""
        settings, nursery = self._settings, self._nursery
        try:
            with trio.fail_after(settings.connect_deadline_seconds):
                sock = await self.endpoint.connect(nursery)
        except trio.TooSlowError:
            raise BackendError(
                Code.BACKEND_TIMEOUT, "the backend did not accept in time", phase=Phase.CONNECT, retryable=True
            ) from None
        except OSError as exc:
            raise BackendError(
                Code.BACKEND_FAILED, "the backend cannot be reached", phase=Phase.CONNECT, retryable=True
            ) from exc
        self._counters.upstream_connects += 1
        if nursery.cancel_scope.cancel_called:  # it has ended meanwhile: nobody would watch over what runs on it
            sock.close()
            raise BackendError(Code.BACKEND_WITHDRAWN, "the backend was withdrawn", phase=Phase.CONNECT, retryable=True)
        return self.pool.add(sock)

    # Its nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled; then every relay is failed and every connection closed."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                nursery.start_soon(self._probe_for_ever, name=f"probe {self.name}")
                nursery.start_soon(self.tokenizer.run, name=f"tokenizer {self.name}")
                task_status.started()
                self._bug = None
                await self._has_bug.wait()
                if self._bug is not None:
                    raise self._bug
            finally:
                self._has_bug = trio.Event()
                self.is_healthy = False
                self.withdraw("the backend was withdrawn")
                self.pool.close_idle()
                self.pump.pipes.close_idle()
                nursery.cancel_scope.cancel(reason="the backend ends")

    def withdraw(self, reason: str, code: Code = Code.BACKEND_WITHDRAWN) -> None:
        """End everything that runs on it; what has not begun to answer may go elsewhere, unless we are draining."""
        for relay in list(self.pump.relays):
            relay.fail(BackendError(code, reason, phase=Phase.STREAM, retryable=code is Code.BACKEND_WITHDRAWN))

    def apply(self, spec: BackendSpec, settings: Settings) -> None:
        """A reload that changes numbers, not the address."""
        self.spec = spec
        self.max_concurrent = spec.max_concurrent
        self._settings = settings
        self.pump.pace = settings
        self.pool.max_idle = settings.pool_max_idle
        self.pool.idle_seconds = settings.pool_idle_seconds
        self.changed()

    def probe_soon(self) -> None:
        """Something is odd: look now rather than at the next interval."""
        self._probe_now.set()

    def sweep(self, now: float) -> None:
        """Called by the registry four times a second: what is late ends. A bug in it ends this backend's nursery."""
        try:
            self._sweep(now)
        except Exception as bug:
            self._bug = bug
            self._has_bug.set()

    def _sweep(self, now: float) -> None:
        self.pump.check(now)
        self.pool.sweep(now)
        self.failure_ewma = self.failure_ewma * _FORGIVING if self.failure_ewma > 0.001 else 0.0
        was_open, self._was_open = self._was_open, self.breaker.is_open(now)
        if was_open and not self._was_open:
            self.changed()  # it has rested: who waits may be its test

    async def _probe_for_ever(self) -> None:
        async with Prober(self.endpoint) as prober:
            while True:
                self._probe_now = trio.Event()
                await self.probe_turns.wait()
                await self._probe(prober)
                settings = self._settings
                is_well = self.is_healthy and not self._failed_probes
                interval = self.spec.probe_interval_seconds or settings.probe_interval_seconds
                wait = interval if is_well else settings.probe_retry_seconds
                with trio.move_on_after(wait):
                    await self._probe_now.wait()
                    # A storm of failed connects asks often; once in a while is enough.
                    await trio.sleep(min(wait, 0.2))

    async def _probe(self, prober: Prober) -> None:
        result: ProbeResult | ProbeError
        try:
            with trio.fail_after(self._settings.probe_deadline_seconds):
                result = await prober.probe(self.kind)
        except trio.TooSlowError:
            if self.is_known and self.in_flight and (prober.has_answer or self.pump.was_heard_of_lately()):
                # It lives: llama-cpp-python locks /v1/models while it generates, but answers other pages, or streams.
                self.last_probe_error = "busy"
                return
            result = ProbeError("no answer in time")
        if isinstance(result, ProbeError):
            self._failed_probes += 1
            self.last_probe_error = str(result)
            if self._failed_probes >= _PROBES_UNTIL_DOWN or not self.is_known:
                self._become(is_healthy=False)
            return
        self._failed_probes = 0
        self.last_probe_error = ""
        self._learn(result)

    def _learn(self, result: ProbeResult) -> None:
        self.kind = result.kind
        native = NATIVE[result.kind] | result.native
        is_other = native != self.native
        self.native = native
        self.version = result.version or ""
        self.is_loading = result.loading
        allowed = self.spec.models
        models = {model.name: model for model in result.models if allowed is None or model.name in allowed}
        for public, own in self.spec.aliases.items():
            if own in models:
                models[public] = models[own]
        is_news = models.keys() != self.models.keys() or not self.is_known or is_other
        self.models, self.resident_models, self.running = models, result.resident, result.running
        here = [name for name in models if self.own_name(name) in result.resident]
        self.resident = frozenset(here) | {f"embeddings:{name}" for name in here}
        self.is_known = True
        self._become(is_healthy=True, is_news=is_news)

    def _become(self, *, is_healthy: bool, is_news: bool = False) -> None:
        if is_healthy != self.is_healthy or is_news:
            self.is_healthy = is_healthy
            self.changed()

    def statistics(self, now: float) -> dict[str, object]:
        """The one state, for status and metrics."""
        breaker = self.breaker.statistics(now)
        return {
            "name": self.name,
            "kind": self.kind,
            "url": self.endpoint.shown,
            "healthy": self.is_healthy,
            "routable": self.is_routable(now),
            "draining": self.is_draining,
            "loading": self.is_loading,
            "breaker": breaker.state.value,
            "retry_in_seconds": 0.0 if math.isinf(breaker.retry_in_seconds) else round(breaker.retry_in_seconds, 3),
            "in_flight": self.in_flight,
            "max_concurrent": self.max_concurrent,
            "models": sorted(self.models),
            "resident": sorted(self.resident_models),
            "ttft_seconds": round(self.ttft_seconds, 6),
            "failure_ewma": round(self.failure_ewma, 4),
            "idle_connections": self.pool.idle_connections,
            "open_connections": self.pool.open_connections,
            "open_relays": len(self.pump.relays),
            "version": self.version,
            "last_probe_error": self.last_probe_error,
        }


def _lines(name: str) -> tuple[bytes, bytes]:
    """What every answer says of where it comes from, in each lane."""
    line = b"x-mrproxy-backend: %b\r\nx-mrproxy-lane: %b\r\n"
    return line % (name.encode(), Lane.STRAIGHT.encode()), line % (name.encode(), Lane.TRANSLATING.encode())


def _policy(settings: Settings) -> BreakerPolicy:
    return BreakerPolicy(
        failures=settings.breaker_failures,
        ratio_percent=settings.breaker_ratio_percent,
        min_requests=settings.breaker_min_requests,
        window_seconds=settings.breaker_window_seconds,
        open_seconds=settings.breaker_open_seconds,
        max_open_seconds=settings.breaker_max_open_seconds,
    )
