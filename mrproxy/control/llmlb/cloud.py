"""Shell. `/metrics/cloud`: requests to cloud providers and how long they took, as Prometheus' text.

    cloud_requests_total{provider,status}              status: the one that the client got
    cloud_request_latency_seconds{provider}            until the first byte of a stream, or the end of another answer

Counted since the control process began, out of the records: those that came since the last question are added. So
however often somebody asks, each record is read once, and asking more than once a second reads nothing.
Read next: `providers.py`; `mrproxy/storage/latencies.py`.
"""

from collections import Counter
from typing import Any

import trio
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import CollectorRegistry

from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.llmlb.knowing import all_known
from mrproxy.control.llmlb.manners import theirs
from mrproxy.control.llmlb.providers import provider_of
from mrproxy.control.metrics import cumulate
from mrproxy.control.permissions import Permission
from mrproxy.control.reports import HistogramReport
from mrproxy.storage.latencies import Latencies, sum_latencies

# The bounds that client libraries of Prometheus begin with, as llmlb has them.
BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FRESH_SECONDS = 1.0


class Cloud:
    """Of one control process. `endpoint` makes the rows of its table."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, float] = {}
        self._last_number: int | None = None
        self._fresh_until = float("-inf")
        self._turn = trio.Lock()  # two readers at once would count the same records twice

    def endpoint(self, path: str, permission: Permission) -> Endpoint:
        return Endpoint(
            "GET", path, permission, theirs(self.show), tag="llmlb: metrics", content_type=CONTENT_TYPE_PLAIN_0_0_4
        )

    async def show(self, call: Call[None, None]) -> Answer:
        """Requests to cloud providers, as Prometheus' text."""
        async with self._turn:
            if trio.current_time() >= self._fresh_until:
                await self._read(call)
                self._fresh_until = trio.current_time() + FRESH_SECONDS
        registry = CollectorRegistry()
        registry.register(self)
        return Answer(value=generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    def collect(self) -> list[Metric]:
        """For `CollectorRegistry`."""
        requests = CounterMetricFamily("cloud_requests", "Requests to cloud providers.", labels=["provider", "status"])
        for (provider, status), count in sorted(self._requests.items()):
            requests.add_metric([provider, str(status)], count)
        latency = HistogramMetricFamily(
            "cloud_request_latency_seconds", "Latency of requests to cloud providers.", labels=["provider"]
        )
        for provider, seconds in sorted(self._seconds.items()):
            counts = tuple(self._buckets[provider, index] for index in range(len(BOUNDS_SECONDS) + 1))
            latency.add_metric([provider], cumulate(HistogramReport(BOUNDS_SECONDS, counts, seconds)), seconds)
        return [requests, latency]

    async def _read(self, call: Call[Any, Any]) -> None:
        """Raises Problem and DatabaseError, and has then counted nothing."""
        providers: dict[str, str] = {}
        for each in reversed(await all_known(call)):  # of one name, the configured one is the one that answers
            kind = each.live["kind"] if each.live is not None else each.kind
            provider = provider_of(kind, each.url, each.name)
            if provider is not None:
                providers[each.name] = provider
        since_utc = call.now_utc - (await call.plane.observe()).uptime_seconds
        page = await call.read(sum_latencies, tuple(providers), BOUNDS_SECONDS, since_utc, self._last_number)
        self._last_number = page.last_number
        for found in page.sums:
            self._add(providers[found.backend], found)

    def _add(self, provider: str, found: Latencies) -> None:
        self._requests[provider, found.status] += found.requests
        self._buckets[provider, found.bucket] += found.requests
        self._seconds[provider] = self._seconds.get(provider, 0.0) + found.seconds
