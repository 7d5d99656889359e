"""Shell. `python -m bench.overshoot`: by how much several workers pass a limit that each knows only its part of.

Starts `mrproxy serve` with several workers on one port and asks from many connections at once, for longer than the
limits allow: requests per minute, requests at once, and a budget of tokens, each with a key of its own. docs/limits.md
derives the bound that is printed beside what was measured.
"""

import http.client
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from bench.children import is_ready, program, run_child, wait_for_output, wait_until
from mrproxy.link.journal import read_segment, segments

START_SECONDS = 60.0
ANSWER_TOKENS = 10
RATE, AT_ONCE, BUDGET = 300, 8, 20_000
CONFIG = f"""
[[keys]]
name = "rate"
key = "mr_rate"
requests_per_minute = {RATE}
[[keys]]
name = "at-once"
key = "mr_at-once"
concurrent_requests = {AT_ONCE}
[[keys]]
name = "budget"
key = "mr_budget"
token_budget = {BUDGET}
"""


@dataclass(frozen=True)
class Finding:
    """What a limit allowed, what it came to, and what the bound allows."""

    limit: str
    allowed: float
    measured: int
    bound: float
    by_worker: dict[str, int]

    def __str__(self) -> str:
        shares = ", ".join(f"{worker} {count}" for worker, count in sorted(self.by_worker.items()))
        excess = max(0.0, self.measured / self.allowed - 1)
        verdict = "within the bound" if self.measured <= self.bound else "BEYOND THE BOUND"
        return (
            f"{self.limit}: {self.allowed:.0f} allowed, {self.measured} taken ({shares}), {excess:.0%} over; "
            f"the bound is {self.bound:.0f}: {verdict}"
        )


@contextmanager
def run_gateway(directory: Path, workers: int, engine: str) -> Iterator[tuple[str, Path]]:
    """Its address and its journal."""
    backend = f'[[backends]]\nname = "engine"\nkind = "vllm"\nurl = "{engine}"\nmax_concurrent = 1000\n'
    config = directory / "mrproxy.toml"
    config.write_text(backend + CONFIG)
    data_dir = directory / "data"
    options = (f"--config={config}", f"--data-dir={data_dir}", "--port=0", "--no-records", "--no-access-log")
    command = program("mrproxy", "serve", *options, f"--workers={workers}")
    with run_child("gateway", command, directory) as child:
        url = wait_for_output(child, r"mrproxy is ready on (http://\S+)", seconds=START_SECONDS)[1]
        wait_until(child, lambda: is_ready(url), seconds=START_SECONDS, what="/readyz does not say 200")
        yield url, data_dir / "journal"


def ask(url: str, key: str, seconds: float, connections: int) -> None:
    """From so many connections at once, one request after the other, until the time is over; at least one each."""

    def ask_on_one() -> None:
        body = json.dumps({"model": "mock-8b", "messages": [{"role": "user", "content": "Say something."}]})
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)) as connection:
            while True:
                connection.request("POST", "/v1/chat/completions", body, headers)
                answer = connection.getresponse()
                answer.read()
                if time.perf_counter() > ends_at:
                    return

    ends_at = time.perf_counter() + seconds
    with ThreadPoolExecutor(connections) as pool:
        for each in [pool.submit(ask_on_one) for _ in range(connections)]:
            each.result()


def taken(journal: Path, name: str) -> tuple[Counter[str], Counter[str]]:
    """Requests served and tokens used with the key of this name, by worker."""
    requests, tokens = Counter[str](), Counter[str]()
    for segment in segments(journal):
        for _, record in read_segment(segment.path):
            if record.status == 200 and record.key_id == name:
                requests[record.worker] += 1
                tokens[record.worker] += (record.prompt_tokens or 0) + (record.completion_tokens or 0)
    return requests, tokens


def id_of(journal: Path, known: set[str]) -> str:
    """The key that was used last: ids are digests, so they are told apart by when they came."""
    found = {record.key_id for segment in segments(journal) for _, record in read_segment(segment.path)} - known
    known |= found
    return found.pop()


def measure(url: str, journal: Path, workers: int, seconds: float, connections: int) -> Iterator[Finding]:
    known: set[str] = set()
    ask(url, "mr_rate", seconds, connections)
    requests, _ = taken(journal, id_of(journal, known))
    allowed = RATE + RATE / 60 * seconds
    yield Finding("requests per minute", allowed, requests.total(), allowed + (workers - 1) * RATE + 1, dict(requests))
    ask(url, "mr_at-once", 0.0, connections)
    requests, _ = taken(journal, id_of(journal, known))
    yield Finding("requests at once", AT_ONCE, requests.total(), workers * AT_ONCE, dict(requests))
    ask(url, "mr_budget", seconds, connections)
    _, tokens = taken(journal, id_of(journal, known))
    yield Finding("tokens of a budget", BUDGET, tokens.total(), workers * BUDGET, dict(tokens))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--workers", default=2, show_default=True)
@click.option("--seconds", default=6.0, show_default=True, help="How long each limit is asked for.")
@click.option("--connections", default=32, show_default=True)
def main(workers: int, seconds: float, connections: int) -> None:
    """By how much several workers pass a limit together, and what the bound allows."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrproxy-overshoot-")))
        options = ("--port=0", "--model=mock-8b", f"--answer-tokens={ANSWER_TOKENS}", "--json-ms=20")
        child = stack.enter_context(run_child("mock", program("bench", "mock", "vllm", *options), directory))
        engine = wait_for_output(child, r"listening on (http://\S+)", seconds=START_SECONDS)[1]
        url, journal = stack.enter_context(run_gateway(directory, workers, engine))
        for finding in measure(url, journal, workers, seconds, connections):
            click.echo(str(finding))


if __name__ == "__main__":
    main()
