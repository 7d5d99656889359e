"""Shell. `bench run`: one load against one address, closed or open loop, and everything it showed.

Latencies count from the *intended* start of a request: in the open loop its place in the schedule, whether or not the
generator kept it, so a stall of the system under test is seen by every request that should have started meanwhile (no
coordinated omission). The generator's own lateness is measured too (schedule, and a 10 ms probe timer): a run whose
generator could not keep up is invalid, whatever its numbers say.
"""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from bench import arrivals, procfs
from bench.answers import Answer, TokenStream
from bench.client import Client, Job
from bench.histogram import Histogram
from bench.reactor import Reactor
from bench.results import SCHEMA, Caller, Cost, Metric, RunResult, Second, metric_of
from bench.targets import Target
from bench.workload import RequestSpec, encode_request

PROBE_SECONDS = 0.010
TITLES = {
    "ttft": "TTFT, from the intended start",
    "ttft_sent": "TTFT, from the send",
    "itl": "inter-token gap",
    "added": "delay per token (arrival − stamp)",
    "e2e": "end to end, from the intended start",
    "lag": "generator lag",
}


@dataclass(frozen=True, slots=True)
class RunPlan:
    spec: RequestSpec
    keys: tuple[str, ...] = ("",)
    concurrency: int = 16  # closed loop, when there is no rate
    rate: float = 0.0  # open loop: requests a second
    arrival: str = "constant"
    seconds: float = 10.0
    warm_seconds: float = 1.0
    grace_seconds: float = 10.0
    seed: int = 1
    max_lag_seconds: float = 0.005

    @property
    def is_open(self) -> bool:
        return self.rate > 0


@dataclass(slots=True)
class CallerCount:
    requests: int = 0
    failed: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Record:
    """What accumulates while a run goes on."""

    histograms: dict[str, Histogram] = field(default_factory=lambda: {name: Histogram() for name in TITLES})
    errors: Counter[str] = field(default_factory=Counter)
    callers: dict[str, CallerCount] = field(default_factory=dict)
    seconds: dict[int, Second] = field(default_factory=dict)
    payloads: list[tuple[int, int, int]] = field(default_factory=list)  # (tokens, bytes, CRC-32) of complete answers
    requests: int = 0
    succeeded: int = 0
    tokens: int = 0
    altered_events: int = 0
    out_of_order: int = 0


def _ignore(_value: int) -> None:
    return None


class Runner:
    def __init__(self, plan: RunPlan, target: Target, on_progress: Callable[[float], None]) -> None:
        self._plan = plan
        self._target = target
        self._on_progress = on_progress
        self._reactor = Reactor()
        self._client = Client(self._reactor, target.host, target.port)
        self._payloads = [encode_request(replace(plan.spec, key=key)) for key in plan.keys]
        self._record = Record(callers={name: CallerCount() for name in caller_names(plan)})
        self._names = caller_names(plan)
        self._outstanding: set[Job] = set()
        self._turn = 0
        self._start_ns = 0
        self._window_ns = 0  # where the warm-up ends
        self._end_ns = 0
        self._rss_peak = 0
        self._pids: tuple[int, ...] = ()
        self._completed = 0
        self._completed_tokens = 0

    def run(self) -> tuple[RunResult, Record]:
        """The result, and what it was made from (the fidelity check needs the fingerprints)."""
        plan, pids = self._plan, procfs.list_tree(list(self._target.pids))
        self._pids = pids
        gc.collect()
        gc.freeze()
        self._start_ns = time.monotonic_ns()
        self._window_ns = self._start_ns + int(plan.warm_seconds * 1e9)
        self._end_ns = self._window_ns + int(plan.seconds * 1e9)
        self._reactor.call_at(self._start_ns, self._probe)
        self._reactor.call_at(self._start_ns, self._watch)
        self._begin()
        self._reactor.run_until(self._window_ns)
        before, flow_before = procfs.sample(pids), self._flow()
        self._reactor.run_until(self._end_ns)
        after, flow_after = procfs.sample(pids), self._flow()
        window_seconds = (time.monotonic_ns() - self._window_ns) / 1e9
        in_window = (flow_after[0] - flow_before[0], flow_after[1] - flow_before[1])
        self._drain()
        result = self._result(window_seconds, cost_of(pids, before, after, self._rss_peak, *in_window))
        self._client.close()
        self._reactor.close()
        gc.unfreeze()
        return result, self._record

    def _flow(self) -> tuple[int, int]:
        """(requests completed, tokens received) since the start, those of streams still open included."""
        open_tokens = sum(job.answer.tokens for job in self._outstanding if isinstance(job.answer, TokenStream))
        return self._completed, self._completed_tokens + open_tokens

    def _begin(self) -> None:
        plan = self._plan
        if not plan.is_open:
            for _ in range(plan.concurrency):
                self._send(time.monotonic_ns())
            return
        total_seconds = plan.warm_seconds + plan.seconds
        schedule = (
            arrivals.poisson(plan.rate, total_seconds, plan.seed)
            if plan.arrival == "poisson"
            else arrivals.constant(plan.rate, total_seconds)
        )
        self._follow(schedule)

    def _follow(self, schedule: Iterator[float]) -> None:
        start = self._start_ns

        def next_due() -> int:
            return next((start + int(at * 1e9) for at in schedule), 0)

        def fire(due: int) -> int:
            if self._window_ns <= due:
                self._record.histograms["lag"].record(time.monotonic_ns() - due)
            self._send(due)
            return next_due()

        first = next_due()
        if first:
            self._reactor.call_at(first, fire)

    def _send(self, intended: int) -> None:
        caller = self._turn % len(self._payloads)
        self._turn += 1
        counts = intended >= self._window_ns
        answer: Answer
        if self._plan.spec.stream:
            histograms = self._record.histograms
            delay, gap = histograms["added"].record, histograms["itl"].record
            answer = TokenStream(delay, gap) if counts else TokenStream(_ignore)
        else:
            answer = Answer()
        job = Job(self._payloads[caller], answer, self._done, intended, self._names[caller])
        self._outstanding.add(job)
        self._client.start(job)

    def _done(self, job: Job) -> None:
        self._outstanding.discard(job)
        self._completed += 1
        if isinstance(job.answer, TokenStream):
            self._completed_tokens += job.answer.tokens
        if job.intended_ns >= self._window_ns:
            self._note(job)
        if not self._plan.is_open and job.ended_ns < self._end_ns:
            if job.error and not job.answer.status:
                # A refused connection ends at once: trying again at once would only spin.
                self._reactor.call_at(job.ended_ns + 10_000_000, self._send_again)
            else:
                self._send(job.ended_ns)

    def _send_again(self, due: int) -> int:
        self._send(due)
        return 0

    def _note(self, job: Job) -> None:
        record, answer = self._record, job.answer
        caller = record.callers[job.tag]
        second = self._second(job.ended_ns)
        record.requests += 1
        caller.requests += 1
        error = failure_of(job)
        if error:
            record.errors[error] += 1
            caller.failed += 1
            second.failed += 1
            return
        record.succeeded += 1
        second.finished += 1
        record.histograms["e2e"].record(job.ended_ns - job.intended_ns)
        if isinstance(answer, TokenStream):
            record.histograms["ttft"].record(answer.first_token_ns - job.intended_ns)
            record.histograms["ttft_sent"].record(answer.first_token_ns - job.sent_ns)
            record.tokens += answer.tokens
            caller.tokens += answer.tokens
            second.tokens += answer.tokens
            record.altered_events += answer.events_altered
            record.out_of_order += answer.out_of_order
        record.payloads.append(answer.fingerprint)

    def _second(self, at_ns: int) -> Second:
        index = (at_ns - self._window_ns) // 1_000_000_000
        found = self._record.seconds.get(index)
        if found is None:
            found = self._record.seconds[index] = Second(index, 0, 0, 0, 0)
        return found

    def _probe(self, due: int) -> int:
        """How late the generator's own loop is."""
        now = time.monotonic_ns()
        if due >= self._window_ns:
            self._record.histograms["lag"].record(now - due)
        return now + int(PROBE_SECONDS * 1e9)

    def _watch(self, due: int) -> int:
        if self._pids:
            rss = sum(map(procfs.rss_bytes_of, self._pids))
            self._rss_peak = max(self._rss_peak, rss)
            if due >= self._window_ns:
                self._second(due).rss_bytes = rss
        self._on_progress(min(1.0, (due - self._start_ns) / (self._end_ns - self._start_ns)))
        return due + 500_000_000

    def _drain(self) -> None:
        """Let what is under way finish, within the grace."""
        deadline = time.monotonic_ns() + int(self._plan.grace_seconds * 1e9)
        while self._outstanding and time.monotonic_ns() < deadline:
            self._reactor.run_until(min(deadline, time.monotonic_ns() + 20_000_000))

    def _result(self, seconds: float, cost: Cost | None) -> RunResult:
        record, plan = self._record, self._plan
        unfinished = sum(1 for job in self._outstanding if job.intended_ns >= self._window_ns)
        metrics = [metric_of(name, TITLES[name], histogram) for name, histogram in record.histograms.items()]
        result = RunResult(
            schema=SCHEMA,
            title=self._target.name,
            url=self._target.url,
            plan=plan_as_json(plan),
            environment=procfs.describe_environment(),
            seconds=seconds,
            requests=record.requests + unfinished,
            succeeded=record.succeeded,
            unfinished=unfinished,
            errors=dict(record.errors.most_common()),
            tokens=record.tokens,
            metrics=[metric for metric in metrics if metric.count],
            callers=[
                Caller(name, counts.requests, counts.failed, counts.tokens) for name, counts in record.callers.items()
            ],
            timeline=[record.seconds[index] for index in sorted(record.seconds)],
            cost=cost,
        )
        result.invalid = find_flaws(result, plan, result.metric("lag"))
        return result


def caller_names(plan: RunPlan) -> list[str]:
    """Never the keys themselves: results are shown around."""
    return [f"caller {index + 1}" for index in range(len(plan.keys))]


def failure_of(job: Job) -> str:
    """Why a request failed, in few words so that equal failures count together; "" if it did not."""
    answer = job.answer
    if job.error:
        return job.error[:120]
    if answer.status != 200:
        return f"status {answer.status}"
    if isinstance(answer, TokenStream):
        if answer.error:
            return f"in-stream error: {answer.error[:80]}"
        if not answer.is_complete:
            return "stream ended without its end marker"
        if not answer.tokens:
            return "stream without a token"
    return ""


def find_flaws(result: RunResult, plan: RunPlan, lag: Metric | None) -> list[str]:
    """Reasons why the run's numbers must not be used."""
    if lag is None:
        return ["no lag samples"]
    p99 = lag.percentiles["p99"] or float(lag.maximum)
    e2e = result.metric("e2e")
    allowed = max(plan.max_lag_seconds * 1e9, 0.05 * (e2e.percentiles["p50"] or 0.0) if e2e is not None else 0.0)
    flaws = []
    if p99 > allowed:
        flaws.append(f"generator lag p99 is {p99 / 1e6:.1f} ms, allowed are {allowed / 1e6:.1f} ms")
    if not result.succeeded:
        flaws.append("no request succeeded")
    return flaws


def cost_of(
    pids: tuple[int, ...], before: procfs.Usage, after: procfs.Usage, peak: int, requests: int, tokens: int
) -> Cost | None:
    if not pids:
        return None
    cpu_ns = after.cpu_ns - before.cpu_ns
    return Cost(
        pids=list(after.cpu_ns_by_pid),
        cpu_seconds=cpu_ns / 1e9,
        cpu_us_per_request=cpu_ns / 1000 / requests if requests else None,
        cpu_us_per_token=cpu_ns / 1000 / tokens if tokens else None,
        rss_bytes_start=before.rss_bytes,
        rss_bytes_end=after.rss_bytes,
        rss_bytes_peak=max(peak, after.rss_bytes),
        open_files_end=after.open_files,
    )


def plan_as_json(plan: RunPlan) -> dict[str, str | int | float | bool]:
    spec = plan.spec
    return {
        "loop": f"open, {plan.arrival}" if plan.is_open else "closed",
        "rate": plan.rate,
        "concurrency": 0 if plan.is_open else plan.concurrency,
        "operation": spec.operation,
        "model": spec.model,
        "stream": spec.stream,
        "max_tokens": spec.max_tokens,
        "prompt_bytes": spec.prompt_bytes,
        "callers": len(plan.keys),
        "warm_seconds": plan.warm_seconds,
        "seconds": plan.seconds,
        "seed": plan.seed,
    }
