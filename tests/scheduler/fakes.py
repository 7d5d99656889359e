"""Shell. Backends that only count their slots, and the registry over them."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class FakeBackend:
    name: str = "a"
    max_concurrent: int = 1
    in_flight: int = 0
    ttft_seconds: float = 0.0
    failure_ewma: float = 0.0
    resident: frozenset[str] = frozenset({"m"})
    gpu_utilisation: float | None = None
    cpu_percent: float | None = None
    memory_percent: float | None = None
    is_routable: bool = True
    most_in_flight: int = 0

    def take(self) -> None:
        assert self.in_flight < self.max_concurrent, f"{self.name} was given more than it may hold"
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def release(self) -> None:
        assert self.in_flight > 0, f"{self.name}: a slot was given back twice"
        self.in_flight -= 1


@dataclass
class FakeBackends:
    """`served`: model -> backends."""

    served: dict[str, list[FakeBackend]] = field(default_factory=dict)

    def candidates(self, model: str) -> list[FakeBackend]:
        return [backend for backend in self.served.get(model, []) if backend.is_routable]


@dataclass(frozen=True)
class Limits:
    queue_max_jobs: int = 10_000
    queue_max_jobs_per_flow: int = 512
    queue_deadline_seconds: float = 60.0
