"""Shell. `python -m bench.outage`: the database is away for minutes, under load; nobody notices, nothing is lost.

A real gateway in front of a mock engine, PostgreSQL from this machine's binaries. Requests come at an even rate, half
of them streams, each with an id of its own. In the middle the server is stopped at once (`--how stop`, as a crash
would) or frozen (`--how freeze`: it hangs up on nobody and answers nobody). Afterwards every request must have been
answered with 200, and stand in the table of records once and in the sums of usage. Somebody asks the administration
API all the while: it may have no answer (503), but a good key is never a bad one (401).
Read next: `postgres.py`.
"""

import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click
import httpx

from bench.children import Child, is_ready, program, run_child, wait_for_output, wait_until
from bench.postgres import PostgresServer, run_postgres

KEY = "mr_bench-outage"
MODEL = "mock-8b"
PAGE = "/admin/api/v1/usage?by=model"
PAGE_SECONDS = 1.0
START_SECONDS = 30.0
THREADS = 8
POLL_SECONDS = 0.2
CATCH_UP_SECONDS = 300.0
# A database that only does not answer is late at first: a warning comes when the table is 10 s behind.
UNSAID_SECONDS = 15.0


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent (seconds of the run), what came back, and how long that took. Status 0: nothing."""

    at_seconds: float
    status: int
    took_seconds: float


@dataclass
class Load:
    """An even rate from THREADS connections; a late answer delays the next request of its connection only."""

    url: str
    rate: float
    asked: list[Asked] = field(default_factory=list)
    pages: Counter[int] = field(default_factory=Counter)
    is_over: threading.Event = field(default_factory=threading.Event)
    began_at: float = field(default_factory=time.perf_counter)

    def run(self, thread: int) -> None:
        interval = THREADS / self.rate
        due_at = self.began_at + interval * thread / THREADS
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        number = 0
        while not self.is_over.wait(max(0.0, due_at - time.perf_counter())):
            self.ask(connection, f"outage-{thread}-{number:06}", is_stream=bool(number % 2))
            number += 1
            due_at += interval
        connection.close()

    def ask_for_pages(self) -> None:
        """Once a second; `pages` counts the statuses."""
        with httpx.Client(trust_env=False, timeout=30, headers={"Authorization": f"Bearer {KEY}"}) as client:
            while not self.is_over.wait(PAGE_SECONDS):
                try:
                    self.pages[client.get(f"{self.url}{PAGE}").status_code] += 1
                except httpx.HTTPError:
                    self.pages[0] += 1

    def ask(self, connection: http.client.HTTPConnection, request_id: str, *, is_stream: bool) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "stream": is_stream}
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": request_id, "Content-Type": "application/json"}
        sent_at, status = time.perf_counter(), 0
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (http.client.HTTPException, OSError):
            connection.close()
        self.asked.append(Asked(sent_at - self.began_at, status, time.perf_counter() - sent_at))


@dataclass(frozen=True)
class Outcome:
    """What a run was. `records` and `sums` are what the tables have; `away_seconds` from when to when."""

    asked: list[Asked]
    pages: Counter[int]
    away_seconds: tuple[float, float]
    catch_up_seconds: float
    records: int
    ids: int
    summed_requests: int
    warnings: list[str]
    log_errors: int

    @property
    def statuses(self) -> Counter[int]:
        return Counter(each.status for each in self.asked)

    @property
    def is_good(self) -> bool:
        counts = {len(self.asked), self.records, self.ids, self.summed_requests}
        left, came_back = self.away_seconds
        is_said = bool(self.warnings) or came_back - left < UNSAID_SECONDS
        return len(counts) == 1 and set(self.statuses) == {200} and is_said and not self.pages[401]


def measure(seconds: float, rate: float, how: str, lead_seconds: float = 5.0) -> Outcome:
    """One run. Raises ChildFailed or RuntimeError when its parts do not work."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrproxy-outage-")))
        server = stack.enter_context(run_postgres())
        database_url = server.create_database()
        gateway, url = stack.enter_context(run_gateway(directory, database_url))
        wait_until(gateway, lambda: lag_of(url) == 0, seconds=START_SECONDS, what="the database has no tables")
        load = stack.enter_context(under_load(url, rate))
        time.sleep(lead_seconds)
        left_at = time.perf_counter() - load.began_at
        (server.freeze if how == "freeze" else lambda: server.stop("immediate"))()
        time.sleep(seconds)
        warnings = httpx.get(f"{url}/readyz", trust_env=False, timeout=10).json()["warnings"]
        (server.thaw if how == "freeze" else server.start)()
        came_back_at = time.perf_counter()
        time.sleep(lead_seconds)
        stop(load)
        wait_until(gateway, lambda: lag_of(url) == 0, seconds=CATCH_UP_SECONDS, what="the table does not catch up")
        caught_up_seconds = time.perf_counter() - came_back_at
        away = left_at, came_back_at - load.began_at
        return outcome_of(load, away, caught_up_seconds, server, database_url, warnings, gateway)


def outcome_of(
    load: Load,
    away_seconds: tuple[float, float],
    catch_up_seconds: float,
    server: PostgresServer,
    database_url: str,
    warnings: list[str],
    gateway: Child,
) -> Outcome:
    database = database_url.rpartition("/")[2]
    records, ids = server.sql("SELECT count(*), count(DISTINCT request_id) FROM records", database).split("|")
    summed = server.sql("SELECT coalesce(sum(requests), 0) FROM usage_daily", database)
    errors = sum('"level":"error"' in line.replace(" ", "") for line in gateway.output().splitlines())
    return Outcome(
        load.asked, load.pages, away_seconds, catch_up_seconds, int(records), int(ids), int(summed), warnings, errors
    )


@contextmanager
def run_gateway(directory: Path, database_url: str) -> Iterator[tuple[Child, str]]:
    """A gateway with a mock engine behind it, ready; and its URL."""
    with ExitStack() as stack:
        command = program("bench", "mock", "vllm", "--port=0", "--itl-ms=1", "--prefill-ms=1", f"--model={MODEL}")
        engine = stack.enter_context(run_child("engine", command, directory))
        engine_url = wait_for_output(engine, r"listening on (http://\S+)", seconds=START_SECONDS)[1]
        command = program(
            "mrproxy",
            "serve",
            "--port=0",
            f"--data-dir={directory / 'data'}",
            f"--backend=vllm={engine_url}",
            "--no-access-log",
        )
        environment = {"MRPROXY_BOOTSTRAP_API_KEY": KEY, "MRPROXY_DATABASE_URL": database_url}
        subprocess.run(program("mrproxy", "migrate"), env=os.environ | environment, check=True, capture_output=True)
        gateway = stack.enter_context(run_child("gateway", command, directory, environment=environment))
        url = wait_for_output(gateway, r"mrproxy is ready on (https?://\S+)", seconds=START_SECONDS)[1]
        wait_until(gateway, lambda: is_ready(url), seconds=START_SECONDS, what=f"{url}/readyz does not say 200")
        yield gateway, url


@contextmanager
def under_load(url: str, rate: float) -> Iterator[Load]:
    load = Load(url, rate)
    with ThreadPoolExecutor(THREADS + 1) as pool:
        try:
            running = [pool.submit(load.run, thread) for thread in range(THREADS)]
            running.append(pool.submit(load.ask_for_pages))
            yield load
        finally:
            load.is_over.set()
    for each in running:
        each.result()


def stop(load: Load) -> None:
    """No new request; those that run end by themselves."""
    load.is_over.set()
    count = -1
    while count != len(load.asked):
        count = len(load.asked)
        time.sleep(1.0)


def lag_of(url: str) -> int | None:
    """Bytes of the journal that the table lacks; None while the database has a problem, or nobody says."""
    try:
        storage = httpx.get(f"{url}/status", trust_env=False, timeout=5).json()["storage"]
    except (httpx.HTTPError, ValueError):
        return None
    return int(storage["lag_bytes"]) if storage["problem"] is None else None


def describe(outcome: Outcome) -> str:
    """For people."""
    left, came_back = outcome.away_seconds
    lines = [
        f"{len(outcome.asked)} requests, the database away from {left:.0f} s to {came_back:.0f} s",
        f"statuses: {dict(outcome.statuses)}; 401: {outcome.statuses[401]}; "
        f"failed: {sum(count for status, count in outcome.statuses.items() if status != 200)}",
    ]
    for name, low, high in (("before", 0.0, left), ("while away", left, came_back), ("after", came_back, 1e9)):
        took = sorted(each.took_seconds * 1000 for each in outcome.asked if low <= each.at_seconds < high)
        if took:
            middle, late = took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)]
            lines.append(
                f"{name}: {len(took)} requests, {middle:.1f} ms median, {late:.1f} ms p99, {took[-1]:.1f} ms worst"
            )
    lines += [
        f"the administration API: {dict(outcome.pages)}",
        f"/readyz meanwhile: 200, {outcome.warnings}; errors in the log: {outcome.log_errors}",
        f"caught up {outcome.catch_up_seconds:.1f} s after its return (with the load going on for the first seconds)",
        f"records: {outcome.records}, with {outcome.ids} ids; requests in the sums: {outcome.summed_requests}",
        "good" if outcome.is_good else "NOT GOOD",
    ]
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=60.0, show_default=True, help="How long the database is away.")
@click.option("--rate", default=50.0, show_default=True, help="Requests per second.")
@click.option("--how", type=click.Choice(["stop", "freeze"]), default="stop", show_default=True)
def main(seconds: float, rate: float, how: str) -> None:
    """A database that is away under load."""
    outcome = measure(seconds, rate, how)
    click.echo(describe(outcome))
    if not outcome.is_good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
