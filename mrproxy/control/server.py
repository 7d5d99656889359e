"""Shell. The control plane as a server: one Unix socket, Hypercorn on it, and an end that is certain.

Serves until `drain` is set, then finishes what runs within a few seconds. Hypercorn sends inside a shield without
a deadline (its `trio/tcp_server.py`), so one client that stops reading would outlive any cancellation: behind
the drain stands `os._exit`.
Read next: `routes.py`, for what is served; `connections.py`, for how; `records.py`, for the journal's reader beside it.
"""

import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import trio
from hypercorn.config import Config

from mrproxy.clock import Clock, utc_now
from mrproxy.control.connections import serve_connections
from mrproxy.control.offer import Offer
from mrproxy.control.records import ControlLog, Records
from mrproxy.control.reports import PublisherReport, StorageReport
from mrproxy.control.responses import AnswerQuestion
from mrproxy.control.routes import build_app
from mrproxy.control.status import Scene
from mrproxy.control.workers import Workers
from mrproxy.telemetry.unexpected import describe

SOCKET_NAME = "control.sock"
# The workers have drained before this process is told to (supervisor.py), so only answers of its own are left, and none
# takes longer. Together with the grace it stays below what the supervisor allows before it kills.
LONGEST_DRAIN_SECONDS = 3.0
# What Hypercorn needs to close sockets after its deadline, before the process is ended by force.
HARD_EXIT_GRACE_SECONDS = 1.0


class ControlSettings(Protocol):
    """What the control plane reads of the settings."""

    @property
    def drain_seconds(self) -> float: ...
    @property
    def access_log(self) -> bool: ...


class AlreadyServed(Exception):
    """Another live process listens on the control socket."""


async def serve_control(
    settings: ControlSettings,
    data_dir: Path,
    *,
    drain: trio.Event,
    log: ControlLog,
    storage: Callable[[float], StorageReport] | None = None,
    publisher: Callable[[], PublisherReport] | None = None,
    offer: Offer | None = None,
    state: AnswerQuestion | None = None,
    exit_hard: Callable[[int], object] = os._exit,
    clock: Clock = utc_now,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on `data_dir/run/control.sock` until `drain`; `started()` once it accepts.

    Raises AlreadyServed or OSError before `started()`. When this returns, nothing of it runs, the socket is gone, and
    the journal is read to its end. `storage(now)` says how the database does, where there is one, and `publisher()`
    what of it is in force. `offer`: what is served beside status and metrics. `state` answers what workers ask of the
    database.
    """
    run_directory = data_dir / "run"
    run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    workers = Workers(run_directory)
    records = Records(data_dir / "journal", log, access_log=settings.access_log)
    drain_seconds = min(settings.drain_seconds, LONGEST_DRAIN_SECONDS)
    observe = make_observe(workers, records, storage, publisher, clock)
    app = build_app(observe, drain, offer, workers.tell, state)
    with open_control_socket(run_directory / SOCKET_NAME) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_for_certain, drain, drain_seconds, log, exit_hard, name="hard exit")
            nursery.start_soon(records.follow, name="journal")
            await serve_connections(
                app,
                hypercorn_config(drain_seconds),
                listener,
                drain=drain,
                report=partial(report_connection, log),
                task_status=task_status,
            )
            nursery.cancel_scope.cancel(reason="drained")
    records.read_to_end(trio.current_time())


def make_observe(
    workers: Workers,
    records: Records,
    storage: Callable[[float], StorageReport] | None,
    publisher: Callable[[], PublisherReport] | None,
    clock: Clock,
) -> Callable[[], Awaitable[Scene]]:
    """All that pages and metrics show, as it is when it is asked for. Age counts from now."""
    release, started_at = version("mrproxy"), trio.current_time()

    async def observe() -> Scene:
        answers = await workers.ask()
        now = trio.current_time()
        stored = storage(now) if storage is not None else None
        age_seconds, lag, count = now - started_at, records.lag(now), records.records_read
        published = publisher() if publisher is not None else None
        return Scene(release, age_seconds, answers, lag, count, stored, clock(), published)

    return observe


async def end_for_certain(
    drain: trio.Event, drain_seconds: float, log: ControlLog, exit_hard: Callable[[int], object]
) -> None:
    """Ends the process if it still runs when it should long have ended by itself."""
    await drain.wait()
    await trio.sleep(drain_seconds + HARD_EXIT_GRACE_SECONDS)
    log.error("exit by force", reason="a client of the control plane did not let go within the drain")
    exit_hard(1)


def report_connection(log: ControlLog, error: Exception) -> None:
    """Somebody sent what Hypercorn cannot take: his connection has ended, and nothing needs to be done."""
    kind, reason, line, _ = describe(error)
    log.info("a connection was ended", kind=kind, reason=reason, line=line)


def hypercorn_config(drain_seconds: float) -> Config:
    """Hypercorn neither logs accesses nor names itself."""
    config = Config()
    config.errorlog = logging.getLogger("mrproxy.control.hypercorn")
    config.graceful_timeout = drain_seconds
    # The front door keeps connections to its upstreams for 60 s; whoever takes one from a pool should not lose the
    # race against the server's own idle timeout (nginx's advice for upstream keepalive).
    config.keep_alive_timeout = 75
    config.include_server_header = False
    # Nobody need say anything on a WebSocket of ours.
    config.websocket_max_message_size = 4096
    return config


@contextmanager
def open_control_socket(path: Path) -> Iterator[socket.socket]:
    """A listening socket at `path`, readable by its owner only; a stale one is replaced, a live one is respected."""
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        # The mode must be right from the first instant: chmod after bind would leave a moment open to everybody.
        previous_umask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous_umask)
        try:
            listener.listen()
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """A process killed by force leaves its socket behind, and bind() refuses to reuse it."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
        except BlockingIOError:
            raise AlreadyServed(f"another process listens on {path}") from None
        else:
            raise AlreadyServed(f"another process listens on {path}")
