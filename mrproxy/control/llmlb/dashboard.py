"""Shell. `/dashboard/{nodes,runtimes,endpoints,stats,request-history,overview,metrics}`, and `/metrics/summary`.

What goes on is asked of the workers, what was is summed up in the database.
Read next: `dashboard_shapes.py`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from mrproxy.control.admin.shapes import at
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.llmlb.dashboard_shapes import (
    MINUTE_SECONDS,
    NOTHING,
    DashboardEndpoint,
    DashboardNode,
    DashboardStats,
    HealthMetrics,
    Minute,
    Overview,
    endpoint_shown,
    metrics_of,
    minutes_of,
    node_shown,
    stats_of,
    tps_of,
)
from mrproxy.control.llmlb.endpoint_shapes import Known
from mrproxy.control.llmlb.knowing import all_known, find_known
from mrproxy.control.llmlb.manners import theirs
from mrproxy.control.permissions import Permission
from mrproxy.control.status import summarize
from mrproxy.storage.records import RecordFilter
from mrproxy.storage.usage_reports import SumCursor, UsageFilter, UsageSum, sum_all, sum_over_time, sum_usage

HISTORY_MINUTES = 60
METRICS_MINUTES = 360


@dataclass(frozen=True, slots=True)
class Figures:
    """All endpoints, and what each was used for since sums are kept."""

    known: list[Known]
    used: dict[str, UsageSum]

    def used_of(self, known: Known) -> UsageSum:
        return NOTHING if known.is_overridden else self.used.get(known.name, NOTHING)

    def nodes(self, now_utc: float) -> list[DashboardNode]:
        return [node_shown(each, self.used_of(each), now_utc) for each in self.known]

    def endpoints(self, now_utc: float) -> list[DashboardEndpoint]:
        return [endpoint_shown(each, self.used_of(each), now_utc) for each in self.known]


async def list_nodes(call: Call[None, None]) -> Answer:
    """Endpoints, as nodes."""
    return Answer(value=(await read_figures(call)).nodes(call.now_utc))


async def list_endpoints(call: Call[None, None]) -> Answer:
    """Endpoints, with how often each was asked."""
    return Answer(value=(await read_figures(call)).endpoints(call.now_utc))


async def show_stats(call: Call[None, None]) -> Answer:
    """The whole gateway in numbers."""
    return Answer(value=await read_stats(call, await all_known(call)))


async def list_minutes(call: Call[None, None]) -> Answer:
    """Requests in each of the last sixty minutes."""
    return Answer(value=await read_minutes(call))


async def show_overview(call: Call[None, None]) -> Answer:
    """All of the dashboard at once."""
    begun_at = trio.current_time()
    figures = await read_figures(call)
    nodes = figures.nodes(call.now_utc)
    overview = Overview(
        endpoints=figures.endpoints(call.now_utc),
        nodes=nodes,
        runtimes=nodes,
        stats=await read_stats(call, figures.known),
        history=await read_minutes(call),
        endpoint_tps=[tps_of(each, figures.used_of(each)) for each in figures.known],
        generated_at=at(call.now_utc),
        generation_time_ms=round((trio.current_time() - begun_at) * 1000, 3),
    )
    return Answer(value=overview)


async def list_metrics(call: Call[None, None]) -> Answer:
    """What an endpoint was asked in each minute of the last six hours."""
    known = await find_known(call, call.path["id"])
    since_utc = this_minute(call.now_utc) - (METRICS_MINUTES - 1) * MINUTE_SECONDS
    wanted = RecordFilter(since_utc=since_utc, backend=known.name)
    sums = await call.read(sum_over_time, MINUTE_SECONDS, wanted)
    return Answer(value=[metrics_of(known, minute, used) for minute, used in sums[-METRICS_MINUTES:]])


async def read_figures(call: Call[Any, Any]) -> Figures:
    known = await all_known(call)
    used: dict[str, UsageSum] = {}
    behind: SumCursor | None = None
    while True:
        page = await call.read(sum_usage, "backend", UsageFilter(), behind)
        used |= {each.name: each for each in page.sums}
        behind = page.following
        if behind is None:
            return Figures(known, used)


async def read_stats(call: Call[Any, Any], known: list[Known]) -> DashboardStats:
    total = await call.read(sum_all, UsageFilter())
    return stats_of(known, total, summarize(await call.plane.observe()), call.now_utc)


async def read_minutes(call: Call[Any, Any]) -> list[Minute]:
    first_utc = this_minute(call.now_utc) - (HISTORY_MINUTES - 1) * MINUTE_SECONDS
    sums = await call.read(sum_over_time, MINUTE_SECONDS, RecordFilter(since_utc=first_utc))
    return minutes_of(sums, first_utc, HISTORY_MINUTES)


def this_minute(now_utc: float) -> float:
    """When it began."""
    return now_utc // MINUTE_SECONDS * MINUTE_SECONDS


P = Permission
TAG = "llmlb: dashboard"
Handler = Callable[[Call[None, None]], Awaitable[Answer]]


def row(path: str, permission: Permission, handler: Handler, answer: Any) -> Endpoint:
    return Endpoint("GET", path, permission, theirs(handler), answer=answer, tag=TAG)


ENDPOINTS = (
    row("/dashboard/nodes", P.BACKENDS_READ, list_nodes, list[DashboardNode]),
    row("/dashboard/runtimes", P.BACKENDS_READ, list_nodes, list[DashboardNode]),
    row("/dashboard/endpoints", P.BACKENDS_READ, list_endpoints, list[DashboardEndpoint]),
    row("/dashboard/stats", P.USAGE_READ, show_stats, DashboardStats),
    row("/metrics/summary", P.USAGE_READ, show_stats, DashboardStats),
    row("/dashboard/request-history", P.USAGE_READ, list_minutes, list[Minute]),
    row("/dashboard/overview", P.USAGE_READ, show_overview, Overview),
    row("/dashboard/metrics/{id}", P.USAGE_READ, list_metrics, list[HealthMetrics]),
)
