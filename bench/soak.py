"""Shell. `bench soak`: minutes of mixed load, and whether memory and file descriptors stay flat.

The mix: JSON, streams read to the end, streams whose client leaves midway, unknown models, a wrong key. Flatness is
judged by the slope of a straight line through the samples of the second half, when caches and pools have filled.
"""

import contextlib
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from statistics import linear_regression

import click

from bench import procfs
from bench.answers import Answer, TokenStream
from bench.client import Client, Job
from bench.reactor import Reactor
from bench.run_command import find_pids
from bench.tables import print_table
from bench.targets import Target, open_mock, open_mrproxy, parse_url, pin_generator
from bench.workload import RequestSpec, encode_request

SAMPLE_SECONDS = 2.0
# Kinds of request, how often, and the answer's status.
MIX = {"json": (6, 200), "stream": (3, 200), "leaver": (2, 0), "unknown model": (1, 404), "wrong key": (1, 401)}


@dataclass(slots=True)
class SoakOutcome:
    samples: list[procfs.Usage] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)

    def slope_per_minute(self, name: str) -> float:
        half = self.samples[len(self.samples) // 2 :]
        if len(half) < 3:
            return 0.0
        minutes = [sample.at_ns / 60e9 for sample in half]
        return linear_regression(minutes, [getattr(sample, name) for sample in half]).slope


class SoakLoad:
    def __init__(self, target: Target, concurrency: int, seed: int = 1) -> None:
        self._reactor = Reactor()
        self._client = Client(self._reactor, target.host, target.port)
        self._pids = procfs.list_tree(list(target.pids))
        self._concurrency = concurrency
        self._random = random.Random(seed)
        self._kinds = [kind for kind, (often, _) in MIX.items() for _ in range(often)]
        base = RequestSpec(key=target.key, max_tokens=8)
        stream = replace(base, stream=True, max_tokens=40)
        specs = {
            "json": base,
            "stream": stream,
            "leaver": stream,
            "unknown model": replace(base, model="no-such-model"),
        }
        specs["wrong key"] = replace(base, key="mr_wrong")
        self._payloads = {kind: encode_request(spec) for kind, spec in specs.items()}
        self._is_running = True
        self.outcome = SoakOutcome()

    def run(self, seconds: float) -> SoakOutcome:
        start = time.monotonic_ns()
        self._reactor.call_at(start, self._sample)
        for _ in range(self._concurrency):
            self._send()
        self._reactor.run_until(start + int(seconds * 1e9))
        self._is_running = False
        self._client.close()
        self._reactor.close()
        return self.outcome

    def _sample(self, _due: int) -> int:
        self.outcome.samples.append(procfs.sample(self._pids))
        return time.monotonic_ns() + int(SAMPLE_SECONDS * 1e9)

    def _send(self) -> None:
        kind = self._random.choice(self._kinds)
        streams = kind in ("stream", "leaver")
        answer = TokenStream(lambda _delay: None) if streams else Answer()
        job = Job(self._payloads[kind], answer, self._done, tag=kind)
        self._client.start(job)
        if kind == "leaver":
            after_ns = int(self._random.random() * 0.4e9)
            self._reactor.call_at(time.monotonic_ns() + after_ns, lambda _due: self._leave(job))

    def _leave(self, job: Job) -> int:
        if job.connection is not None:
            self._client.abandon(job)
            self.outcome.done["leaver"] += 1
            if self._is_running:
                self._send()
        return 0

    def _done(self, job: Job) -> None:
        expected = MIX[job.tag][1] or 200
        status = job.answer.status
        self.outcome.done[job.tag] += 1
        if job.error or status != expected:
            self.outcome.unexpected[f"{job.tag}: {job.error or status}"] += 1
            # Not at once: what fails immediately would otherwise spin.
            self._reactor.call_at(time.monotonic_ns() + 20_000_000, self._send_later)
        elif self._is_running:
            self._send()

    def _send_later(self, _due: int) -> int:
        if self._is_running:
            self._send()
        return 0


@click.command("soak")
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--concurrency", default=64, show_default=True)
@click.option("--url", help="What to load; default: `mrproxy serve`, started here.")
@click.option("--key", default="", help="API key for --url.")
@click.option("--pid", "pids", default="auto", show_default=True, help="Processes behind --url.")
@click.option("--max-rss-kb-per-minute", default=256.0, show_default=True)
@click.option("--max-files-per-minute", default=1.0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def soak_command(
    minutes: float,
    concurrency: int,
    url: str | None,
    key: str,
    pids: str,
    max_rss_kb_per_minute: float,
    max_files_per_minute: float,
    as_json: bool,
) -> None:
    """Mixed load for minutes: are memory and file descriptors flat?"""
    pin_generator()
    with contextlib.ExitStack() as stack:
        if url:
            host, port = parse_url(url)
            target = Target("target", host, port, find_pids(pids, port), key)
        else:
            mock = stack.enter_context(open_mock("vllm", "--itl-ms", "10", "--max-num-seqs", "1000"))
            target = stack.enter_context(open_mrproxy([f"vllm={mock.url},max_concurrent=1000"]))
        outcome = SoakLoad(target, concurrency).run(minutes * 60)
    rss_kb = outcome.slope_per_minute("rss_bytes") / 1024
    files = outcome.slope_per_minute("open_files")
    failed = [f"{count} unexpected: {what}" for what, count in outcome.unexpected.most_common()]
    failed += [f"RSS grows by {rss_kb:.0f} KB a minute"] * (rss_kb > max_rss_kb_per_minute)
    failed += [f"open files grow by {files:.1f} a minute"] * (files > max_files_per_minute)
    report_soak(outcome, rss_kb, files, failed, as_json)
    sys.exit(2 if failed else 0)


def report_soak(outcome: SoakOutcome, rss_kb: float, files: float, failed: list[str], as_json: bool) -> None:
    first, last = outcome.samples[0], outcome.samples[-1]
    if as_json:
        rows = [(sample.at_ns - first.at_ns, sample.rss_bytes, sample.open_files) for sample in outcome.samples]
        value = {"schema": "bench.soak/1", "done": outcome.done, "failed": failed, "samples": rows}
        click.echo(json.dumps(value | {"rss_kb_per_minute": rss_kb, "files_per_minute": files}))
        return
    for reason in failed:
        click.echo(f"FAILED: {reason}")
    print_table("requests", ["kind", "done"], [[kind, str(count)] for kind, count in outcome.done.most_common()])
    lines = [
        ["RSS MB", f"{first.rss_bytes / 1e6:.1f}", f"{last.rss_bytes / 1e6:.1f}", f"{rss_kb / 1000:+.3f}"],
        ["open files", str(first.open_files), str(last.open_files), f"{files:+.2f}"],
    ]
    print_table("flat?", ["", "first", "last", "per minute, second half"], lines)
