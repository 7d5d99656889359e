"""Shell. `python -m bench.snapshot`: what a large snapshot costs a worker, and how soon a change of it is felt.

Starts `mrproxy serve` twice, with next to nothing and with `--keys` keys (a user each) and `--backends` backends, all
of which are one mock engine; then revokes a key as the control plane would, and asks meanwhile on open connections.
"""

import http.client
import json
import multiprocessing
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from bench.children import Child, is_ready, program, run_child, wait_for_output, wait_until
from bench.procfs import rss_bytes_of
from mrproxy.identity.digest import digest_key, generate_secret
from mrproxy.link.publishing import MANAGED_NAME, SNAPSHOT_NAME, publish
from mrproxy.link.snapshot import BackendSpec, GroupSpec, KeySpec, Limits, Managed, UserSpec, write_managed

START_SECONDS = 60.0
PAUSE_SECONDS = 0.001
KEY = "mr_bench-snapshot"
GROUPS = ("student", "staff", "faculty")


@dataclass(frozen=True)
class Started:
    """A gateway that serves; `load_seconds`: from the worker's start until it did."""

    url: str
    data_dir: Path
    load_seconds: float
    worker_pid: int

    @property
    def rss_mb(self) -> float:
        return rss_bytes_of(self.worker_pid) / 1e6


@dataclass
class Pauses:
    """The longest and the mean time that one small request took, over and over on one connection."""

    worst_ms: float = 0.0
    total_ms: float = 0.0
    count: int = 0

    def add(self, milliseconds: float) -> None:
        self.worst_ms = max(self.worst_ms, milliseconds)
        self.total_ms += milliseconds
        self.count += 1

    def __str__(self) -> str:
        return f"longest pause {self.worst_ms:.1f} ms (mean {self.total_ms / max(1, self.count):.2f} ms)"


def managed_of(secret: bytes, keys: int, backends: int, engine: str, *, has_key: bool = True) -> Managed:
    """Users, keys and limits as a university would have them; the first key is `KEY`."""
    names = [KEY.encode(), *(b"mr_%d" % number for number in range(1, keys))][0 if has_key else 1 :]
    limits = Limits(requests_per_minute=600)
    users = [UserSpec(f"user-{number:06}", GROUPS[number % 3], limits=limits) for number in range(keys)]
    return Managed(
        generation=1,
        groups=tuple(GroupSpec(name, limits=Limits(tokens_per_minute=100_000)) for name in GROUPS),
        users=tuple(users),
        keys=tuple(
            KeySpec(
                f"{number:012x}", f"key {number}", digest_key(secret, name).hex(), f"user-{number:06}", limits=limits
            )
            for number, name in enumerate(names)
        ),
        backends=tuple(BackendSpec(f"engine-{number:04}", "vllm", engine, 64) for number in range(backends)),
    )


@contextmanager
def run_mock(directory: Path) -> Iterator[str]:
    with run_child("mock", program("bench", "mock", "vllm", "--port=0", "--model=mock-8b"), directory) as child:
        yield wait_for_output(child, r"listening on (http://\S+)", seconds=START_SECONDS)[1]


@contextmanager
def run_gateway(directory: Path, secret: bytes, managed: Managed) -> Iterator[Started]:
    """`mrproxy serve` with these already in its data directory."""
    data_dir = directory / "data"
    data_dir.mkdir(parents=True, mode=0o700)
    (data_dir / "secret").write_bytes(secret)
    write_managed(data_dir / MANAGED_NAME, managed)
    options = (f"--data-dir={data_dir}", "--port=0", "--no-records", "--no-discover", "--no-access-log")
    with run_child("gateway", program("mrproxy", "serve", *options), directory) as child:
        url = wait_for_output(child, r"mrproxy is ready on (http://\S+)", seconds=START_SECONDS)[1]
        wait_until(child, lambda: is_ready(url), seconds=START_SECONDS, what="/readyz does not say 200")
        yield started(child, url, data_dir)


def started(child: Child, url: str, data_dir: Path) -> Started:
    """By the log: who was started when, and when it served."""
    begun_at, pid = 0.0, 0
    for line in child.output().splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "child started" and event.get("child") == "w1":
            begun_at, pid = datetime.fromisoformat(event["at"]).timestamp(), event["pid"]
        if event.get("event") == "worker serves":
            return Started(url, data_dir, datetime.fromisoformat(event["at"]).timestamp() - begun_at, pid)
    raise child.failed("has no worker")


def connect(url: str) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection(re.sub(r"^http://", "", url), timeout=30))


def status_of(connection: http.client.HTTPConnection, path: str, key: str) -> int:
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


@contextmanager
def watching(url: str) -> Iterator[Pauses]:
    """Asks for something that needs no key and no backend, again and again, while the block runs."""
    pauses, is_over = Pauses(), threading.Event()

    def ask() -> None:
        with connect(url) as connection:
            while not is_over.is_set():
                begun = time.perf_counter()
                status_of(connection, "/api/version", "")
                pauses.add((time.perf_counter() - begun) * 1000)
                time.sleep(PAUSE_SECONDS)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield pauses
    finally:
        is_over.set()
        thread.join()


def put_into_force(data_dir: Path, secret: bytes, keys: int, backends: int, engine: str) -> None:
    """What the control plane does when `KEY` is revoked."""
    write_managed(data_dir / MANAGED_NAME, managed_of(secret, keys, backends, engine, has_key=False))
    publish(data_dir, time.time())


def revoke(gateway: Started, secret: bytes, keys: int, backends: int, engine: str) -> float:
    """Seconds from the new snapshot until `KEY` is refused on an open connection.

    Another process writes it: in this one it would hold up the threads that measure.
    """
    path = gateway.data_dir / SNAPSHOT_NAME
    before = path.stat()
    publisher = multiprocessing.get_context("spawn").Process(
        target=put_into_force, args=(gateway.data_dir, secret, keys, backends, engine)
    )
    with connect(gateway.url) as connection:
        if status_of(connection, "/v1/models", KEY) != 200:
            raise click.ClickException("the key is not good to begin with")
        publisher.start()
        while path.stat().st_ino == before.st_ino:
            time.sleep(0.002)
        begun = time.perf_counter()
        while status_of(connection, "/v1/models", KEY) == 200:
            time.sleep(20 * PAUSE_SECONDS)  # a list over all backends: asked without a pause it would be the load
        seconds = time.perf_counter() - begun
    publisher.join()
    return seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keys", default=100_000, show_default=True)
@click.option("--backends", default=1000, show_default=True)
@click.option("--calm-seconds", default=3.0, show_default=True, help="How long it is watched without a change.")
def main(keys: int, backends: int, calm_seconds: float) -> None:
    """Load time, memory, and the longest pause of a worker with a large snapshot."""
    secret = generate_secret()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrproxy-snapshot-")))
        engine = stack.enter_context(run_mock(directory))
        with run_gateway(directory / "small", secret, managed_of(secret, 1, 1, engine)) as small:
            small_mb = small.rss_mb
            click.echo(f"1 key, 1 backend: serves after {small.load_seconds:.2f} s, {small_mb:.0f} MB")
        gateway = stack.enter_context(
            run_gateway(directory / "large", secret, managed_of(secret, keys, backends, engine))
        )
        more_seconds, more_mb = gateway.load_seconds - small.load_seconds, gateway.rss_mb - small_mb
        click.echo(
            f"{keys} keys, {backends} backends: serves after {gateway.load_seconds:.2f} s, {gateway.rss_mb:.0f} MB: "
            f"{more_seconds:.2f} s and {more_mb:.0f} MB more"
        )
        with watching(gateway.url) as calm:
            time.sleep(calm_seconds)
        click.echo(f"without a change: {calm}")
        with watching(gateway.url) as pauses:
            seconds = revoke(gateway, secret, keys, backends, engine)
            time.sleep(0.5)
        click.echo(f"a revoked key is refused after {seconds:.2f} s; meanwhile: {pauses}; then {gateway.rss_mb:.0f} MB")


if __name__ == "__main__":
    main()
