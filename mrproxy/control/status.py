"""Pure. The JSON of `/status`: what an operator asks first, summed over the workers. No secrets.

Everything is copied field by field, so nothing that a worker may report later appears here by accident.
Read next: `reports.py`, for what a worker says.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypedDict
from urllib.parse import urlsplit, urlunsplit

from mrproxy.control.reports import (
    BackendReport,
    JournalLag,
    PublisherReport,
    Silent,
    StorageReport,
    WorkerReport,
    backend_state,
    best_state,
    is_routable,
    losses_of,
    reasons_not_ready,
    warnings_of,
    warnings_of_publisher,
)

SERVICE = "mrproxy"


class BackendStatus(TypedDict):
    """`workers` says who sees which state, for the day they differ."""

    name: str
    kind: str
    url: str
    state: str
    workers: dict[str, str]
    in_flight: int
    max_concurrent: int
    models: list[str]
    resident: list[str]
    ttft_seconds: float | None
    last_probe_error: str | None
    version: str | None


class ModelStatus(TypedDict):
    """One served model and the backends that could answer for it now."""

    name: str
    backends: list[str]
    routable: bool


class WorkerStatus(TypedDict):
    """One worker; `error` where it gave no answer."""

    name: str
    error: str | None
    snapshot_generation: int | None
    snapshot_loaded: bool
    in_flight: int
    waiting: int
    connections: int


class JournalStatus(TypedDict):
    """How far behind the reader of the journal is."""

    lag_bytes: int
    lag_seconds: float


class StorageStatus(TypedDict):
    """How far the table of records is behind the journal; `problem` is a word."""

    lag_bytes: int
    lag_records: int
    lag_seconds: float
    problem: str | None


class PublisherStatus(TypedDict):
    """What of the administration is in force, since when, and what is wrong; `problem` is a word."""

    problem: str | None
    generation: int
    changes: int
    published_utc: str | None
    unreadable_backends: list[str]
    is_audit_log_whole: bool


class QueueStatus(TypedDict):
    """As MindRouter counts: `total` is who waits and who is served. The mean is since the workers began."""

    total: int
    waiting: int
    running: int
    average_wait_seconds: float


class Status(TypedDict):
    """The whole answer of `/status` and of each message on `/status/live`. `warnings` make nothing unready.

    `service`, `timestamp` and `queue` are there for programs that were written for MindRouter's.
    """

    service: str
    version: str
    timestamp: str
    uptime_seconds: float
    ready: bool
    reasons: list[str]
    warnings: list[str]
    in_flight: int
    waiting: int
    connections: int
    backends: list[BackendStatus]
    models: list[ModelStatus]
    workers: list[WorkerStatus]
    queue: QueueStatus
    journal: JournalStatus
    storage: StorageStatus | None
    publisher: PublisherStatus | None


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything the control plane knows at one moment; the views are functions of it.

    `storage` and `publisher`: where there is a database.
    """

    version: str
    uptime_seconds: float
    answers: tuple[WorkerReport | Silent, ...]
    lag: JournalLag
    records_read: int
    storage: StorageReport | None = None
    now_utc: float = 0.0
    publisher: PublisherReport | None = None


def summarize(scene: Scene) -> Status:
    """The status of the whole gateway."""
    reports = [answer for answer in scene.answers if isinstance(answer, WorkerReport)]
    backends = merge_backends(reports)
    reasons = reasons_not_ready(scene.answers, scene.lag)
    return {
        "service": SERVICE,
        "version": scene.version,
        "timestamp": moment(scene.now_utc),
        "uptime_seconds": round(scene.uptime_seconds, 1),
        "ready": not reasons,
        "reasons": reasons,
        "warnings": [
            *warnings_of(scene.storage),
            *warnings_of_publisher(scene.publisher),
            *losses_of(scene.answers),
        ],
        "in_flight": _sum_gauge(reports, "in_flight"),
        "waiting": _sum_gauge(reports, "waiting"),
        "connections": _sum_gauge(reports, "connections"),
        "backends": backends,
        "models": list_models(backends),
        "workers": [worker_status(answer) for answer in scene.answers],
        "queue": queue_status(reports),
        "journal": {"lag_bytes": scene.lag.bytes, "lag_seconds": round(scene.lag.seconds, 3)},
        "storage": storage_status(scene.storage) if scene.storage is not None else None,
        "publisher": publisher_status(scene.publisher) if scene.publisher is not None else None,
    }


def queue_status(reports: Sequence[WorkerReport]) -> QueueStatus:
    waiting, running = _sum_gauge(reports, "waiting"), _sum_gauge(reports, "in_flight")
    waits = [found for report in reports if (found := report.histograms.get("queue_wait_seconds")) is not None]
    count = sum(sum(each.counts) for each in waits)
    mean = sum(each.sum for each in waits) / count if count else 0.0
    return {
        "total": waiting + running,
        "waiting": waiting,
        "running": running,
        "average_wait_seconds": round(mean, 6),
    }


def storage_status(storage: StorageReport) -> StorageStatus:
    return {
        "lag_bytes": storage.lag_bytes,
        "lag_records": storage.lag_records,
        "lag_seconds": round(storage.lag_seconds, 3),
        "problem": storage.problem or None,
    }


def publisher_status(publisher: PublisherReport) -> PublisherStatus:
    return {
        "problem": publisher.problem or None,
        "generation": publisher.generation,
        "changes": publisher.changes,
        "published_utc": moment(publisher.published_utc) if publisher.published_utc else None,
        "unreadable_backends": list(publisher.unreadable_backends),
        "is_audit_log_whole": publisher.is_audit_log_whole,
    }


def moment(utc: float) -> str:
    return datetime.fromtimestamp(round(utc, 3), UTC).isoformat()


def worker_status(answer: WorkerReport | Silent) -> WorkerStatus:
    """A silent worker has a line too: that it is silent is the news."""
    if isinstance(answer, Silent):
        return {
            "name": answer.worker,
            "error": answer.reason,
            "snapshot_generation": None,
            "snapshot_loaded": False,
            "in_flight": 0,
            "waiting": 0,
            "connections": 0,
        }
    return {
        "name": answer.worker,
        "error": None,
        "snapshot_generation": answer.snapshot.generation,
        "snapshot_loaded": answer.snapshot.loaded,
        "in_flight": int(answer.gauges.get("in_flight", 0)),
        "waiting": int(answer.gauges.get("waiting", 0)),
        "connections": int(answer.gauges.get("connections", 0)),
    }


def merge_backends(reports: Sequence[WorkerReport]) -> list[BackendStatus]:
    """One line per backend, in the order of the configuration, whichever worker names it first."""
    seen: dict[str, list[tuple[str, BackendReport]]] = {}
    for report in reports:
        for backend in report.backends:
            seen.setdefault(backend.name, []).append((report.worker, backend))
    return [_merge_backend(views) for views in seen.values()]


def _merge_backend(views: Sequence[tuple[str, BackendReport]]) -> BackendStatus:
    states = {worker: backend_state(backend) for worker, backend in views}
    backends = [backend for _, backend in views]
    first = backends[0]
    known_ttfts = [backend.ttft_seconds for backend in backends if backend.ttft_seconds]
    return {
        "name": first.name,
        "kind": first.kind,
        "url": without_userinfo(first.url),
        "state": best_state(states.values()),
        "workers": states,
        "in_flight": sum(backend.in_flight for backend in backends),
        "max_concurrent": max(backend.max_concurrent for backend in backends),
        "models": _union(backend.models for backend in backends),
        "resident": _union(backend.resident for backend in backends),
        "ttft_seconds": max(known_ttfts, default=None),
        "last_probe_error": next((backend.last_probe_error for backend in backends if backend.last_probe_error), None),
        "version": next((backend.version for backend in backends if backend.version), None),
    }


def list_models(backends: Sequence[BackendStatus]) -> list[ModelStatus]:
    """A model on several backends is listed once."""
    serving: dict[str, list[BackendStatus]] = {}
    for backend in backends:
        for model in backend["models"]:
            serving.setdefault(model, []).append(backend)
    return [
        {
            "name": model,
            "backends": [backend["name"] for backend in holders],
            "routable": any(is_routable(backend["state"]) for backend in holders),
        }
        for model, holders in sorted(serving.items())
    ]


def without_userinfo(url: str) -> str:
    """`http://user:secret@host:1/` → `http://host:1/`: people put passwords there."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def _union(lists: Iterable[Iterable[str]]) -> list[str]:
    return sorted({name for names in lists for name in names})


def _sum_gauge(reports: Sequence[WorkerReport], name: str) -> int:
    return int(sum(report.gauges.get(name, 0) for report in reports))
