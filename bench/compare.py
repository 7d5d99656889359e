"""Shell. `bench compare`: the same work through nginx, direct and every target, interleaved, as absolute numbers and
ratios.

Per alternation and workload each target gets its turn, in an order that is rotated, so that drift of the machine
hits all alike. Ratios are paired: a target's number over nginx's of the same alternation. CPU is that of the
proxy's whole process tree over the steady window only: all streams open and flowing at its first edge, all still
open at its last.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench import procfs
from bench.client import Client
from bench.loads import JsonLoad, StreamLoad, Window
from bench.reactor import Reactor
from bench.summary import Spread, percentile, spread_of
from bench.targets import PROXY_CORE, Target, can_pin
from bench.workload import RequestSpec, encode_request, pad_request

SCHEMA = "bench.compare/1"
NGINX = "nginx"
DIRECT = "direct"
RAMP_SECONDS = 1.0
SETTLE_SECONDS = 0.7
JSON_WARM_SECONDS = 0.5
REST_SECONDS = 0.4  # for a proxy to notice that the clients of the last turn have left
QUIET_SHARE = 0.1  # of the proxies' core
QUIET_SECONDS = 30.0  # waited for, in a whole run
JSON_REQUEST_BYTES = 1100
JSON_ANSWER_TOKENS = 13  # about 0.8 KB of JSON
OUTLAST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    model: str
    json_connections: int
    streams: tuple[int, ...]
    seconds: float
    alternations: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one target at one workload."""

    target: str
    workload: str
    alternation: int
    count: int
    per_second: float
    cpu_us: float | None  # per request or token; None when there is no process to look at
    cpu_us_by_process: dict[str, float]
    p50_ms: float
    p99_ms: float
    p999_ms: float
    rss_bytes: int
    load_cpu_share: float  # the generator's, of the core it shares with the mock
    others_share: float  # of the proxies' core, used by anybody else: above a few percent, delays mean little
    errors: int
    first_error: str


@dataclass(slots=True)
class Row:
    """All turns of one target at one workload."""

    target: str
    workload: str
    samples: list[Sample] = field(default_factory=list)

    def spread(self, name: str) -> Spread | None:
        values = [getattr(sample, name) for sample in self.samples]
        return spread_of([value for value in values if value is not None])

    def ratio(self, base: "Row", name: str) -> Spread | None:
        pairs = ((getattr(a, name), getattr(b, name)) for a, b in zip(self.samples, base.samples, strict=False))
        return spread_of([mine / other for mine, other in pairs if mine is not None and other])

    def difference(self, base: "Row", name: str) -> Spread | None:
        pairs = zip(self.samples, base.samples, strict=False)
        return spread_of([getattr(a, name) - getattr(b, name) for a, b in pairs])

    def cpu_by_process(self) -> dict[str, float]:
        """Median CPU of each process that took a noticeable part, the largest first."""
        names = {name for sample in self.samples for name in sample.cpu_us_by_process}
        medians = {name: median(sample.cpu_us_by_process.get(name, 0.0) for sample in self.samples) for name in names}
        ordered = sorted(medians.items(), key=lambda item: -item[1])
        return {name: used for name, used in ordered if used >= 0.05}

    @property
    def errors(self) -> int:
        return sum(sample.errors for sample in self.samples)


def workloads(plan: Plan) -> list[str]:
    names = [f"json x{plan.json_connections}"] if plan.json_connections else []
    return names + [f"stream x{count}" for count in plan.streams]


def run(plan: Plan, targets: list[Target], on_progress: Callable[[str], None]) -> list[Row]:
    rows = {(name, target.name): Row(target.name, name) for name in workloads(plan) for target in targets}
    patience_seconds = QUIET_SECONDS
    for workload, alternation, target in turns(plan, targets):
        on_progress(f"{alternation + 1}/{plan.alternations} {workload} {target.name}")
        patience_seconds -= wait_until_quiet(patience_seconds)
        with target.company():
            rows[workload, target.name].samples.append(take_turn(plan, target, workload, alternation))
    return list(rows.values())


def wait_until_quiet(patience_seconds: float) -> float:
    """Targets that have just been started, or measured, still have something to do on the proxies' core.

    Returns for how long it was not quiet; once that is `patience_seconds` it waits no more, and *others* says so.
    """
    waited_seconds = 0.0
    while True:
        before = procfs.busy_seconds(PROXY_CORE)
        time.sleep(REST_SECONDS)
        is_quiet = procfs.busy_seconds(PROXY_CORE) - before < REST_SECONDS * QUIET_SHARE
        if is_quiet or waited_seconds >= patience_seconds:
            return waited_seconds
        waited_seconds += REST_SECONDS


def turns(plan: Plan, targets: list[Target]) -> Iterator[tuple[str, int, Target]]:
    for alternation in range(plan.alternations):
        for workload in workloads(plan):
            shift = alternation % len(targets)
            for target in targets[shift:] + targets[:shift]:
                yield workload, alternation, target


def take_turn(plan: Plan, target: Target, workload: str, alternation: int) -> Sample:
    reactor = Reactor()
    client = Client(reactor, target.host, target.port)
    kind, _, size = workload.partition(" x")
    # The generator's collector must not show as the proxy's delay.
    gc.collect()
    gc.disable()
    try:
        if kind == "json":
            turn = _json_turn(reactor, client, plan, target, int(size))
        else:
            turn = _stream_turn(reactor, client, plan, target, int(size))
    finally:
        gc.enable()
        client.close()
        reactor.close()
    return _sample(target, workload, alternation, turn)


@dataclass(frozen=True, slots=True)
class Edge:
    """What is read at an edge of the window."""

    usage: procfs.Usage
    own_ns: int  # CPU of the generator
    proxy_core_seconds: float  # how long the proxies' core has been busy, whoever used it

    @classmethod
    def read(cls, pids: tuple[int, ...]) -> "Edge":
        return cls(procfs.sample(pids), time.process_time_ns(), procfs.busy_seconds(PROXY_CORE))


Turn = tuple[Edge, Edge, Window]


def _json_turn(reactor: Reactor, client: Client, plan: Plan, target: Target, connections: int) -> Turn:
    spec = RequestSpec(operation=target.operation, model=plan.model, max_tokens=JSON_ANSWER_TOKENS, key=target.key)
    load = JsonLoad(client, pad_request(spec, JSON_REQUEST_BYTES), connections)
    pids = procfs.list_tree(list(target.pids))
    load.open()
    _run_for(reactor, JSON_WARM_SECONDS)
    return _watch_window(reactor, load, plan, pids)


def _stream_turn(reactor: Reactor, client: Client, plan: Plan, target: Target, streams: int) -> Turn:
    spec = RequestSpec(
        operation=target.operation, model=plan.model, stream=True, max_tokens=OUTLAST_TOKENS, key=target.key
    )
    load = StreamLoad(client, encode_request(spec), streams, reactor, seed=streams)
    pids = procfs.list_tree(list(target.pids))
    load.open(RAMP_SECONDS)
    _run_for(reactor, RAMP_SECONDS + SETTLE_SECONDS)
    return _watch_window(reactor, load, plan, pids)


def _watch_window(reactor: Reactor, load: JsonLoad | StreamLoad, plan: Plan, pids: tuple[int, ...]) -> Turn:
    before = Edge.read(pids)
    load.open_window()
    _run_for(reactor, plan.seconds)
    window = load.close_window()
    after = Edge.read(pids)
    load.close()
    return before, after, window


def _run_for(reactor: Reactor, seconds: float) -> None:
    reactor.run_until(time.monotonic_ns() + int(seconds * 1e9))


def _sample(target: Target, workload: str, alternation: int, turn: Turn) -> Sample:
    before, after, window = turn
    ordered = sorted(window.delays_ns) or [0]
    cpu_ns = after.usage.cpu_ns - before.usage.cpu_ns
    ended = [pid for pid, cpu in after.usage.cpu_ns_by_pid.items() if not cpu]
    parts: dict[str, float] = {}
    for pid, cpu in after.usage.cpu_ns_by_pid.items():
        name = procfs.name_of(pid)
        used_us = (cpu - before.usage.cpu_ns_by_pid.get(pid, 0)) / 1000 / (window.count or 1)
        parts[name] = parts.get(name, 0.0) + used_us
    if ended:
        window.errors.insert(0, f"process {ended[0]} of {target.name} ended during the window")
    if can_pin() and procfs.cores_of(tuple(after.usage.cpu_ns_by_pid)) - {PROXY_CORE}:
        window.errors.insert(0, f"{target.name} is not on the proxies' core")
    others = after.proxy_core_seconds - before.proxy_core_seconds - cpu_ns / 1e9
    return Sample(
        target=target.name,
        workload=workload,
        alternation=alternation,
        count=window.count,
        per_second=window.count / window.seconds,
        cpu_us=cpu_ns / 1000 / window.count if target.pids and window.count and not ended else None,
        cpu_us_by_process=parts,
        p50_ms=percentile(ordered, 0.5) / 1e6,
        p99_ms=percentile(ordered, 0.99) / 1e6,
        p999_ms=percentile(ordered, 0.999) / 1e6,
        rss_bytes=after.usage.rss_bytes,
        load_cpu_share=(after.own_ns - before.own_ns) / 1e9 / window.seconds,
        others_share=max(0.0, others / window.seconds),
        errors=len(window.errors),
        first_error=window.errors[0] if window.errors else "",
    )


def rows_as_json(plan: Plan, rows: list[Row]) -> dict[str, Any]:
    nginx = {row.workload: row for row in rows if row.target == NGINX}
    out = []
    for row in rows:
        base = nginx.get(row.workload)
        entry: dict[str, Any] = {"target": row.target, "workload": row.workload, "errors": row.errors}
        for name in (
            "cpu_us",
            "p50_ms",
            "p99_ms",
            "p999_ms",
            "per_second",
            "rss_bytes",
            "load_cpu_share",
            "others_share",
        ):
            spread = row.spread(name)
            entry[name] = asdict(spread) if spread else None
        ratio = row.ratio(base, "cpu_us") if base is not None else None
        added = row.difference(base, "p99_ms") if base is not None else None
        entry["cpu_to_nginx"] = asdict(ratio) if ratio else None
        entry["p99_ms_over_nginx"] = asdict(added) if added else None
        entry["samples"] = [asdict(sample) for sample in row.samples]
        out.append(entry)
    environment = procfs.describe_environment()
    return {"schema": SCHEMA, "plan": asdict(plan), "environment": environment, "rows": out}
