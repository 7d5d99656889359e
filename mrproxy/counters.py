"""Pure. What the relay plane counts: plain ints, written below, exported above (`control/` renders Prometheus).

Histograms have fixed bounds and are cumulative only when rendered. One `Counters` per process, owned by worker.py.
"""

from bisect import bisect_left
from typing import Protocol, TypedDict

_LATENCY_BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip


class Ended(Protocol):
    """A request that has ended: `canonical.exchange.Exchange`."""

    dialect: str
    model: str
    backend: str
    status: int
    started_at: float
    first_byte_at: float | None
    queue_seconds: float
    body_bytes: int
    answer_bytes: int
    events: int

    @property
    def usage(self) -> tuple[int | None, int | None] | None: ...
    @property
    def usage_state(self) -> str: ...


class HistogramView(TypedDict):
    bounds: list[float]
    counts: list[int]
    sum: float


class Histogram:
    """Counts per bucket (the last is +Inf) and their sum, in seconds."""

    __slots__ = ("counts", "sum_seconds")
    bounds = _LATENCY_BOUNDS

    def __init__(self) -> None:
        self.counts = [0] * (len(_LATENCY_BOUNDS) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_LATENCY_BOUNDS, seconds)] += 1
        self.sum_seconds += seconds

    def view(self) -> HistogramView:
        return {"bounds": list(self.bounds), "counts": list(self.counts), "sum": self.sum_seconds}


class Counters:
    """Every number of one worker."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "client_departures",
        "completion_tokens",
        "connections",
        "connections_refused",
        "control_forwards",
        "crashes",
        "duration",
        "event_loop_lag_seconds",
        "event_loop_lag_worst_seconds",
        "inter_token",
        "limit_shadow",
        "prompt_tokens",
        "queue_wait",
        "refused",
        "relayed_events",
        "relayed_events",
        "requests",
        "retries",
        "slow_client_closes",
        "translations",
        "ttft",
        "upstream_connects",
        "usage_states",
    )  # fmt: skip

    def __init__(self) -> None:
        # (dialect, model, backend, status) -> count
        self.requests: dict[tuple[str, str, str, int], int] = {}
        self.refused: dict[str, int] = {}
        self.limit_shadow: dict[str, int] = {}  # what would have been refused, were limits enforced
        self.usage_states: dict[str, int] = {}
        self.queue_wait = Histogram()
        self.ttft = Histogram()
        self.inter_token = Histogram()
        self.duration = Histogram()
        self.connections = 0
        self.connections_refused = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.relayed_events = 0
        self.retries = 0
        self.client_departures = 0
        self.slow_client_closes = 0
        self.translations = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.upstream_connects = 0
        self.control_forwards = 0
        self.crashes = 0
        self.event_loop_lag_seconds = 0.0
        self.event_loop_lag_worst_seconds = 0.0

    def count_refused(self, code: str) -> None:
        self.refused[code] = self.refused.get(code, 0) + 1

    def count_shadow(self, code: str) -> None:
        self.limit_shadow[code] = self.limit_shadow.get(code, 0) + 1

    def count_exchange(self, exchange: Ended, ended_at: float) -> None:
        """Everything that a finished request adds. `Histogram.observe` stands in place: it is every request's path."""
        key = (exchange.dialect, exchange.model, exchange.backend, exchange.status)
        try:
            self.requests[key] += 1
        except KeyError:
            self.requests[key] = 1
        self.bytes_in += exchange.body_bytes
        self.bytes_out += exchange.answer_bytes
        if exchange.events:
            self.relayed_events += exchange.events
        usage = exchange.usage
        if usage is not None:
            prompt_tokens, completion_tokens = usage
            self.prompt_tokens += prompt_tokens or 0
            self.completion_tokens += completion_tokens or 0
        try:
            self.usage_states[exchange.usage_state] += 1
        except KeyError:
            self.usage_states[exchange.usage_state] = 1
        if exchange.queue_seconds:
            self.queue_wait.observe(exchange.queue_seconds)
        else:
            self.queue_wait.counts[0] += 1
        seconds = ended_at - exchange.started_at
        histogram = self.duration
        place = bisect_left(_LATENCY_BOUNDS, seconds)
        histogram.counts[place] += 1
        histogram.sum_seconds += seconds
        first_byte_at = exchange.first_byte_at
        if first_byte_at is not None:
            histogram = self.ttft
            if first_byte_at != ended_at:  # nearly always the same, of an answer in one piece
                seconds = first_byte_at - exchange.started_at
                place = bisect_left(_LATENCY_BOUNDS, seconds)
            histogram.counts[place] += 1
            histogram.sum_seconds += seconds

    def histograms(self) -> dict[str, HistogramView]:
        return {
            "queue_wait_seconds": self.queue_wait.view(),
            "ttft_seconds": self.ttft.view(),
            "inter_token_seconds": self.inter_token.view(),
            "duration_seconds": self.duration.view(),
        }

    def totals(self) -> dict[str, int]:
        return {
            "connections_total": self.connections,
            "connections_refused_total": self.connections_refused,
            "prompt_tokens_total": self.prompt_tokens,
            "completion_tokens_total": self.completion_tokens,
            "relayed_events_total": self.relayed_events,
            "retries_total": self.retries,
            "client_departures_total": self.client_departures,
            "slow_client_closes_total": self.slow_client_closes,
            "translations_total": self.translations,
            "bytes_in_total": self.bytes_in,
            "bytes_out_total": self.bytes_out,
            "upstream_connects_total": self.upstream_connects,
            "control_forwards_total": self.control_forwards,
            "unexpected_errors_total": self.crashes,
        }
