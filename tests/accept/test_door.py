"""The front door: how many may come in, and what a flood of strangers costs."""

import errno
import gc
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from tests.fakes.behaviours import answer, hang, sized
from tests.fakes.caller import chat, request
from tests.fakes.certificate import make_certificate
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import FakeEngine, run_engine

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_connections_beyond_the_limit_are_told_503_and_closed(tmp_path: Path, limit: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **{limit: 3}) as gateway:
        callers = [await gateway.connect() for _ in range(3)]
        await wait_until(lambda: len(gateway.door.clients) == 3)
        refused = await gateway.connect()
        got = await refused.read_answer()
        assert (got.status, got.json["error"]["code"]) == (503, "too_many_connections")
        assert (got.headers["retry-after"], got.headers["connection"]) == ("1", "close")
        assert await refused.read_to_end() == b""
        for caller in callers:  # those inside are served
            await caller.ask()
            assert (await caller.read_answer()).status == 200
        await callers.pop().leave()
        await wait_until(lambda: len(gateway.door.clients) == 2)
        again = await gateway.connect()
        await again.ask()
        assert (await again.read_answer()).status == 200
        assert gateway.stages.counters.connections_refused == 1


@dataclass
class Secure:
    """A worker with TLS; `open` shakes hands with it. Small buffers: what is not read stays with the worker."""

    gateway: Gateway
    streams: list[trio.SSLStream[trio.SocketStream]] = field(default_factory=list)

    async def open(self) -> trio.SSLStream[trio.SocketStream]:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        await sock.connect(("127.0.0.1", self.gateway.port))
        stream = trio.SSLStream(trio.SocketStream(sock), trust, server_hostname="gateway", https_compatible=True)
        self.streams.append(stream)
        await stream.do_handshake()
        return stream


@asynccontextmanager
async def run_secure(directory: Path, *engines: FakeEngine, **settings: object) -> AsyncIterator[Secure]:
    cert, key = make_certificate(directory)
    async with run_gateway(directory, *engines, tls_cert=str(cert), tls_key=str(key), **settings) as gateway:
        secure = Secure(gateway)
        try:
            yield secure
        finally:
            for stream in secure.streams:
                await trio.aclose_forcefully(stream)


GREETING = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_GREETING = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_a_secure_connection_counts_until_its_last_byte_is_taken(tmp_path: Path) -> None:
    async with run_secure(tmp_path, max_connections=2, client_write_idle_seconds=3) as secure:
        deaf = [await secure.open() for _ in range(2)]
        for stream in deaf:
            with trio.move_on_after(0.2):
                await stream.send_all(GREETING * 300 + LAST_GREETING)
        await wait_until(lambda: not secure.gateway.door.clients)  # their fibers have ended, what they said has not
        with pytest.raises((trio.BrokenResourceError, ssl.SSLError)):
            await secure.open()
        assert secure.gateway.stages.counters.connections_refused == 1
        with trio.fail_after(10):  # they take nothing: in the end they are given up
            while True:
                try:
                    await secure.open()
                    break
                except (trio.BrokenResourceError, ssl.SSLError):
                    await trio.sleep(0.1)


async def test_a_secure_connection_that_finds_no_descriptors_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_secure(tmp_path) as secure:

        def exhausted() -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr("mrproxy.accept.door.socket.socketpair", exhausted)
            stream = await secure.open()
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some(1) == b""
        stream = await secure.open()
        await stream.send_all(LAST_GREETING)
        assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 200 ")


async def test_a_drain_waits_for_the_last_bytes_of_secure_connections(tmp_path: Path) -> None:
    async with run_engine() as engine, run_secure(tmp_path, engine) as secure:
        engine.behaviour = answer(sized(b"x" * 400_000))
        stream = await secure.open()
        await stream.send_all(request(body=chat()))
        got = len(await stream.receive_some(1000))
        secure.gateway.worker._drain.set()
        await trio.sleep(0.3)  # all is said now, and stands in buffers
        while got < 400_000:
            received = await stream.receive_some(20_000)
            assert received, f"it ended after {got} bytes"
            got += len(received)


async def flood(gateway: Gateway, name: str, count: int) -> None:
    """So many requests, each with another wrong key, on a few connections."""

    async def one(first: int) -> None:
        caller = await gateway.connect()
        for index in range(first, count, 10):
            await caller.send(request(body=chat(), key=f"{name}-{index}"))
            assert (await caller.read_answer()).status == 401
        await caller.leave()

    async with trio.open_nursery() as nursery:
        for first in range(10):
            nursery.start_soon(one, first)
    gateway.callers.clear()
    await wait_until(lambda: not gateway.door.clients)


async def test_a_flood_of_invalid_keys_leaves_no_trace_in_memory_or_journal(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        blocks = []
        for name in ("first", "second", "third", "fourth"):
            await flood(gateway, name, 2500)
            gateway.door.heads.forget()  # a bounded cache, with a test of its own
            gc.collect()
            blocks.append(sys.getallocatedblocks())
        growth = max(blocks[2:]) - max(blocks[:2])
        assert growth < 5000 // 10, f"objects stay behind: {blocks}"
        assert gateway.stages.counters.refused["invalid_key"] == 10_000
        assert not gateway.records()
        assert not engine.turns
        caller = await gateway.connect()
        await caller.ask()
        assert (await caller.read_answer()).status == 200


async def test_the_cache_of_heads_is_bounded(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        await flood(gateway, "stranger", 3000)
        sizes = [len(value) for value in vars(gateway.door.heads).values() if isinstance(value, dict)]
        assert all(size <= 2048 for size in sizes)


async def test_strangers_upload_nothing(tmp_path: Path) -> None:
    """The key is looked at before the body is read."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        await caller.send(request(body=b"x" * 50_000_000, key="nobodys")[:1000])
        got = await caller.read_answer()
        assert (got.status, got.headers["connection"]) == (401, "close")


async def test_many_connections_at_once_are_all_served(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:

        async def one() -> None:
            caller = await gateway.connect()
            await caller.ask()
            assert (await caller.read_answer()).status == 200
            await caller.leave()

        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(one)
        assert gateway.stages.counters.connections == 300


async def test_a_connection_that_crashes_ends_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = hang()
        streaming = await gateway.connect()
        await streaming.ask()
        await engine.wait_turn()

        def broken(*_: object) -> None:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(type(gateway.stages.identity), "identify", broken)
            caller = await gateway.connect()
            await caller.ask()
            assert await caller.read_to_end() == b""
        gateway.expected_crashes = 1
        assert gateway.log.events("unexpected error")
        assert gateway.backend().in_flight == 1
        assert len(gateway.door.clients) == 1


@pytest.mark.parametrize("is_warm", [False, True], ids=["new connection", "pooled connection"])
async def test_a_client_sent_away_in_mid_request_leaves_nothing_behind(tmp_path: Path, is_warm: bool) -> None:
    """As the end of a drain does with those that have not finished, and a crash in a connection's own events."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        if is_warm:
            await caller.ask()
            assert (await caller.read_answer()).status == 200
        engine.behaviour = hang()
        await caller.ask()
        turn = await engine.wait_turn(1 + is_warm)
        for client in list(gateway.door.clients):
            client.leave()
        with trio.fail_after(5):
            await turn.left.wait()
        assert await caller.read_to_end() == b""
        await gateway.settled()
        assert len(await gateway.wait_records(1 + is_warm)) == 1 + is_warm
