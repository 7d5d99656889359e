"""A whole relay worker in the test's own trio loop.

`run_gateway` builds the real `mrproxy.worker.Worker` from a snapshot in a temporary directory. When its body is over,
every client it opened leaves, and the worker must be as empty as it was: no slot, lease, relay, entry or connection.
"""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace as replaced

from mrproxy.config import Backend, Key, Settings, User
from mrproxy.following import Follower
from mrproxy.link.journal import read_segment, segments
from mrproxy.link.merging import merge
from mrproxy.link.records import JournalRecord
from mrproxy.link.snapshot import write
from mrproxy.provision import compile_snapshot, open_data_directory, read_secret
from mrproxy.upstream.backend import Backend as Upstream
from mrproxy.worker import Worker
from tests.fakes.caller import KEY, Caller
from tests.fakes.log import MemoryLog
from tests.fakes.loop_engine import FakeEngine

# Limits that nothing here reaches, so that every request passes through every kind of account.
_AMPLE = {
    "requests_per_minute": 1_000_000,
    "tokens_per_minute": 100_000_000,
    "concurrent_requests": 10_000,
    "token_budget": 10**12,
}
# Probes are seldom, and nobody is asked for the length of a prompt, so that they do not disturb what a test counts;
# failures are looked at soon.
_SETTINGS = Settings(
    probe_interval_seconds=60,
    probe_retry_seconds=0.05,
    probe_deadline_seconds=1,
    access_log=False,
    aborted_prompts="estimate",
    records=False,
)


async def wait_until(is_true: Callable[[], object], *, seconds: float = 15) -> None:
    """Wait for a condition; it is looked at whenever the loop comes round. The bound only ends a failing test."""
    with trio.fail_after(seconds):
        while not is_true():
            await trio.sleep(0.001)


class Gateway:
    """A running worker: its stages to look into, and connections to its front door."""

    def __init__(self, worker: Worker, port: int, directory: Path, log: MemoryLog) -> None:
        self.worker = worker
        self.stages = worker._stages
        self.door = worker._door
        self.port = port
        self.log = log
        self.expected_crashes = 0
        self.callers: list[Caller] = []
        self._journal = directory / "journal"

    def backend(self, name: str = "engine-a") -> Upstream:
        return self.stages.registry.backends[name]

    async def connect(self, *, receive_bytes: int = 0) -> Caller:
        """A client. `receive_bytes`: a small receive buffer, so that a client that does not read is felt soon."""
        sock = trio.socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await sock.connect(("127.0.0.1", self.port))
        caller = Caller(trio.SocketStream(sock))
        caller.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.callers.append(caller)
        return caller

    def records(self) -> list[JournalRecord]:
        return [record for segment in segments(self._journal) for _, record in read_segment(segment.path)]

    async def wait_records(self, count: int) -> list[JournalRecord]:
        """All records, once there are so many."""
        await wait_until(lambda: len(self.records()) >= count)
        return self.records()

    async def last_record(self, count: int = 1) -> JournalRecord:
        """The `count`th record, once it has been written; there must be no more than that."""
        records = await self.wait_records(count)
        assert len(records) == count, records
        return records[-1]

    # The balance

    def leftovers(self) -> dict[str, object]:
        """Everything that is held now, but for clients that are connected; empty when nothing is."""
        stages = self.stages
        held: dict[str, object] = {"waiting": stages.scheduler.waiting_total}
        for account in stages.ledger.statistics(trio.current_time()):
            held[f"in flight of {account.name}"] = account.in_flight
            held[f"reserved by {account.name}"] = account.reserved_tokens
        for backend in stages.registry.backends.values():
            held[f"slots of {backend.name}"] = backend.in_flight
            held[f"relays of {backend.name}"] = len(backend.pump.relays)
            held[f"leases of {backend.name}"] = backend.pool.open_connections - backend.pool.idle_connections
        control = stages.control
        held["control relays"] = len(control.pump.relays)
        held["control leases"] = control.pool.open_connections - control.pool.idle_connections
        return {name: count for name, count in held.items() if count}

    async def settled(self) -> None:
        """Wait until nothing is held any more."""
        try:
            await wait_until(lambda: not self.leftovers())
        except trio.TooSlowError:
            pytest.fail(f"still held: {self.leftovers()}")

    async def emptied(self) -> None:
        """All clients leave; then nothing may be held, and the poller knows idle backend connections only."""
        for caller in self.callers:
            await caller.leave()
        await self.settled()
        pools = [backend.pool for backend in self.stages.registry.backends.values()] + [self.stages.control.pool]
        try:
            await wait_until(lambda: not self.door.clients)
            await wait_until(
                lambda: sum(map(bool, self.stages.poller.sources)) == sum(pool.open_connections for pool in pools)
            )
        except trio.TooSlowError:
            pytest.fail(f"clients {len(self.door.clients)}, sources {[*filter(None, self.stages.poller.sources)]}")
        assert self.stages.counters.crashes == self.expected_crashes, self.log.lines


def backend_tasks(gateway: Gateway) -> list[str]:
    """The names of all backends' tasks, whether anybody knows of the backend or not."""
    tasks = gateway.stages.registry._nursery.child_tasks
    return sorted(task.name for task in tasks if task.name.startswith("backend "))


@asynccontextmanager
async def run_gateway(
    directory: Path,
    *engines: FakeEngine,
    backends: tuple[Backend, ...] = (),
    keys: tuple[Key, ...] = (),
    max_concurrent: int = 64,
    **settings: object,
) -> AsyncIterator[Gateway]:
    """A running worker before these engines, with one key (`KEY`) of one user with every kind of limit.

    What the body raises comes out as it is. A body that ends well is followed by the balance.
    """
    data_directory = open_data_directory(str(directory))
    own = tuple(
        Backend(kind=engine.kind, url=engine.url, name=engine.name, max_concurrent=max_concurrent) for engine in engines
    )
    wanted = replace(
        _SETTINGS,
        backends=own + backends,
        users=(User(name="ada", group="staff", **_AMPLE),),
        keys=(Key(name="first", key=KEY, user="ada", **_AMPLE), *keys),
        **settings,  # type: ignore[arg-type]
    )
    snapshot = replaced(merge(compile_snapshot(wanted, read_secret(data_directory), ()), None), generation=1)
    write(data_directory.snapshot, snapshot)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setblocking(False)
    log = MemoryLog()
    follower = Follower(data_directory.snapshot)
    worker = Worker("test", follower, follower.first(), listener, log)  # type: ignore[arg-type]
    gateway = Gateway(worker, listener.getsockname()[1], directory, log)
    failure: Exception | None = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mrproxy.worker.settle_garbage", lambda: None)  # meant for a process of its own
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            try:
                await wait_until(lambda: log.events("worker serves"))
                yield gateway
                await gateway.emptied()
            except Exception as exc:
                failure = exc
            finally:
                for caller in gateway.callers:
                    caller.stream.socket.close()
                nursery.cancel_scope.cancel()
    gateway.stages.poller.close()
    gateway.stages.journal.close()
    gateway.worker._captures.close()
    listener.close()
    if failure is not None:
        raise failure
