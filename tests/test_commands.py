"""The worker's own Unix socket: what the control plane and the shell's commands ask of a running worker."""

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trio
from msgspec.structs import replace as replaced

from mrproxy import following
from mrproxy.control.reports import decode_report
from mrproxy.dialects.responses.store import StoredResponse, Turn
from mrproxy.link.snapshot import BackendSpec, read, write
from tests.fakes.caller import Answer, Caller, request
from tests.fakes.gateway import Gateway, backend_tasks, run_gateway, wait_until
from tests.fakes.loop_engine import run_engine

pytestmark = pytest.mark.slow


@asynccontextmanager
async def commanded(directory: Path) -> AsyncIterator[tuple[Gateway, Caller]]:
    """A worker in front of one engine, and a connection to its socket."""
    async with run_engine() as engine, run_gateway(directory, engine) as gateway:
        commands = Caller(await trio.open_unix_socket(directory / "run" / "worker-test.sock"))
        gateway.callers.append(commands)
        yield gateway, commands


async def ask(caller: Caller, method: str, path: str) -> Answer:
    await caller.send(request(path, method=method, key=None))
    return await caller.read_answer()


async def test_the_socket_is_the_owners_alone(tmp_path):
    async with commanded(tmp_path):
        assert (tmp_path / "run" / "worker-test.sock").stat().st_mode & 0o777 == 0o600


async def test_the_status_says_which_snapshot_is_served(tmp_path):
    async with commanded(tmp_path) as (_, commands):
        answer = await ask(commands, "GET", "/status")
        assert (answer.status, answer.json) == (200, {"worker": "test", "generation": 1, "serving": True})


async def test_the_counters_are_a_report_that_control_reads(tmp_path):
    async with commanded(tmp_path) as (gateway, commands):
        caller = await gateway.connect()
        await caller.ask()
        await caller.read_answer()
        await gateway.wait_records(1)
        report = decode_report((await ask(commands, "GET", "/counters")).payload)
        assert [entry[1:] for entry in report.requests] == [("m", "engine-a", 200, 1)]
        assert report.counters["journal_records_total"] == 1
        assert (report.backends[0].name, report.backends[0].healthy) == ("engine-a", True)
        assert (report.snapshot.generation, report.snapshot.loaded) == (1, True)


async def test_a_response_that_was_deleted_elsewhere_is_forgotten(tmp_path):
    async with commanded(tmp_path) as (gateway, commands):
        stored = StoredResponse("resp_1", b"{}", (), Turn(()))
        gateway.stages.responses.put("user:Ada Ü/1", stored, trio.current_time())
        for owner, is_there in (("user:Ada", False), ("user:Ada Ü/1", True)):
            answer = await ask(commands, "DELETE", f"/responses/{quote(owner, safe='')}/resp_1")
            assert (answer.status, answer.json) == (200, {"forgotten": is_there})
        assert gateway.stages.responses.statistics() == (0, 0)


async def test_a_drained_backend_gets_nothing_until_it_is_let_in_again(tmp_path):
    async with commanded(tmp_path) as (gateway, commands):
        caller = await gateway.connect()
        for verb, status in (("drain", 503), ("undrain", 200)):
            answer = await ask(commands, "POST", f"/backends/engine-a/{verb}")
            assert answer.json["draining"] is (verb == "drain")
            await caller.ask()
            assert (await caller.read_answer()).status == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/backends/nobody/drain"),
        ("POST", "/backends/nobody/probe"),
        ("GET", "/nothing"),
        ("GET", "/reload"),
        ("POST", "/status"),
    ],
)
async def test_what_it_does_not_know_is_404(tmp_path, method, path):
    async with commanded(tmp_path) as (_, commands):
        answer = await ask(commands, method, path)
        assert answer.status == 404
        assert answer.json["error"]
        assert (await ask(commands, "GET", "/status")).status == 200


async def test_a_backend_is_probed_when_somebody_asks_for_it(tmp_path):
    async with commanded(tmp_path) as (gateway, commands):
        gateway.backend().is_known = False
        assert (await ask(commands, "POST", "/backends/engine-a/probe")).json == {"probing": "engine-a"}
        await wait_until(lambda: gateway.backend().is_known)


async def test_a_reload_takes_over_what_is_on_disk_or_says_why_not(tmp_path):
    async with commanded(tmp_path) as (_, commands):
        path = tmp_path / "snapshot.json"
        snapshot = read(path)
        path.write_text("{")
        refused = await ask(commands, "POST", "/reload")
        assert refused.status == 400
        assert "snapshot" in refused.json["error"]
        assert (await ask(commands, "GET", "/status")).json["generation"] == 1
        write(path, type(snapshot)(**{**fields_of(snapshot), "generation": 7}))
        assert (await ask(commands, "POST", "/reload")).json == {"generation": 7}


async def begun_reload(gateway: Gateway, commands: Caller, monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Somebody has asked for a reload of generation 7, which goes on when the event is set."""
    snapshot, goes_on, has_begun = read(gateway.worker._follower.path), trio.Event(), trio.Event()
    take_over = following._in_slices

    async def take_over_slowly(steps):
        has_begun.set()
        await goes_on.wait()
        return await take_over(steps)

    monkeypatch.setattr(following, "_in_slices", take_over_slowly)
    write(gateway.worker._follower.path, replaced(snapshot, generation=7))
    await commands.send(request("/reload", method="POST", key=None))
    await has_begun.wait()
    return goes_on


async def test_a_reload_whose_asker_has_hung_up_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("mrproxy.worker._LOOK_SECONDS", 1000)
    async with commanded(tmp_path) as (gateway, commands):
        goes_on = await begun_reload(gateway, commands, monkeypatch)
        await commands.leave()
        await wait_until(lambda: not gateway.worker._commands_door.clients)
        goes_on.set()
        await wait_until(lambda: gateway.worker._catalogue.head.generation == 7, seconds=2)


async def test_who_asks_in_the_middle_of_a_reload_hears_of_what_is_there_by_then(tmp_path, monkeypatch):
    monkeypatch.setattr("mrproxy.worker._LOOK_SECONDS", 1000)
    async with commanded(tmp_path) as (gateway, commands):
        goes_on = await begun_reload(gateway, commands, monkeypatch)
        path = gateway.worker._follower.path
        write(path, replaced(read(path), generation=8))
        other = Caller(await trio.open_unix_socket(tmp_path / "run" / "worker-test.sock"))
        gateway.callers.append(other)
        await other.send(request("/reload", method="POST", key=None))
        goes_on.set()
        assert (await other.read_answer()).json == {"generation": 8}
        assert (await commands.read_answer()).status == 200


async def test_backends_of_a_reload_whose_asker_has_hung_up_are_there_when_they_were_heard_of(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with commanded(tmp_path) as (gateway, commands):
            path, registry = gateway.worker._follower.path, gateway.stages.registry
            first = read(path)
            backends = tuple(BackendSpec(name, "vllm", url, 4) for name in ("deaf", "deaf-too"))
            write(path, replaced(first, generation=2, backends=first.backends + backends))
            await commands.send(request("/reload", method="POST", key=None))
            await wait_until(lambda: gateway.worker._catalogue.head.generation == 2)
            await commands.leave()
            assert set(registry.backends) == {"engine-a"}
            await wait_until(lambda: set(registry.backends) == {"engine-a", "deaf", "deaf-too"})
            write(path, replaced(first, generation=3))
            await wait_until(lambda: set(registry.backends) == {"engine-a"})
            await wait_until(lambda: backend_tasks(gateway) == ["backend engine-a"])


async def test_a_signal_reloads(tmp_path, monkeypatch):
    monkeypatch.setattr("mrproxy.worker._LOOK_SECONDS", 1000)
    async with commanded(tmp_path) as (gateway, _):
        path = gateway.worker._follower.path
        write(path, replaced(read(path), generation=7))
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_until(lambda: gateway.worker._catalogue.head.generation == 7, seconds=2)


@pytest.fixture
def _survives_sigterm():
    """A worker that does not take it hands it back to the process."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_survives_sigterm")
async def test_the_signal_to_drain_does_not_wait_for_a_reload(tmp_path, monkeypatch):
    monkeypatch.setattr("mrproxy.worker._LOOK_SECONDS", 1000)
    async with commanded(tmp_path) as (gateway, commands):
        await begun_reload(gateway, commands, monkeypatch)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        await wait_until(gateway.worker._drain.is_set, seconds=2)


def fields_of(struct: object) -> dict[str, object]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def test_the_queue_shows_who_waits(tmp_path):
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_concurrent=1) as gateway:
        commands = Caller(await trio.open_unix_socket(tmp_path / "run" / "worker-test.sock"))
        gateway.callers.append(commands)
        assert (await ask(commands, "GET", "/queue")).json == {"flows": []}
        gateway.backend().take()  # its one slot is somebody else's
        caller = await gateway.connect()
        await caller.ask()
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 1)
        flows = (await ask(commands, "GET", "/queue")).json["flows"]
        assert len(flows) == 1
        gateway.backend().release()
        gateway.stages.scheduler.slot_freed(gateway.backend())
        assert (await caller.read_answer()).status == 200


async def test_what_is_no_http_ends_the_connection_with_400(tmp_path):
    async with commanded(tmp_path) as (_, commands):
        await commands.send(b"\x16\x03\x01 is TLS\r\n\r\n")
        answer = await commands.read_answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await commands.read_to_end() == b""
