"""Pure. Which models are in memory, as Ollama decides it: loaded on demand, kept alive for a while, evicted when idle.

A `Lane` is the requests of one model: those that run, those that wait. vLLM has one lane, whose model is always there.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from bench.backends.settings import EngineSettings

S = TypeVar("S")


class Lane(Generic[S]):
    __slots__ = (
        "context_reloads", "expires_ns", "is_loaded", "is_loading", "is_stepping", "keep_alive_ns", "loads", "model",
        "num_ctx", "running", "waiting",
    )  # fmt: skip

    def __init__(self, model: str, is_loaded: bool, keep_alive_seconds: float) -> None:
        self.model = model
        self.running: dict[S, None] = {}
        self.waiting: deque[S] = deque()
        self.is_loaded = is_loaded
        self.is_loading = False
        self.is_stepping = False
        self.expires_ns = 0
        self.keep_alive_ns = 0
        self.num_ctx = 0  # what it was loaded with; 0: nobody said
        self.loads = 0
        self.context_reloads = 0  # loads of a model that was there, with another context length
        self.keep_alive(keep_alive_seconds)

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting

    def keep_alive(self, seconds: float) -> None:
        """Negative means for ever, as in Ollama."""
        self.keep_alive_ns = 2**62 if seconds < 0 else int(seconds * 1e9)

    def touch(self, now: int) -> None:
        self.expires_ns = now + self.keep_alive_ns

    def finish_load(self, now: int) -> None:
        self.is_loading, self.is_loaded = False, True
        self.touch(now)


class Residency(Generic[S]):
    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self.has_loads = settings.kind == "ollama"
        self.lanes: dict[str, Lane[S]] = {}

    def lane_of(self, model: str) -> Lane[S]:
        key = model if self.has_loads else ""
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(key, not self.has_loads, self._settings.keep_alive_seconds)
        return lane

    def expire(self, now: int) -> None:
        """Unload models whose keep-alive has passed."""
        for lane in self.lanes.values():
            if self.has_loads and lane.is_loaded and lane.is_idle and lane.expires_ns <= now:
                lane.is_loaded = False

    def unload(self, model: str) -> None:
        """At once if it is idle, else when it becomes so."""
        lane = self.lane_of(model)
        lane.expires_ns = 0
        lane.is_loaded = not lane.is_idle

    def resident(self, now: int) -> list[tuple[str, float]]:
        """(model, seconds until it is unloaded) of those in memory."""
        self.expire(now)
        loaded = (lane for lane in self.lanes.values() if lane.is_loaded)
        return [(lane.model, (lane.expires_ns - now if lane.is_idle else lane.keep_alive_ns) / 1e9) for lane in loaded]

    def fit_context(self, lane: Lane[S], num_ctx: int | None) -> bool:
        """Make `num_ctx` the length to load the model with; False while it has another one and is busy.

        Ollama's scheduler compares the runner's options of every request with the loaded ones and reloads, once its
        requests have ended (server/sched.go, needsReload); a request that names no num_ctx asks for the default.
        """
        if num_ctx is None or num_ctx == lane.num_ctx:
            return True
        if lane.running or lane.is_loading:
            return False
        lane.context_reloads += lane.is_loaded
        lane.is_loaded, lane.num_ctx = False, num_ctx
        return True

    def load(self, lane: Lane[S], now: int, begin: Callable[[], None]) -> bool:
        """Have the lane's model loaded: True if it can serve already.

        Calls `begin` when a load that takes time may start; `Lane.finish_load` ends it. Idle models make room, the
        longest unused first; while all are busy nothing happens, and the caller asks again when one has ended.
        """
        if lane.is_loaded:
            return True
        if lane.is_loading or not lane.waiting:
            return False
        self.expire(now)
        if not self._make_room():
            return False
        lane.loads += 1
        if not self._settings.load_seconds:
            lane.finish_load(now)
            return True
        lane.is_loading = True
        begin()
        return False

    def _make_room(self) -> bool:
        resident = [lane for lane in self.lanes.values() if lane.is_loaded or lane.is_loading]
        if len(resident) < self._settings.max_loaded_models:
            return True
        idle = [lane for lane in resident if lane.is_idle and not lane.is_loading]
        if not idle:
            return False
        min(idle, key=lambda lane: lane.expires_ns - lane.keep_alive_ns).is_loaded = False
        return True
