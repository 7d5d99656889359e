"""Pure. The workers' plain counts as Prometheus text, through prometheus_client's exposition only.

Workers count with plain ints and know no metric library; names, units and help are given here. Every series
carries a `worker` label: summed over workers, a restart of one would look like a reset of all.
Read next: `reports.py`, for what comes in; https://prometheus.io/docs/practices/naming/, for the names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf, isinf

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from mrproxy.control.reports import (
    STATES,
    HistogramReport,
    PublisherReport,
    Silent,
    StorageReport,
    WorkerReport,
    backend_state,
)
from mrproxy.control.status import Scene

BREAKER_STATES = ("closed", "half_open", "open")

HELP = {
    "queue_wait_seconds": "Time a request waited for its grant.",
    "ttft_seconds": "Time from a request's arrival to the first byte of its answer.",
    "inter_token_seconds": "Gap between two writes of one stream to its client.",
    "duration_seconds": "Time from a request's arrival to the end of its answer.",
    "connections_total": "Client connections accepted.",
    "prompt_tokens_total": "Prompt tokens of settled requests.",
    "completion_tokens_total": "Completion tokens of settled requests.",
    "retries_total": "Attempts after the first one.",
    "client_departures_total": "Clients that left before their answer was complete.",
    "bytes_in_total": "Bytes of request bodies received from clients.",
    "bytes_out_total": "Bytes of answers sent to clients.",
    "journal_records_total": "Records appended to the journal.",
    "journal_lost_total": "Records that the disk did not take.",
    "journal_bytes_total": "Bytes appended to the journal.",
    "captures_total": "Requests whose bodies were captured.",
    "captures_lost_total": "Captures that the disk did not take.",
    "spooled_total": "Stored responses and items of conversations on their way to the database.",
    "spooled_lost_total": "Those that the disk did not take: they are in memory only.",
    "in_flight": "Requests that hold a slot of a backend.",
    "waiting": "Requests that wait for a grant.",
    "open_connections": "Client connections open.",
    "event_loop_lag_seconds": "How late the worker's event loop wakes its tasks.",
    "open_relays": "Streams being relayed.",
}

# OpenMetrics forbids a gauge `x` beside a counter `x_total`.
GAUGE_NAMES = {"connections": "open_connections"}


class SceneCollector(Collector):
    """One scrape's worth of metrics; built for it and thrown away."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def collect(self) -> Iterator[Metric]:
        """Families in a fixed order, empty ones left out."""
        reports = [answer for answer in self._scene.answers if isinstance(answer, WorkerReport)]
        yield from _control_families(self._scene)
        yield _requests(reports)
        yield _labelled("mrproxy_refused", "Requests refused.", "code", [(r.worker, r.refused) for r in reports])
        shadow = [(report.worker, report.limit_shadow) for report in reports]
        yield _labelled("mrproxy_limit_shadow", "Requests over a limit that is not enforced.", "code", shadow)
        usage = [(report.worker, report.usage_states) for report in reports]
        yield _labelled("mrproxy_usage", "Settled requests by how well their tokens are known.", "state", usage)
        yield from _counters(reports)
        yield from _histograms(reports)
        yield from _gauges(reports)
        yield from _backends(reports)


def render_metrics(scene: Scene, accept: str) -> tuple[bytes, str]:
    """(body, content type): Prometheus text, or OpenMetrics where `accept` asks for it."""
    registry = CollectorRegistry()
    registry.register(SceneCollector(scene))
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it reads versions as numbers (prometheus_client 0.2x), and anything may be sent
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


def _control_families(scene: Scene) -> Iterator[Metric]:
    build = InfoMetricFamily("mrproxy_build", "The version that runs.")
    build.add_metric([], {"version": scene.version})
    yield build
    yield GaugeMetricFamily("mrproxy_uptime_seconds", "Age of the control plane.", scene.uptime_seconds)
    yield GaugeMetricFamily("mrproxy_journal_lag_bytes", "Journal not yet read.", scene.lag.bytes)
    yield GaugeMetricFamily(
        "mrproxy_journal_lag_seconds", "Time since the journal was read to its end.", scene.lag.seconds
    )
    yield CounterMetricFamily("mrproxy_journal_records_read", "Journal records read.", scene.records_read)
    if scene.storage is not None:
        yield from _storage(scene.storage)
    if scene.publisher is not None:
        yield from _publisher(scene.publisher)
    up = GaugeMetricFamily("mrproxy_worker_up", "Whether the worker answers on its socket.", labels=["worker"])
    for answer in scene.answers:
        up.add_metric([answer.worker], 0 if isinstance(answer, Silent) else 1)
    yield up


def _storage(storage: StorageReport) -> Iterator[Metric]:
    yield GaugeMetricFamily("mrproxy_database_up", "Whether the database took the last batch.", not storage.problem)
    yield CounterMetricFamily("mrproxy_records_stored", "Records taken over into the database.", storage.records)
    yield GaugeMetricFamily("mrproxy_storage_lag_bytes", "Journal not yet in the database.", storage.lag_bytes)
    yield GaugeMetricFamily("mrproxy_storage_lag_records", "The same in records, about.", storage.lag_records)
    yield GaugeMetricFamily(
        "mrproxy_storage_lag_seconds", "Time since the database had all of the journal.", storage.lag_seconds
    )
    yield CounterMetricFamily(
        "mrproxy_journal_torn_segments", "Segments that end in half a record, as after a kill.", storage.torn_segments
    )
    yield CounterMetricFamily(
        "mrproxy_journal_damaged_records", "Records that could not be read.", storage.damaged_records
    )


def _publisher(publisher: PublisherReport) -> Iterator[Metric]:
    yield GaugeMetricFamily("mrproxy_publisher_up", "Whether changes come into force.", not publisher.problem)
    yield CounterMetricFamily(
        "mrproxy_changes_published", "The database's changes that are in force.", publisher.changes
    )
    yield GaugeMetricFamily(
        "mrproxy_published_generation", "Generation of the snapshot published last.", publisher.generation
    )
    yield GaugeMetricFamily(
        "mrproxy_published_timestamp_seconds", "When that was; 0: not since the start.", publisher.published_utc
    )
    yield GaugeMetricFamily(
        "mrproxy_backend_keys_unreadable",
        "Backends whose API keys cannot be decrypted.",
        len(publisher.unreadable_backends),
    )
    yield GaugeMetricFamily(
        "mrproxy_audit_log_whole", "Whether the audit log goes on from where it was.", publisher.is_audit_log_whole
    )


def _requests(reports: Sequence[WorkerReport]) -> Metric:
    family = CounterMetricFamily(
        "mrproxy_requests", "Finished requests.", labels=["worker", "dialect", "model", "backend", "status"]
    )
    for report in reports:
        for dialect, model, backend, status, count in report.requests:
            family.add_metric([report.worker, dialect, model, backend, str(status)], count)
    return family


def _labelled(
    name: str, documentation: str, label: str, tables: Iterable[tuple[str, Mapping[str, int]]]
) -> CounterMetricFamily:
    """One counter per key of each worker's table."""
    family = CounterMetricFamily(name, documentation, labels=["worker", label])
    for worker, table in tables:
        for key, count in table.items():
            family.add_metric([worker, key], count)
    return family


def _counters(reports: Sequence[WorkerReport]) -> Iterator[Metric]:
    for name in _names(report.counters for report in reports):
        family = CounterMetricFamily(f"mrproxy_{name}", _help(name), labels=["worker"])
        for report in reports:
            if name in report.counters:
                family.add_metric([report.worker], report.counters[name])
        yield family


def _histograms(reports: Sequence[WorkerReport]) -> Iterator[Metric]:
    for name in _names(report.histograms for report in reports):
        family = HistogramMetricFamily(f"mrproxy_{name}", _help(name), labels=["worker"])
        for report in reports:
            if name in report.histograms:
                histogram = report.histograms[name]
                family.add_metric([report.worker], cumulate(histogram), histogram.sum)
        yield family


def cumulate(histogram: HistogramReport) -> list[tuple[str, float]]:
    """Counts per bucket become counts up to each bound, the last one `+Inf`: what Prometheus calls a histogram."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*histogram.bounds, inf), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if isinf(bound) else repr(bound), total))
    return buckets


def _gauges(reports: Sequence[WorkerReport]) -> Iterator[Metric]:
    for name in _names(report.gauges for report in reports):
        shown = GAUGE_NAMES.get(name, name)
        family = GaugeMetricFamily(f"mrproxy_{shown}", _help(shown), labels=["worker"])
        for report in reports:
            if name in report.gauges:
                family.add_metric([report.worker], report.gauges[name])
        yield family
    generation = GaugeMetricFamily(
        "mrproxy_snapshot_generation", "The snapshot a worker serves from.", labels=["worker"]
    )
    loaded = GaugeMetricFamily("mrproxy_snapshot_loaded", "Whether a worker has a snapshot.", labels=["worker"])
    for report in reports:
        generation.add_metric([report.worker], report.snapshot.generation)
        loaded.add_metric([report.worker], report.snapshot.loaded)
    yield generation
    yield loaded


def _backends(reports: Sequence[WorkerReport]) -> Iterator[Metric]:
    labels = ["worker", "backend"]
    in_flight = GaugeMetricFamily("mrproxy_backend_in_flight", "Slots in use.", labels=labels)
    slots = GaugeMetricFamily("mrproxy_backend_slots", "Slots there are (max_concurrent).", labels=labels)
    ttft = GaugeMetricFamily("mrproxy_backend_ttft_seconds", "Peak-EWMA of time to first token.", labels=labels)
    idle = GaugeMetricFamily("mrproxy_backend_idle_connections", "Connections kept for reuse.", labels=labels)
    state = GaugeMetricFamily("mrproxy_backend_state", "1 for the state it is in.", labels=[*labels, "state"])
    breaker = GaugeMetricFamily(
        "mrproxy_backend_breaker_state", "1 for the breaker's state.", labels=[*labels, "state"]
    )
    for report in reports:
        for backend in report.backends:
            key = [report.worker, backend.name]
            in_flight.add_metric(key, backend.in_flight)
            slots.add_metric(key, backend.max_concurrent)
            idle.add_metric(key, backend.idle_connections)
            if backend.ttft_seconds:
                ttft.add_metric(key, backend.ttft_seconds)
            _add_one_hot(state, key, STATES, backend_state(backend))
            _add_one_hot(breaker, key, BREAKER_STATES, backend.breaker)
    yield from (in_flight, slots, ttft, idle, state, breaker)


def _add_one_hot(family: GaugeMetricFamily, key: list[str], states: tuple[str, ...], current: str) -> None:
    for state in states:
        family.add_metric([*key, state], state == current)


def _names(tables: Iterable[Iterable[str]]) -> list[str]:
    return sorted({name for table in tables for name in table})


def _help(name: str) -> str:
    return HELP.get(name, name.replace("_", " "))
