"""Pure. What a worker says about itself, typed, and what follows from it: backend states and readiness.

The answer of `GET /counters` on a worker's socket is decoded once, here; everything in this package that
speaks of workers speaks of these values. Unknown fields are ignored, so that a newer worker can be read.
A backend has one state, derived in one place (`backend_state`) for `/status`, `/metrics` and `/readyz`.
Read next: `workers.py`, which fetches them; `metrics.py` and `status.py`, which show them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec


class HistogramReport(msgspec.Struct, frozen=True):
    """Counts per bucket (not cumulative), the last one for everything above the last bound."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds) + 1:
            raise ValueError("a histogram has one count more than bounds")


class BackendReport(msgspec.Struct, frozen=True):
    """One backend as one worker sees it."""

    name: str
    kind: str
    url: str
    healthy: bool
    draining: bool
    breaker: str
    in_flight: int
    max_concurrent: int
    models: tuple[str, ...] = ()
    resident: tuple[str, ...] = ()
    ttft_seconds: float | None = None
    idle_connections: int = 0
    last_probe_error: str | None = None
    version: str = ""


class SnapshotReport(msgspec.Struct, frozen=True):
    """Which snapshot a worker serves from."""

    generation: int = 0
    loaded: bool = False


class WorkerReport(msgspec.Struct, frozen=True):
    """All that one worker counts. `requests` rows are [dialect, model, backend, status, count]."""

    worker: str
    requests: tuple[tuple[str, str, str, int, int], ...] = ()
    histograms: dict[str, HistogramReport] = {}
    counters: dict[str, int] = {}
    refused: dict[str, int] = {}
    limit_shadow: dict[str, int] = {}
    usage_states: dict[str, int] = {}
    gauges: dict[str, float] = {}
    backends: tuple[BackendReport, ...] = ()
    snapshot: SnapshotReport = SnapshotReport()


@dataclass(frozen=True, slots=True)
class Silent:
    """A worker that has a socket but gave no usable answer in time; `gone` if nobody even listens there."""

    worker: str
    reason: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class JournalLag:
    """How far behind the workers the reader of the journal is."""

    bytes: int
    seconds: float


class StorageReport(Protocol):
    """How far the table of records is behind the journal; `mrproxy.storage.ingest.IngestStatistics` is one.

    `lag_records` is an estimate; `problem` is empty, unavailable, full, corrupt or failing.
    """

    @property
    def records(self) -> int: ...
    @property
    def lag_bytes(self) -> int: ...
    @property
    def lag_records(self) -> int: ...
    @property
    def lag_seconds(self) -> float: ...
    @property
    def torn_segments(self) -> int: ...
    @property
    def damaged_records(self) -> int: ...
    @property
    def problem(self) -> str: ...


class PublisherReport(Protocol):
    """Whether what is administered comes into force; `mrproxy.control.publisher.PublisherStatistics` is one.

    `changes` is the database's counter that the snapshot of `generation` stands for. `unreadable_backends` are those
    whose keys cannot be decrypted: they are asked without. `problem` is as in a StorageReport.
    """

    @property
    def problem(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def changes(self) -> int: ...
    @property
    def published_utc(self) -> float: ...
    @property
    def unreadable_backends(self) -> tuple[str, ...]: ...
    @property
    def is_audit_log_whole(self) -> bool: ...


# Ten seconds without reaching the end of the journal is an order of magnitude above one poll: it means that
# records come faster than they are read, or that the disk does not answer.
MAX_JOURNAL_LAG_SECONDS = 10.0

STATES = ("routable", "half_open", "open", "down", "draining")  # best first


def decode_report(body: bytes) -> WorkerReport:
    """Raises `msgspec.DecodeError` (also for wrong types)."""
    return msgspec.json.decode(body, type=WorkerReport)


def backend_state(backend: BackendReport) -> str:
    """One word for what a backend is good for. What an operator decided comes before what was observed."""
    if backend.draining:
        return "draining"
    if not backend.healthy:
        return "down"
    if backend.breaker == "closed":
        return "routable"
    return "half_open" if backend.breaker == "half_open" else "open"


def best_state(states: Iterable[str]) -> str:
    """Several workers may see one backend differently; what one of them can use, is usable."""
    return min(states, key=STATES.index)


def is_routable(state: str) -> bool:
    """Half-open counts: the breaker lets its trial requests through."""
    return state in {"routable", "half_open"}


# What a worker counts of what its disk did not take. It says so until it ends: what is lost stays lost.
LOSSES = {"journal_lost_total": "records", "captures_lost_total": "captured bodies"}


def losses_of(answers: Sequence[WorkerReport | Silent]) -> list[str]:
    """What is lost for good since each worker began."""
    reports = [answer for answer in answers if isinstance(answer, WorkerReport)]
    lost = {what: sum(report.counters.get(name, 0) for report in reports) for name, what in LOSSES.items()}
    return [f"{count} {what} are lost: the disk did not take them" for what, count in lost.items() if count]


def warnings_of(storage: StorageReport | None) -> list[str]:
    """What somebody should look at although requests are served: records wait in the journal, and none is lost."""
    if storage is None:
        return ["there is no database"]
    warnings = [f"the database is {storage.problem}"] if storage.problem else []
    if storage.lag_seconds > MAX_JOURNAL_LAG_SECONDS:
        behind = f"{storage.lag_seconds:.0f} s and about {storage.lag_records} records"
        warnings.append(f"the table of records is {behind} behind the journal")
    return warnings


def warnings_of_publisher(publisher: PublisherReport | None) -> list[str]:
    """What is administered and is not, or not as it was meant, in force; and a log that somebody has changed."""
    if publisher is None:
        return []
    warnings = []
    if publisher.problem:
        warnings.append(f"changes are not published: the database is {publisher.problem}")
    if publisher.unreadable_backends:
        names = ", ".join(publisher.unreadable_backends)
        warnings.append(f"the API keys of backends cannot be decrypted, set them again: {names}")
    if not publisher.is_audit_log_whole:
        warnings.append("the audit log is not what it was: see `mrproxy audit verify`")
    return warnings


def reasons_not_ready(answers: Sequence[WorkerReport | Silent], lag: JournalLag) -> list[str]:
    """Empty when the gateway can serve: every worker has its snapshot, and some backend is routable.

    The socket of a worker that died (the supervisor is about to restart it) does not make the others unready.
    """
    if all(isinstance(answer, Silent) and answer.gone for answer in answers):
        return ["no worker is running"]
    silent = [answer for answer in answers if isinstance(answer, Silent) and not answer.gone]
    reasons = [f"worker {answer.worker}: {answer.reason}" for answer in silent]
    reports = [answer for answer in answers if isinstance(answer, WorkerReport)]
    reasons += [f"worker {report.worker}: no snapshot loaded" for report in reports if not report.snapshot.loaded]
    backends = [backend for report in reports for backend in report.backends]
    if not reports:
        pass  # the silence above is the reason
    elif not backends:
        reasons.append("no backend is known")
    elif not any(is_routable(backend_state(backend)) for backend in backends):
        names = ", ".join(sorted({f"{backend.name} {backend_state(backend)}" for backend in backends}))
        reasons.append(f"no backend is routable ({names})")
    if lag.seconds > MAX_JOURNAL_LAG_SECONDS:
        reasons.append(f"the journal is read {lag.seconds:.0f} s and {lag.bytes} bytes behind")
    return reasons
