"""Shell. The supervisor: one port, one data directory, children in order, reloads that are all or nothing."""

import io
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
import trio.testing

from mrproxy.child import Command, Running, launch_process
from mrproxy.config import Backend, ConfigError, Settings
from mrproxy.link import snapshot as snapshots
from mrproxy.provision import open_data_directory, supervisor_pid
from mrproxy.supervisor import Supervisor, announce_key, announce_ready, bound_listener, is_serving, only_one, url_of
from mrproxy.telemetry.log import Log
from tests.fakes.process import FakeLaunch, FakeProcess


@dataclass
class Scene:
    """A supervisor without processes, on a data directory of its own."""

    data_dir: Path
    settings: Settings
    launch: FakeLaunch
    out: io.StringIO
    log_path: Path
    supervisor: Supervisor

    def events(self, event: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log_path.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def snapshot(self) -> snapshots.Snapshot:
        return snapshots.read(self.data_dir / "snapshot.json")

    def of(self, role: str) -> list[FakeProcess]:
        return [process for process in self.launch.processes if role in process.arguments]


@pytest.fixture
def make_scene(tmp_path: Path):
    descriptors = []

    def make(**options: object) -> Scene:
        settings = replace(Settings(), host="127.0.0.1", port=0, data_dir=str(tmp_path / "data"), drain_seconds=20.0)
        log_path = tmp_path / "log"
        descriptors.append(os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        log = Log(descriptors[-1], lambda: 0.0, "supervisor")
        out, launch = io.StringIO(), FakeLaunch(**options)  # type: ignore[arg-type]
        scene: Scene
        supervisor = Supervisor(lambda: scene.settings, log, lambda: 5.0, out, launch, nothing_found)
        scene = Scene(tmp_path / "data", settings, launch, out, log_path, supervisor)
        return scene

    yield make
    for descriptor in descriptors:
        os.close(descriptor)


async def nothing_found(ports: Sequence[int]) -> tuple[Backend, ...]:
    return ()


@asynccontextmanager
async def serving(scene: Scene, processes: int = 2) -> AsyncIterator[None]:
    """Serves inside the block; the block has to end it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.supervisor.serve)
        await scene.launch.wait_started(processes)
        await trio.testing.wait_all_tasks_blocked()
        yield


async def wait_until(holds: Callable[[], object]) -> None:
    while not holds():
        await trio.lowlevel.checkpoint()


async def test_control_and_worker_are_started_with_snapshot_and_sockets(make_scene, autojump_clock):
    scene = make_scene()
    async with serving(scene):
        (control,) = scene.of("control")
        (worker,) = scene.of("worker")
        assert control.arguments[3:6] == ("control", "--snapshot", str(scene.data_dir / "snapshot.json"))
        assert worker.arguments[3:6] == ("worker", "--name", "w1")
        assert "--shared" not in (*worker.arguments, *control.arguments)
        listener = socket.socket(fileno=os.dup(int(worker.arguments[worker.arguments.index("--listen-fd") + 1])))
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        listener.close()
        assert scene.snapshot().generation == 1
        assert supervisor_pid(open_data_directory(str(scene.data_dir))) == os.getpid()
        signal.raise_signal(signal.SIGTERM)
    assert supervisor_pid(open_data_directory(str(scene.data_dir))) is None


async def test_several_workers_share_the_listener(make_scene, autojump_clock):
    scene = make_scene()
    scene.supervisor.workers = ("w1", "w2")
    async with serving(scene, processes=3):
        one, two = scene.of("worker")
        assert (
            one.arguments[one.arguments.index("--listen-fd") :] == two.arguments[two.arguments.index("--listen-fd") :]
        )
        assert all(each.arguments[-1] == "--shared" for each in (one, two, *scene.of("control")))
        signal.raise_signal(signal.SIGTERM)


async def test_the_first_key_is_printed_once_and_not_logged(make_scene, autojump_clock):
    scene = make_scene()
    async with serving(scene):
        signal.raise_signal(signal.SIGTERM)
    line = scene.out.getvalue()
    assert line.startswith("First API key (shown only now): mr_")
    assert line.split()[-1] not in scene.log_path.read_text()
    async with serving(scene, processes=4):
        signal.raise_signal(signal.SIGTERM)
    assert scene.out.getvalue() == line
    assert len(scene.snapshot().keys) == 1


async def test_workers_drain_before_control_is_stopped(make_scene, autojump_clock):
    scene = make_scene(deaf=True)
    async with serving(scene):
        (control,), (worker,) = scene.of("control"), scene.of("worker")
        signal.raise_signal(signal.SIGTERM)
        await wait_until(lambda: worker.signals)
        await trio.sleep(15)
        assert worker.signals == [signal.SIGTERM]
        assert control.signals == []
        worker.end(0)
        await wait_until(lambda: control.signals)
        control.end(0)
    assert (worker.returncode, control.returncode) == (0, 0)


async def test_a_worker_that_does_not_drain_is_killed_after_the_deadline(make_scene, autojump_clock):
    scene = make_scene(deaf=True)
    before = trio.current_time()
    async with serving(scene):
        signal.raise_signal(signal.SIGINT)
    assert [process.returncode for process in scene.launch.processes] == [-9, -9]
    assert trio.current_time() - before == pytest.approx(20 + 5 + 5, abs=0.5)


async def test_a_second_signal_kills_at_once(make_scene, autojump_clock):
    scene = make_scene(deaf=True)
    before = trio.current_time()
    async with serving(scene):
        signal.raise_signal(signal.SIGTERM)
        await wait_until(lambda: scene.of("worker")[0].signals)
        signal.raise_signal(signal.SIGTERM)
    assert [process.returncode for process in scene.launch.processes] == [-9, -9]
    assert trio.current_time() - before < 1


async def test_a_crashed_worker_is_restarted_on_the_same_listener(make_scene, autojump_clock):
    scene = make_scene()
    async with serving(scene):
        scene.of("worker")[0].end(-9)
        await scene.launch.wait_started(3)
        first, second = scene.of("worker")
        assert first.arguments == second.arguments
        signal.raise_signal(signal.SIGTERM)
    assert [line["reason"] for line in scene.events("child ended")] == ["killed by SIGKILL"]


async def test_a_valid_reload_writes_the_snapshot_and_tells_the_children(make_scene, autojump_clock):
    scene = make_scene()
    async with serving(scene):
        scene.settings = replace(scene.settings, max_attempts=7, backends=(Backend(kind="vllm", url="http://a"),))
        signal.raise_signal(signal.SIGHUP)
        await wait_until(lambda: len([p for p in scene.launch.processes if p.signals == [signal.SIGHUP]]) == 2)
        snapshot = scene.snapshot()
        signal.raise_signal(signal.SIGTERM)
    assert (snapshot.generation, snapshot.settings.max_attempts) == (2, 7)
    assert [line["generation"] for line in scene.events("reloaded")] == [2]


async def test_a_broken_reload_changes_nothing_and_says_why(make_scene, autojump_clock):
    scene = make_scene()

    def broken() -> Settings:
        raise ConfigError("file x: port is 'y', not a whole number")

    async with serving(scene):
        scene.supervisor.load_settings = broken
        signal.raise_signal(signal.SIGHUP)
        await wait_until(lambda: scene.events("reload refused"))
        assert scene.snapshot().generation == 1
        assert [process.signals for process in scene.launch.processes] == [[], []]
        signal.raise_signal(signal.SIGTERM)
    assert scene.events("reload refused")[0]["reason"] == "file x: port is 'y', not a whole number"


async def test_a_closed_terminal_stops_what_ran_on_it(make_scene, autojump_clock):
    scene = make_scene()
    answers = [True, False]
    scene.supervisor.has_terminal = lambda: answers.pop(0)
    async with serving(scene):
        signal.raise_signal(signal.SIGHUP)
    assert scene.events("reloaded") == []
    assert len(scene.events("draining")) == 1


async def test_settings_that_need_a_restart_keep_their_values_over_a_reload(make_scene, autojump_clock):
    scene = make_scene()
    async with serving(scene):
        scene.settings = replace(scene.settings, port=1, max_attempts=9)
        signal.raise_signal(signal.SIGHUP)
        await wait_until(lambda: scene.events("reloaded"))
        settings = scene.snapshot().settings
        signal.raise_signal(signal.SIGTERM)
    assert (settings.port, settings.max_attempts) == (0, 9)
    assert [line["setting"] for line in scene.events("setting needs a restart to change")] == ["port"]


async def test_engines_on_usual_ports_serve_where_none_is_configured(make_scene, autojump_clock):
    scene = make_scene()
    engine = Backend(kind="ollama", url="http://127.0.0.1:11434", name="ollama-11434")
    answers = [(), (), (engine,)]
    asked = []

    async def find(ports: Sequence[int]) -> tuple[Backend, ...]:
        asked.append(tuple(ports))
        return answers.pop(0)

    scene.supervisor.find_engines = find
    async with serving(scene):
        assert scene.snapshot().backends == ()
        await trio.sleep(60)
        assert [each.name for each in scene.snapshot().backends] == ["ollama-11434"]
        signal.raise_signal(signal.SIGHUP)
        await wait_until(lambda: len(scene.events("reloaded")) == 2)
        assert [each.name for each in scene.snapshot().backends] == ["ollama-11434"]
        signal.raise_signal(signal.SIGTERM)
    assert asked == [(11434, 8000, 8080, 30000, 1234)] * 3


async def test_nothing_is_looked_for_where_backends_are_configured_or_looking_is_off(make_scene, autojump_clock):
    for options in ({"backends": (Backend(kind="vllm", url="http://a", name="a"),)}, {"discover": False}):
        scene = make_scene()
        scene.settings = replace(scene.settings, **options)

        async def find(ports: Sequence[int]) -> tuple[Backend, ...]:
            raise AssertionError("asked")

        scene.supervisor.find_engines = find
        async with serving(scene):
            signal.raise_signal(signal.SIGTERM)


async def test_readiness_is_announced_when_every_worker_answers(make_scene):
    scene = make_scene()
    with trio.fail_after(20):
        async with serving(scene), trio.open_nursery() as nursery:
            await nursery.start(answer_status, scene.data_dir / "run" / "worker-w1.sock")
            await wait_until_slowly(lambda: "mrproxy is ready" in scene.out.getvalue())
            nursery.cancel_scope.cancel()
            signal.raise_signal(signal.SIGTERM)
    assert scene.out.getvalue().splitlines()[-1].startswith("mrproxy is ready on http://127.0.0.1:")


async def wait_until_slowly(holds: Callable[[], object]) -> None:
    """For conditions that real sockets bring about: the pause lets them, and costs nothing else."""
    while not holds():
        await trio.sleep(0.001)


async def answer_status(path: Path, status: bytes = b"200 OK", *, task_status: trio.TaskStatus[None]) -> None:
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    with listener:
        await listener.bind(str(path))
        listener.listen()
        task_status.started()
        while True:
            client, _ = await listener.accept()
            with client:
                await client.recv(999)
                await client.send(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")


async def test_only_200_counts_as_serving(tmp_path, monkeypatch):
    monkeypatch.setattr("mrproxy.supervisor.STATUS_SECONDS", 20)
    path = tmp_path / "worker.sock"
    assert await is_serving(path) is False
    async with trio.open_nursery() as nursery:
        await nursery.start(answer_status, path, b"503 Service Unavailable")
        assert await is_serving(path) is False
        nursery.cancel_scope.cancel()
    assert await is_serving(path) is False


WORKER = """
import os, signal, socket, sys, threading
if sys.argv[1] == "control":
    signal.pause()
status = os.path.join(os.path.dirname(sys.argv[sys.argv.index("--snapshot") + 1]), "run", "worker-w1.sock")
if os.path.exists(status):
    os.unlink(status)
inside = socket.socket(socket.AF_UNIX)
inside.bind(status)
inside.listen()
def answer():
    while True:
        client, _ = inside.accept()
        client.recv(999)
        client.send(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
        client.close()
threading.Thread(target=answer, daemon=True).start()
listener = socket.socket(fileno=int(sys.argv[sys.argv.index("--listen-fd") + 1]))
listener.setblocking(True)
while True:
    client, _ = listener.accept()
    client.send(str(os.getpid()).encode())
    client.close()
"""


async def who_answers(port: int) -> int:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        return int(b"".join([piece async for piece in stream]))


@pytest.mark.slow
async def test_a_real_worker_that_is_killed_costs_no_connection_attempt(make_scene):
    scene = make_scene()

    async def launch_script(command: Command, *, task_status: trio.TaskStatus[Running]) -> object:
        arguments = (sys.executable, "-I", "-c", WORKER, *command.arguments[3:])
        return await launch_process(Command(arguments, command.inherited), task_status=task_status)

    scene.supervisor.launch = launch_script
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.supervisor.serve)
            await wait_until_slowly(lambda: "mrproxy is ready" in scene.out.getvalue())
            port = int(scene.out.getvalue().rpartition(":")[2])
            first = await who_answers(port)
            os.kill(first, signal.SIGKILL)
            # A process that is being killed may still take one connection with it; once it is reaped it cannot.
            await wait_until_slowly(lambda: scene.events("child ended"))
            second = await who_answers(port)  # connects to the backlog, and is answered by the next worker
            signal.raise_signal(signal.SIGTERM)
    assert second != first
    assert [line["reason"] for line in scene.events("child ended")] == ["killed by SIGKILL"]
    assert {line["reason"] for line in scene.events("child stopped")} == {"killed by SIGTERM"}


def test_a_second_supervisor_on_the_same_directory_is_refused(tmp_path):
    directory = open_data_directory(str(tmp_path))
    with only_one(directory), pytest.raises(ConfigError, match=rf"in use by another mrproxy \(pid {os.getpid()}\)"):
        with only_one(directory):
            pass
    with only_one(directory):
        pass


def test_a_taken_port_is_refused_by_name():
    with bound_listener(Settings(port=0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: Address already in use"):
            with bound_listener(Settings(port=port)):
                pass


def test_a_host_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="cannot listen on not a host"):
        with bound_listener(Settings(host="not a host")):
            pass


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "127.0.0.1")]
)
def test_the_url_can_be_typed_into_a_browser(host, shown):
    with bound_listener(Settings(host=host, port=0)) as listener:
        port = listener.getsockname()[1]
        assert url_of(Settings(host=host), listener) == f"http://{shown}:{port}"
        assert url_of(Settings(tls_cert="c", tls_key="k"), listener).startswith("https://")


def test_the_ipv6_wildcard_serves_both_families():
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 on this machine")
    with bound_listener(Settings(host="::", port=0)) as listener:
        port = listener.getsockname()[1]
        assert url_of(Settings(), listener) == f"http://[::1]:{port}"
        socket.create_connection(("127.0.0.1", port)).close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_on_a_terminal_learns_what_to_do_next():
    terminal, pipe = Terminal(), io.StringIO()
    announce_ready(terminal, "http://h:1", ["vllm-9001"])
    announce_ready(terminal, "http://h:1", [])
    announce_ready(pipe, "http://h:1", ["vllm-9001"])
    assert pipe.getvalue() == "mrproxy is ready on http://h:1\n"
    assert "OpenAI SDKs: http://h:1/v1" in terminal.getvalue()
    assert "backends: vllm-9001\n" in terminal.getvalue()
    assert "start with --backend KIND=URL" in terminal.getvalue()


def test_a_key_is_emphasised_on_a_terminal_only():
    terminal, pipe = Terminal(), io.StringIO()
    announce_key(terminal, "k")
    announce_key(pipe, "k")
    assert terminal.getvalue() == "First API key (shown only now): \x1b[1mk\x1b[0m\n"
    assert pipe.getvalue() == "First API key (shown only now): k\n"
