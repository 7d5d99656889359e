"""Shell. `python -m bench.export`: a million records through the front door as CSV or JSON lines.

Fills a database, starts a gateway on it, and reads the export as a client would: how many records a second, and how
much the control process grows while it streams (its resident memory, looked at ten times a second).
SQLite in a temporary directory; `--postgres` starts a server of its own.
"""

import json
import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import click
import httpx
import trio

from bench.children import Child, program, run_child, wait_for_output, wait_until
from bench.ingest import NOW_UTC, example
from bench.postgres import run_postgres
from bench.procfs import rss_bytes_of
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.ingest import insert_rows
from mrproxy.storage.migrate import migrate
from mrproxy.storage.rows import row_of
from mrproxy.storage.urls import locate

BATCH_RECORDS = 5000
START_SECONDS = 60.0
LOOK_SECONDS = 0.1


async def fill(data_dir: Path, database_url: str, count: int) -> None:
    """With records as a busy gateway would leave them."""
    chance = random.Random(0)
    async with open_bridge() as bridge, open_database(locate(database_url, data_dir), bridge) as database:
        await migrate(database)
        for start in range(0, count, BATCH_RECORDS):
            numbers = range(start, min(count, start + BATCH_RECORDS))
            rows = [row_of(example(chance, number), NOW_UTC) for number in numbers]
            await database.transact(insert_rows, rows)


@contextmanager
def run_gateway(directory: Path, database_url: str) -> Iterator[tuple[Child, str]]:
    """Ready; and its URL."""
    command = program("mrproxy", "serve", "--port=0", f"--data-dir={directory}", "--no-discover", "--no-access-log")
    environment = {"MRPROXY_DATABASE_URL": database_url}
    subprocess.run(program("mrproxy", "migrate", f"--data-dir={directory}"), env=os.environ | environment, check=True)
    with run_child("gateway", command, directory, environment=environment) as child:
        url = wait_for_output(child, r"mrproxy is ready on (https?://\S+)", seconds=START_SECONDS)[1]
        wait_until(child, lambda: is_answering(url), seconds=START_SECONDS, what=f"{url}/healthz does not say 200")
        yield child, url


def is_answering(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def made_key(directory: Path) -> str:
    """Of an administrator: by the socket of the data directory's owner, who is asked for none."""
    wanted = {"name": "bench", "group": "admin", "scopes": ["admin"]}
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(directory / "run" / "control.sock"))) as client:
        answer = client.post("http://control/admin/api/v1/keys", json=wanted)
    if answer.status_code != 201:
        raise click.ClickException(f"no key: {answer.status_code} {answer.text[:300]}")
    return str(answer.json()["key"])


def control_pid(child: Child) -> int:
    lines = (json.loads(line) for line in child.output().splitlines() if line.startswith("{"))
    return int([line["pid"] for line in lines if line["event"] == "child started" and line["child"] == "control"][-1])


@dataclass
class Memory:
    """The most that a process had while it was watched."""

    pid: int
    before_bytes: int = 0
    most_bytes: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.before_bytes = self.most_bytes = rss_bytes_of(self.pid)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self.is_over.wait(LOOK_SECONDS):
            self.most_bytes = max(self.most_bytes, rss_bytes_of(self.pid))


@dataclass(frozen=True)
class Outcome:
    """Of one export."""

    form: str
    records: int
    size_bytes: int
    seconds: float
    before_bytes: int
    most_bytes: int


def export(url: str, key: str, pid: int, form: str) -> Outcome:
    """Read it to its end. Raises ClickException when it breaks off."""
    lines = size_bytes = 0
    headers = {"Authorization": f"Bearer {key}"}
    path = f"{url}/admin/api/v1/records/export?format={form}"
    began_at = time.perf_counter()
    with Memory(pid) as memory, httpx.stream("GET", path, headers=headers, trust_env=False, timeout=120) as answer:
        if answer.status_code != 200:
            raise click.ClickException(f"{answer.status_code}: {answer.read().decode()[:300]}")
        for piece in answer.iter_raw():
            lines += piece.count(b"\n")
            size_bytes += len(piece)
    seconds = time.perf_counter() - began_at
    return Outcome(form, lines - (form == "csv"), size_bytes, seconds, memory.before_bytes, memory.most_bytes)


def describe(outcome: Outcome, kind: str) -> str:
    rate = outcome.records / outcome.seconds
    before, most, size = (each / 2**20 for each in (outcome.before_bytes, outcome.most_bytes, outcome.size_bytes))
    return (
        f"{kind}, {outcome.form}: {outcome.records} records, {size:.0f} MiB in {outcome.seconds:.1f} s, {rate:.0f}/s; "
        f"control process {before:.0f} MiB, +{most - before:.1f} MiB"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--records", "count", default=1_000_000, show_default=True, help="How many records.")
@click.option("--postgres", is_flag=True, help="PostgreSQL instead of SQLite.")
def main(count: int, postgres: bool) -> None:
    """Exports of many records."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrproxy-export-")))
        database_url = stack.enter_context(run_postgres()).create_database() if postgres else ""
        trio.run(fill, directory, database_url, count)
        child, url = stack.enter_context(run_gateway(directory, database_url))
        key = made_key(directory)
        for form in ("csv", "jsonl"):
            outcome = export(url, key, control_pid(child), form)
            click.echo(describe(outcome, "PostgreSQL" if postgres else "SQLite"))
            if outcome.records != count:
                raise click.ClickException(f"{outcome.records} of {count} records came")


if __name__ == "__main__":
    main()
