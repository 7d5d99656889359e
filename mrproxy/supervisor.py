"""Shell. `mrproxy serve`: provisions the data directory, holds the port, keeps the processes running.

    supervisor ── control                     one
               └─ worker w1 (w2 …)            relay traffic; all share the listening socket made here

The supervisor binds the port and hands the listening socket down, so that connections wait in the kernel's backlog
while a worker restarts, instead of being refused. It never accepts, and it never touches a request.

SIGTERM, SIGINT: workers drain first, then control ends. A second one kills.
SIGHUP: read the configuration again; refuse a broken one, otherwise write a new snapshot and pass the signal on.
Read next: `child.py` (restarts), `provision.py` (snapshot), `app.py` (what the children do).
"""

import fcntl
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TextIO

import msgspec
import trio

from mrproxy.child import Child, Command, Launch, launch_process
from mrproxy.clock import Clock
from mrproxy.config import Backend, ConfigError, Settings, about, scalar_fields, variable_of
from mrproxy.link import snapshot as snapshots
from mrproxy.link.publishing import publish
from mrproxy.provision import (
    DataDirectory,
    compile_snapshot,
    first_key,
    open_data_directory,
    read_keys,
    read_secret,
    supervisor_pid,
)
from mrproxy.telemetry.log import Log

# Ollama, vLLM, llama.cpp and LocalAI, SGLang, LM Studio: the defaults of their documentation.
USUAL_PORTS = (11434, 8000, 8080, 30000, 1234)
POLL_SECONDS = 0.05
STATUS_SECONDS = 1.0
# Between a worker's own drain deadline and our SIGKILL: in-band errors, settled entries, the last journal records.
KILL_AFTER_DRAIN_SECONDS = 5.0
CONTROL_STOP_SECONDS = 5.0
# Sockets to backends (slots, pools, probes), the journal and Python itself; each client connection is one more.
SPARE_DESCRIPTORS = 2000

LoadSettings = Callable[[], Settings]


class FindEngines(Protocol):
    """Ask these ports of this machine for inference servers."""

    async def __call__(self, ports: Sequence[int]) -> tuple[Backend, ...]: ...


async def find_local_engines(ports: Sequence[int]) -> tuple[Backend, ...]:
    from mrproxy.discovery import find_engines  # only where nothing is configured: it brings an HTTP client along

    return await find_engines(ports)


def stdin_is_terminal() -> bool:
    return os.isatty(0)


@dataclass(slots=True)
class Supervisor:
    """What `serve` needs to know; tests replace `launch` and the commands."""

    load_settings: LoadSettings
    log: Log
    clock: Clock
    out: TextIO
    launch: Launch = launch_process
    find_engines: FindEngines = find_local_engines
    has_terminal: Callable[[], bool] = stdin_is_terminal
    workers: tuple[str, ...] = ("w1",)
    settings: Settings = field(default_factory=Settings)
    found: dict[str, Backend] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)
    drain_scopes: list[trio.CancelScope] = field(default_factory=list)

    async def serve(self) -> None:
        """Until SIGTERM or SIGINT and the end of all children. Raises ConfigError or OSError before anything runs."""
        self.settings = self.load_settings()
        self.log = self.log.at_level(self.settings.log_level)
        directory = open_data_directory(self.settings.data_dir)
        self.log = self.log.filed(directory.logs, self.settings.log_keep_bytes)
        with ExitStack() as stack:
            stack.enter_context(only_one(directory))
            key = first_key(self.settings, directory, self.clock)
            listener = stack.enter_context(bound_listener(self.settings))
            await self.discover(self.settings, listener)
            self.write_first_snapshot(directory)
            lifeline = stack.enter_context(open_lifeline())
            raise_descriptor_limit(self.settings, self.log)
            if key is not None:
                announce_key(self.out, key)
            await self.run_children(directory, listener, lifeline)

    def write_snapshot(self, directory: DataDirectory, settings: Settings) -> int:
        """Compile the configured part and put it into force; the generation in force.

        Raises SnapshotError, OSError, and ConfigError, after which nothing has changed.
        """
        if not settings.backends:
            settings = replace(settings, backends=tuple(self.found.values()))
        configured = compile_snapshot(settings, read_secret(directory), read_keys(directory) or ())
        snapshots.write(directory.configured, configured)
        return publish(directory.root, self.clock())

    def write_first_snapshot(self, directory: DataDirectory) -> None:
        """The database's part may be damaged. What was in force stays then, with all its keys, until it is replaced."""
        try:
            self.write_snapshot(directory, self.settings)
        except snapshots.SnapshotError as exc:
            self.log.error("the last snapshot stays in force", reason=str(exc))
            if not directory.snapshot.exists():
                raise ConfigError(f"{exc}; remove the file, and the control plane writes it again") from exc

    async def run_children(self, directory: DataDirectory, listener: socket.socket, lifeline: int) -> None:
        """The task tree: signals and readiness beside, workers inside control, so that control ends last."""
        shared = ("--shared",) if len(self.workers) > 1 else ()
        control = self.child("control", control_command(directory, lifeline, self.settings, shared))
        workers = [
            self.child(name, worker_command(directory, name, listener.fileno(), lifeline, shared))
            for name in self.workers
        ]
        async with trio.open_nursery() as beside:
            await beside.start(self.obey_signals, directory, control, workers)
            beside.start_soon(self.keep_discovering, directory, listener)
            with trio.CancelScope() as control_scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(control.keep_running, name="control")
                    beside.start_soon(self.announce_when_ready, directory, listener)
                    await self.run_workers(workers)
                    control.stop()
                    control_scope.deadline = trio.current_time() + CONTROL_STOP_SECONDS
                    self.drain_scopes.append(control_scope)
            beside.cancel_scope.cancel(reason="every child has ended")
        self.log.info("stopped")

    async def run_workers(self, workers: list[Child]) -> None:
        with trio.CancelScope() as scope:
            self.drain_scopes.append(scope)
            async with trio.open_nursery() as nursery:
                for worker in workers:
                    nursery.start_soon(worker.keep_running, name=f"worker {worker.name}")

    def child(self, name: str, command: Command) -> Child:
        child = Child(name, command, self.log, self.launch)
        self.children.append(child)
        return child

    async def obey_signals(
        self,
        directory: DataDirectory,
        control: Child,
        workers: list[Child],
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """`control` is stopped by `run_children`, after the workers."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            task_status.started()
            is_draining, had_terminal = False, self.has_terminal()
            async for number in received:
                # A terminal that is closed sends SIGHUP too, and then nobody is left to stop us.
                is_hangup = number == signal.SIGHUP and had_terminal and not self.has_terminal()
                if number == signal.SIGHUP and not is_hangup:
                    self.reload(directory)
                elif not is_draining:
                    is_draining = True
                    self.drain(workers)
                else:
                    self.kill(control)

    def drain(self, workers: list[Child]) -> None:
        self.log.info("draining", drain_seconds=self.settings.drain_seconds)
        for worker in workers:
            worker.stop()
        for scope in self.drain_scopes:
            scope.deadline = trio.current_time() + self.settings.drain_seconds + KILL_AFTER_DRAIN_SECONDS

    def kill(self, control: Child) -> None:
        self.log.warning("killing the children, as asked twice")
        control.stop_wanted.set()
        for child in self.children:
            child.send_signal(signal.SIGKILL)

    def reload(self, directory: DataDirectory) -> None:
        """All or nothing: the reason of a refusal is in the log, and everything stays as it was."""
        try:
            settings = self.keep_what_needs_a_restart(self.load_settings())
            generation = self.write_snapshot(directory, settings)
        except (ConfigError, OSError, snapshots.SnapshotError) as exc:
            self.log.error("reload refused", reason=str(exc))
            return
        self.settings = settings
        self.log = self.log.at_level(settings.log_level)
        for child in self.children:
            child.send_signal(signal.SIGHUP)
        self.log.info("reloaded", generation=generation)

    async def discover(self, settings: Settings, listener: socket.socket) -> bool:
        """Add engines that run on this machine, if none is configured; returns whether there are any.

        Our own port is left out: it is vLLM's usual one.
        """
        if settings.backends or not settings.discover:
            return False
        ports = [port for port in USUAL_PORTS if port != listener.getsockname()[1]]
        self.found = {each.name: each for each in await self.find_engines(ports)}
        for engine in self.found.values():
            self.log.info("found an engine", backend=engine.name, url=engine.url)
        return bool(self.found)

    async def keep_discovering(self, directory: DataDirectory, listener: socket.socket) -> None:
        """Until some are found: people start the gateway before the engine as often as after it."""
        while not self.found:
            await trio.sleep(self.settings.probe_interval_seconds)
            if await self.discover(self.settings, listener):
                self.reload(directory)

    def keep_what_needs_a_restart(self, settings: Settings) -> Settings:
        kept: dict[str, object] = {}
        for each in scalar_fields():
            old = getattr(self.settings, each.name)
            if about(each).restart and getattr(settings, each.name) != old:
                self.log.warning("setting needs a restart to change", setting=each.name)
                kept[each.name] = old
        return replace(settings, **kept)  # type: ignore[arg-type]

    async def announce_when_ready(self, directory: DataDirectory, listener: socket.socket) -> None:
        for name in self.workers:
            while not await is_serving(directory.worker_socket(name)):  # noqa: ASYNC110  another process: no Event
                await trio.sleep(POLL_SECONDS)
        names = [each.name for each in self.settings.backends] or list(self.found)
        announce_ready(self.out, url_of(self.settings, listener), names)


def control_command(directory: DataDirectory, lifeline: int, settings: Settings, more: tuple[str, ...] = ()) -> Command:
    """What is or holds a password (of the database, of providers, of the first administrator) is not in the snapshot:
    workers read that.
    """
    arguments = ("control", "--snapshot", str(directory.snapshot), "--lifeline-fd", str(lifeline))
    secrets = {
        variable_of("database_url"): settings.database_url,
        variable_of("admin_password"): settings.admin_password,
        variable_of("oidc"): msgspec.json.encode(settings.oidc).decode(),
    }
    return Command((sys.executable, "-m", "mrproxy", *arguments, *more), (lifeline,), secrets)


def worker_command(
    directory: DataDirectory, name: str, listen_fd: int, lifeline: int, more: tuple[str, ...] = ()
) -> Command:
    arguments = ("worker", "--name", name, "--snapshot", str(directory.snapshot))
    descriptors = ("--listen-fd", str(listen_fd), "--lifeline-fd", str(lifeline))
    return Command((sys.executable, "-m", "mrproxy", *arguments, *descriptors, *more), (listen_fd, lifeline))


@contextmanager
def only_one(directory: DataDirectory) -> Iterator[None]:
    """The lock on the data directory, and the pid file. Raises ConfigError when another supervisor holds it.

    flock ends with the process, however it ends; a pid file alone would have to be believed. The lock's file is
    never removed: a second process could otherwise lock the new file while the first still holds the old one.
    """
    with open(directory.lock, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = supervisor_pid(directory)
            raise ConfigError(f"data_dir {directory.root} is in use by another mrproxy (pid {pid})") from None
        directory.pid_file.write_text(f"{os.getpid()}\n")
        try:
            yield
        finally:
            directory.pid_file.unlink(missing_ok=True)


@contextmanager
def bound_listener(settings: Settings) -> Iterator[socket.socket]:
    """The listening socket. Raises ConfigError that names the address."""
    where = f"{settings.host} port {settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name such as localhost may stand for ::1 and 127.0.0.1; IPv4 is what clients on it expect to find.
        family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise ConfigError(f"cannot listen on {where}: {exc.strerror}") from exc
    with listener:
        try:
            prepare_listener(listener)
            listener.bind(address)
            listener.listen(settings.listen_backlog)
        except OSError as exc:
            raise ConfigError(f"cannot listen on {where}: {exc.strerror}") from exc
        yield listener


def prepare_listener(listener: socket.socket) -> None:
    # A restart must not wait for old connections in TIME_WAIT.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` means both families
    # Workers accept until EAGAIN; the flag belongs to the open socket, which parent and children share.
    listener.setblocking(False)


@contextmanager
def open_lifeline() -> Iterator[int]:
    """The read end of a pipe that reads end-of-file when this process is gone (see `child.py`)."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(writer)
        os.close(reader)


def needed_descriptors(settings: Settings) -> int:
    """With TLS a connection has a pair of sockets beside its own."""
    return settings.max_connections * (3 if settings.tls_cert else 1) + SPARE_DESCRIPTORS


def raise_descriptor_limit(settings: Settings, log: Log) -> None:
    """The soft limit (often 1024, for programs that use select) to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = needed_descriptors(settings)
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.warning("the limit of open files is too low for max_connections", limit=hard, needed=needed)


async def is_serving(path: Path) -> bool:
    """Does this Unix socket answer GET /status with 200? Anything else, errors included, is a no."""
    with trio.move_on_after(STATUS_SECONDS):
        try:
            stream = await trio.open_unix_socket(path)
        except OSError:
            return False
        async with stream:
            try:
                await stream.send_all(b"GET /status HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")
                return (await stream.receive_some(64)).startswith(b"HTTP/1.1 200")
            except trio.BrokenResourceError:
                return False
    return False


def url_of(settings: Settings, listener: socket.socket) -> str:
    """The address to type: a wildcard is shown as this machine's loopback address."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host) or (f"[{host}]" if ":" in host else host)
    return f"{'https' if settings.tls_cert else 'http'}://{shown}:{port}"


def announce_ready(out: TextIO, url: str, backends: Sequence[str]) -> None:
    """One line for programs that wait for it; a person on a terminal also learns what to do next."""
    out.write(f"mrproxy is ready on {url}\n")
    if out.isatty():
        out.write(f"  OpenAI SDKs: {url}/v1   Ollama clients: {url}   Ctrl-C drains and stops\n")
        known = ", ".join(backends) or "none yet; looking on this machine, or start with --backend KIND=URL"
        out.write(f"  backends: {known}\n")
    out.flush()


def announce_key(out: TextIO, key: str) -> None:
    """To standard output alone and never through the log. A terminal gets emphasis, a pipe the plain line."""
    bold, reset = ("\x1b[1m", "\x1b[0m") if out.isatty() else ("", "")
    out.write(f"First API key (shown only now): {bold}{key}{reset}\n")
    out.flush()
