"""Requests through a real gateway while its processes and its database are killed at random: every record counts once.

So do the sums of usage, which are those of the records, and those of what the engine says it has served.

`MRPROXY_CHAOS_REQUESTS=20000 pytest tests/front_door/test_chaos.py` is the full size; the suite runs a small one.
"""

import http.client
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from sqlalchemy import select

from mrproxy.ledger.spent import read_spent
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import Database, open_database
from mrproxy.storage.migrate import migrate
from mrproxy.storage.rows import COLUMNS
from mrproxy.storage.schema import ingest_positions, records
from mrproxy.storage.urls import locate
from mrproxy.storage.usage import KEYS, SUMS, SumRow, sums_of, usage_daily
from tests.fakes.postgres import PostgresServer, postgres_server, postgres_url
from tests.front_door.gateway import (
    KEY,
    MESSAGES,
    Gateway,
    backend_table,
    eventually,
    key_table,
    mock_control,
    run_gateway,
    run_mock,
)

__all__ = ["postgres_server", "postgres_url"]

REQUESTS = int(os.environ.get("MRPROXY_CHAOS_REQUESTS", "500"))
THREADS = 8 if REQUESTS < 10_000 else 24
TOKENS = 5
BODY = json.dumps({"model": "mock-8b", "messages": MESSAGES, "max_tokens": TOKENS}).encode()
# The supervisor waits twice as long each time: after four deaths of a worker 0.8 s, after eight already 10 s.
MOST_KILLS = 4 if REQUESTS < 10_000 else 1000
PAUSE_SECONDS = (0.2, 0.8) if REQUESTS < 10_000 else (0.5, 3.0)
CATCH_UP_SECONDS = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + REQUESTS / 20)]


@dataclass
class Callers:
    """Each request has an id of its own and is sent once. `answers` has the status of each that was answered whole."""

    gateway: Gateway
    answers: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def run(self) -> None:
        connection = self.connect()
        while (number := next(self.numbers)) < REQUESTS:
            request_id = f"chaos-{number:06}"
            headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": request_id}
            try:
                connection.request("POST", "/v1/chat/completions", BODY, headers)
                answer = connection.getresponse()
                answer.read()
            except (http.client.HTTPException, OSError):
                self.broken.append(request_id)
                connection.close()
                connection = self.connect()
            else:
                self.answers[request_id] = answer.status
        connection.close()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.gateway.url).netloc, timeout=30)


@dataclass
class Killer:
    """Kills one after the other, each again only when the supervisor has started it again."""

    gateway: Gateway
    server: PostgresServer | None
    roles: list[str]
    killed: Counter[str] = field(default_factory=Counter)
    last_pids: dict[str, int] = field(default_factory=dict)

    def run(self, is_over: threading.Event) -> None:
        chance = random.Random(0)
        while not is_over.wait(chance.uniform(*PAUSE_SECONDS)):
            self.kill(chance.choice(["control", *self.roles]))
        if self.server is not None and not self.server.is_running():
            self.server.start()

    def kill(self, role: str) -> None:
        if role == "database":
            assert self.server is not None
            if self.server.is_running():
                self.server.kill()
                self.killed[role] += 1
            else:
                self.server.start()
            return
        pid = self.gateway.pid_of(role)
        if pid == self.last_pids.get(role) or self.killed[role] == MOST_KILLS:
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended by itself; the log will say why
            return
        self.last_pids[role] = pid
        self.killed[role] += 1


@dataclass(frozen=True)
class Table:
    """`sums` are those of the table, `expected_sums` what the records in it add up to."""

    ids: Counter[str]
    tokens_by_key: Counter[str]
    counted: int
    sums: list[SumRow]
    expected_sums: list[SumRow]


async def read_table(database: Database) -> Table:
    async def rows(connection):
        every = select(*(records.c[name] for name in COLUMNS))
        counted = select(ingest_positions.c.records)
        summed = select(*(usage_daily.c[name] for name in (*KEYS, *SUMS)))
        return [(await connection.execute(each)).all() for each in (every, counted, summed)]

    found, counted, summed = await database.read(rows)
    by_key: Counter[str] = Counter()
    for row in found:
        by_key[row.key_id] += (row.prompt_tokens or 0) + (row.completion_tokens or 0)
    sums, expected = rounded(tuple(row) for row in summed), rounded(sums_of([tuple(row) for row in found]))
    ids = Counter(row.request_id for row in found)
    return Table(ids, by_key, sum(row.records for row in counted), sums, expected)


def sum_of(name: str, sums: list[SumRow]) -> int:
    index = (*KEYS, *SUMS).index(name)
    return sum(row[index] for row in sums)


def rounded(sums: Iterable[SumRow]) -> list[SumRow]:
    """Seconds depend on the order in which they were added, in their last digits."""
    return sorted((*row[:-1], round(row[-1], 6)) for row in sums)


async def with_database(database_url: str, data_dir: Path, function):
    async with open_bridge() as bridge, open_database(locate(database_url, data_dir), bridge) as database:
        return await function(database)


def run_chaos(gateway: Gateway, server: PostgresServer | None, *, kills_worker: bool) -> tuple[Callers, Killer]:
    roles = ["control", *(["w1"] if kills_worker else []), *(["database"] if server is not None else [])]
    callers, killer, is_over = Callers(gateway), Killer(gateway, server, roles), threading.Event()
    with ThreadPoolExecutor(THREADS + 1) as pool:
        killing = pool.submit(killer.run, is_over)
        calling = [pool.submit(callers.run) for _ in range(THREADS)]
        try:
            for each in calling:
                each.result()
        finally:
            is_over.set()
        killing.result()
    return callers, killer


def wait_until_stored(gateway: Gateway) -> None:
    """Until the control plane says that the table has all that the journal has."""

    def is_stored() -> bool | None:
        answer = gateway.ask("GET", "/status")
        if answer.status != 200:
            return None
        storage = answer.json()["storage"]
        return (storage["problem"] is None and storage["lag_bytes"] == 0) or None

    eventually(is_stored, f"the table does not catch up\n{gateway.child.output()[-3000:]}", seconds=CATCH_UP_SECONDS)


@pytest.mark.parametrize(
    ("kind", "victims"), [("sqlite", "everybody"), ("sqlite", "all but the worker"), ("postgresql", "everybody")]
)
def test_every_settled_request_stands_in_the_table_once_whoever_is_killed(
    kind: str, victims: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database_url, server = "", None
    if kind == "postgresql":
        server = request.getfixturevalue("postgres_server")
        database_url = request.getfixturevalue("postgres_url")
        trio.run(with_database, database_url, tmp_path, migrate)
    options = [f"--database-url={database_url}", "--journal-segment-bytes=50000", "--no-access-log"]
    with run_mock("vllm", tmp_path, "--model=mock-8b", "--json-ms=60") as engine:
        config = backend_table("mock-vllm", "vllm", engine) + key_table(KEY, "ada")
        with run_gateway(tmp_path, config, options=options) as gateway:
            callers, killer = run_chaos(gateway, server, kills_worker=victims == "everybody")
            gateway.wait_until_ready()
            wait_until_stored(gateway)
            log = gateway.child.output()
        said = mock_control(engine, "stats")
    table = trio.run(with_database, database_url, gateway.data_dir, read_table)
    assert min(killer.killed[role] for role in killer.roles) >= 1
    assert set(callers.answers.values()) == {200}, "killing may break a connection, and never refuses a request"
    assert "Traceback" not in log
    journalled = Counter(record.request_id for record in gateway.records())
    assert table.ids == journalled
    assert set(journalled.values()) == {1}
    assert table.counted == journalled.total()
    assert table.sums == table.expected_sums
    assert sum_of("requests", table.sums) == journalled.total()
    # What an engine has answered to its end, and the record of which died with its worker.
    unknown = said["generation_tokens"] - sum_of("completion_tokens", table.sums)
    assert 0 <= unknown <= TOKENS * killer.killed["w1"] * THREADS
    if not killer.killed["w1"]:
        assert said["requests"]["POST /v1/chat/completions"] == journalled.total() == REQUESTS
        assert said["prompt_tokens"] == sum_of("prompt_tokens", table.sums)
    assert table.tokens_by_key == Counter(read_spent(gateway.data_dir / "journal").lifetime.by_key_id)
    # A worker that dies takes the records of the last millisecond along: at most those of the calls it was in.
    lost = set(callers.answers) - set(table.ids)
    assert len(lost) <= killer.killed["w1"] * THREADS, sorted(lost)
    print(f"{kind}: {len(callers.answers)} answered, {len(callers.broken)} broken, {len(lost)} lost, {killer.killed}")
