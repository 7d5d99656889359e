"""A control plane on a real Unix socket in a temporary data directory, and an httpx client for it; a database."""

import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from mrproxy.control.server import serve_control
from mrproxy.link.journal import Writer
from mrproxy.storage.database import Database
from mrproxy.storage.people.groups import seed_groups
from mrproxy.storage.urls import locate
from tests.control.api.conftest import NOW
from tests.fakes.log import MemoryLog
from tests.fakes.worker import FakeWorker
from tests.storage.tables import opened, opened_with_tables

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class FewSettings:
    drain_seconds: float = 5.0
    access_log: bool = True


@dataclass
class Control:
    """`client` speaks to it; `drain` ends it; `log` is what it wrote."""

    data_dir: Path
    nursery: trio.Nursery
    drain: trio.Event = field(default_factory=trio.Event)
    log: MemoryLog = field(default_factory=MemoryLog)
    exits: list[int] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)
    client: httpx.AsyncClient = field(init=False)
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(self.data_dir / "journal", "0", 1 << 20)

    @property
    def socket_path(self) -> Path:
        return self.data_dir / "run" / "control.sock"

    async def add_worker(self, name: str, body: object, **options: Any) -> FakeWorker:
        worker = FakeWorker(self.data_dir / "run", name, body, **options)
        await self.nursery.start(worker.serve)
        return worker

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await serve_control(
            FewSettings(),
            self.data_dir,
            drain=self.drain,
            log=self.log,
            exit_hard=self.exits.append,
            task_status=task_status,
        )
        self.ended.set()

    async def open_stream(self) -> trio.SocketStream:
        plain = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await plain.connect(str(self.socket_path))
        return trio.SocketStream(plain)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with tables and the usual groups: made once, copied for each test."""
    location = locate("", tmp_path_factory.mktemp("empty"))

    async def make() -> None:
        async with opened_with_tables(location) as database:
            await database.transact(seed_groups, NOW)

    trio.run(make)
    assert location.file is not None
    return location.file


@pytest.fixture
async def database(tmp_path: Path, empty_database: Path) -> AsyncIterator[Database]:
    location = locate("", tmp_path)
    assert location.file is not None
    shutil.copy(empty_database, location.file)
    async with opened(location) as database:
        yield database


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    # Sockets have 107 bytes for their path; pytest's directories are long but fit.
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
async def control(data_dir: Path, nursery: trio.Nursery) -> AsyncIterator[Control]:
    plane = Control(data_dir, nursery)
    await nursery.start(plane.serve)
    transport = httpx.AsyncHTTPTransport(uds=str(plane.socket_path), verify=PLAIN)
    async with httpx.AsyncClient(transport=transport, base_url="http://control", timeout=5) as client:
        plane.client = client
        yield plane
    plane.writer.close()
    plane.drain.set()
    with trio.fail_after(5):
        await plane.ended.wait()
    assert not plane.socket_path.exists()
