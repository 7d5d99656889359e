"""Pure. What llmlb's dashboard shows: endpoints, the same as nodes, the whole gateway, the last hour.

Its versions call one thing a node, a runtime and an endpoint; what has such a name in a field has all three. Null is
what nobody measures: a gateway sees engines, not the machines that they run on.
Read next: `dashboard.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from mrproxy.control.admin.shapes import at, moment
from mrproxy.control.llmlb.endpoint_shapes import PENDING, EndpointShown, Known, fields_shown, status_of
from mrproxy.control.llmlb.providers import has_key, provider_of
from mrproxy.control.status import Status
from mrproxy.storage.usage_reports import UsageSum

MINUTE_SECONDS = 60
WORDS = ("nodes", "runtimes", "endpoints")
NOTHING = UsageSum("", 0, 0, 0, 0, 0, 0, 0, 0.0)


class DashboardEndpoint(EndpointShown, frozen=True, kw_only=True):
    total_requests: int
    successful_requests: int
    failed_requests: int


class DashboardNode(msgspec.Struct, frozen=True, kw_only=True):
    """`loaded_models` are those in the engine's memory, or all where it does not say."""

    id: str
    machine_name: str
    ip_address: str
    runtime_version: str | None
    runtime_port: int | None
    status: str
    registered_at: datetime | None
    last_seen: datetime | None
    uptime_seconds: int | None = None
    loaded_models: list[str]
    cpu_usage: float | None = None
    memory_usage: float | None = None
    gpu_usage: float | None = None
    gpu_memory_usage: float | None = None
    gpu_memory_total_mb: int | None
    gpu_memory_used_mb: int | None = None
    gpu_temperature: float | None = None
    gpu_model_name: str | None
    gpu_devices: list[dict[str, str]] = []
    gpu_compute_capability: str | None = None
    gpu_capability_score: int | None = None
    active_requests: int
    total_requests: int
    successful_requests: int
    failed_requests: int
    average_response_time_ms: float | None


class Minute(msgspec.Struct, frozen=True):
    minute: datetime
    success: int
    error: int


class EndpointTps(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of answers per second of requests, over all that is counted."""

    endpoint_id: str
    model_count: int
    aggregate_tps: float | None
    total_output_tokens: int
    total_requests: int


class HealthMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Of one minute in which there were requests."""

    node_id: str
    runtime_id: str
    endpoint_id: str
    timestamp: datetime
    cpu_usage: float | None = None
    memory_usage: float | None = None
    gpu_usage: float | None = None
    active_requests: int | None = None
    total_requests: int
    failed_requests: int
    average_response_time_ms: float | None


class DashboardStats(msgspec.Struct, frozen=True, kw_only=True):
    """`registering_…` is 0: nothing registers by itself. `…_key_present`: there is such a provider, with a key."""

    total_nodes: int
    total_runtimes: int
    total_endpoints: int
    online_nodes: int
    online_runtimes: int
    online_endpoints: int
    pending_nodes: int
    pending_runtimes: int
    pending_endpoints: int
    registering_nodes: int = 0
    registering_runtimes: int = 0
    registering_endpoints: int = 0
    offline_nodes: int
    offline_runtimes: int
    offline_endpoints: int
    total_requests: int
    successful_requests: int
    failed_requests: int
    total_active_requests: int
    queued_requests: int
    average_response_time_ms: float | None
    average_gpu_usage: float | None = None
    average_gpu_memory_usage: float | None = None
    last_metrics_updated_at: datetime
    last_registered_at: datetime | None
    last_seen_at: datetime | None
    openai_key_present: bool
    google_key_present: bool
    anthropic_key_present: bool
    total_input_tokens: int
    total_output_tokens: int
    total_tokens: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    endpoints: list[DashboardEndpoint]
    nodes: list[DashboardNode]
    runtimes: list[DashboardNode]
    stats: DashboardStats
    history: list[Minute]
    endpoint_tps: list[EndpointTps]
    generated_at: datetime
    generation_time_ms: float


def endpoint_shown(known: Known, used: UsageSum, now_utc: float) -> DashboardEndpoint:
    return msgspec.convert(fields_shown(known, now_utc) | counts_of(used), DashboardEndpoint)


def node_shown(known: Known, used: UsageSum, now_utc: float) -> DashboardNode:
    row, live = known.row, known.live
    gigabytes = None if row is None else row.gpu_memory_gb
    return DashboardNode(
        id=known.id,
        machine_name=known.name,
        ip_address=known.host,
        runtime_version=None if live is None else live["version"],
        runtime_port=known.port,
        status=status_of(known),
        registered_at=None if row is None else at(row.created_utc),
        last_seen=moment(now_utc) if known.is_online else None,
        loaded_models=[] if live is None else live["resident"] or live["models"],
        gpu_memory_total_mb=None if gigabytes is None else round(gigabytes * 1024),
        gpu_model_name=None if row is None else row.gpu_type,
        active_requests=0 if live is None else live["in_flight"],
        total_requests=used.requests,
        successful_requests=used.requests - used.errors,
        failed_requests=used.errors,
        average_response_time_ms=mean_ms(used),
    )


def tps_of(known: Known, used: UsageSum) -> EndpointTps:
    return EndpointTps(
        endpoint_id=known.id,
        model_count=len(known.models),
        aggregate_tps=round(used.completion_tokens / used.total_seconds, 3) if used.total_seconds else None,
        total_output_tokens=used.completion_tokens,
        total_requests=used.requests,
    )


def stats_of(known: Sequence[Known], total: UsageSum, status: Status, now_utc: float) -> DashboardStats:
    online = sum(each.is_online for each in known)
    pending = sum(status_of(each) == PENDING for each in known)
    counted = {"total": len(known), "online": online, "pending": pending, "offline": len(known) - online - pending}
    registered = [each.row.created_utc for each in known if each.row is not None]
    providers = {provider_of(each.kind, each.url, each.name) for each in known if has_key(each)}
    return DashboardStats(
        **{f"{what}_{word}": count for what, count in counted.items() for word in WORDS},
        **counts_of(total),
        total_active_requests=status["in_flight"],
        queued_requests=status["waiting"],
        average_response_time_ms=mean_ms(total),
        last_metrics_updated_at=at(now_utc),
        last_registered_at=moment(max(registered, default=None)),
        last_seen_at=moment(now_utc) if online else None,
        openai_key_present="openai" in providers,
        google_key_present="google" in providers,
        anthropic_key_present="anthropic" in providers,
        total_input_tokens=total.prompt_tokens,
        total_output_tokens=total.completion_tokens,
        total_tokens=total.total_tokens,
    )


def minutes_of(sums: Iterable[tuple[float, UsageSum]], first_utc: float, count: int) -> list[Minute]:
    """So many minutes from that one on, those without requests as well."""
    by_minute: Mapping[float, UsageSum] = dict(sums)
    minutes = [first_utc + number * MINUTE_SECONDS for number in range(count)]
    found = [(minute, by_minute.get(minute, NOTHING)) for minute in minutes]
    return [Minute(at(minute), used.requests - used.errors, used.errors) for minute, used in found]


def metrics_of(known: Known, minute_utc: float, used: UsageSum) -> HealthMetrics:
    return HealthMetrics(
        node_id=known.id,
        runtime_id=known.id,
        endpoint_id=known.id,
        timestamp=at(minute_utc),
        total_requests=used.requests,
        failed_requests=used.errors,
        average_response_time_ms=mean_ms(used),
    )


def counts_of(used: UsageSum) -> dict[str, int]:
    return {
        "total_requests": used.requests,
        "successful_requests": used.requests - used.errors,
        "failed_requests": used.errors,
    }


def mean_ms(used: UsageSum) -> float | None:
    return round(used.total_seconds * 1000 / used.requests, 3) if used.requests else None
