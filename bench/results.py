"""Pure. What a run found, as it is stored: `run.json` is exactly `RunResult`, the source of all tables and plots."""

import msgspec

from bench.histogram import Histogram
from bench.summary import can_carry

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
SCHEMA = "bench.run/1"


class Metric(msgspec.Struct):
    """One distribution, in nanoseconds. A percentile that the count cannot carry is None."""

    name: str
    title: str
    count: int
    mean: float
    minimum: int
    maximum: int
    total: int
    percentiles: dict[str, float | None]
    buckets: list[tuple[int, int]]

    def histogram(self) -> Histogram:
        return Histogram.from_buckets(self.buckets, self.minimum, self.maximum, self.total)


class Caller(msgspec.Struct):
    name: str
    requests: int
    failed: int
    tokens: int


class Cost(msgspec.Struct):
    """The measured processes over the window; None where no process was named."""

    pids: list[int]
    cpu_seconds: float
    cpu_us_per_request: float | None
    cpu_us_per_token: float | None
    rss_bytes_start: int
    rss_bytes_end: int
    rss_bytes_peak: int
    open_files_end: int


class Fidelity(msgspec.Struct):
    """Answers compared with what the mock sent: tokens, payload bytes and CRC-32 of each."""

    checked: int
    identical: int
    altered_events: int
    out_of_order: int
    note: str = ""

    @property
    def is_exact(self) -> bool:
        return self.checked == self.identical and not self.altered_events and not self.out_of_order


class Second(msgspec.Struct):
    """One second of the run."""

    at_seconds: int
    finished: int
    failed: int
    tokens: int
    rss_bytes: int


class RunResult(msgspec.Struct):
    schema: str
    title: str
    url: str
    plan: dict[str, str | int | float | bool]
    environment: dict[str, str]
    seconds: float
    requests: int
    succeeded: int
    unfinished: int
    errors: dict[str, int]
    tokens: int
    metrics: list[Metric]
    callers: list[Caller]
    timeline: list[Second]
    fidelity: Fidelity | None = None
    cost: Cost | None = None
    invalid: list[str] = []

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)


def metric_of(name: str, title: str, histogram: Histogram) -> Metric:
    count = histogram.count
    return Metric(
        name=name,
        title=title,
        count=count,
        mean=histogram.mean,
        minimum=histogram.minimum,
        maximum=histogram.maximum,
        total=histogram.total,
        percentiles={
            label: histogram.percentile(share) if count and can_carry(count, share) else None
            for label, share in SHARES.items()
        },
        buckets=histogram.buckets(),
    )


def encode_result(result: RunResult) -> bytes:
    return msgspec.json.format(msgspec.json.encode(result), indent=1)


def decode_result(data: bytes) -> RunResult:
    """Raises ValueError for what is not a run of ours."""
    result = msgspec.json.decode(data, type=RunResult)
    if result.schema != SCHEMA:
        raise ValueError(f"schema {result.schema!r}, expected {SCHEMA!r}")
    return result
