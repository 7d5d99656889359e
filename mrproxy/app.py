"""Shell. The processes, and the tasks in each: nothing else starts tasks, and nothing outlives these trees.

    worker ─┬─ signals (SIGTERM drains, SIGHUP reloads)                              worker.py
            ├─ poller: every hot socket's events, and the fibers they resume (lifecycle.serve_connection)
            ├─ registry ─── a nursery per backend: sweep, probe, TLS bridges
            ├─ control uplink: sweep
            ├─ commands' door: the worker's Unix socket
            ├─ snapshot, backends; loop lag, disk, stored responses (upkeep.py)
            └─ front door: sweep, accept, hosted fibers, TLS bridges
    control ─┬─ signals                                                              controlling.py
             ├─ shares of limits between workers; spans
             ├─ takeover (workers' files → database): records, bodies, responses; retention
             ├─ publisher (database → snapshot)
             └─ serve_control (Hypercorn, journal reader)
Each process imports its own parts: a worker has no use for 40 MB of web framework and SQLAlchemy.
"""

import socket
from pathlib import Path

import trio

from mrproxy.clock import utc_now
from mrproxy.config import Settings
from mrproxy.following import Follower
from mrproxy.link.snapshot import read
from mrproxy.priority import give_way, go_first
from mrproxy.telemetry.libraries import heard
from mrproxy.telemetry.log import Log, open_log

STDERR = 2


def run_worker(snapshot_path: Path, *, name: str, listen_fd: int, is_shared: bool = False) -> None:
    """The relay plane: one process, one thread, one loop. Returns when it has drained. `is_shared`: one of several."""
    from mrproxy.worker import Worker

    follower = Follower(snapshot_path)
    catalogue = follower.first()
    settings = catalogue.head.settings
    is_refused = settings.worker_realtime and not go_first()  # before the log has a thread
    log = opened_log(f"worker {name}", settings, snapshot_path.parent)
    if is_refused:
        log.warning("worker_realtime: the system does not allow it (CAP_SYS_NICE, or LimitRTPRIO=1)")
    listener = socket.socket(fileno=listen_fd)
    listener.setblocking(False)
    with heard(log):
        trio.run(Worker(name, follower, catalogue, listener, log, is_shared=is_shared).run)


def run_control(snapshot_path: Path, *, is_shared: bool = False) -> None:
    """The control plane's process. `is_shared`: there are several workers."""
    from mrproxy.controlling import control

    settings = read(snapshot_path).settings
    log = opened_log("control", settings, snapshot_path.parent)
    give_way(settings.control_nice)
    with heard(log):
        trio.run(control, settings, snapshot_path.parent, log, is_shared)


def opened_log(component: str, settings: Settings, data_dir: Path) -> Log:
    """A child's log: on the standard error of all, and in a file of its own."""
    log = open_log(STDERR, utc_now, component).at_level(settings.log_level)
    return log.filed(data_dir / "logs", settings.log_keep_bytes)
