"""Shell. `mrproxy serve`, and the two kinds of process that it starts.

`worker` and `control` are for the supervisor: they serve from a snapshot that it wrote and on a socket that it bound.
"""

import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from mrproxy.cli.options import errors_for_people, load_settings, settings_options
from mrproxy.clock import utc_now
from mrproxy.config import ConfigError, Settings
from mrproxy.supervisor import Supervisor
from mrproxy.telemetry.log import open_log

STDERR = 2


@click.command(
    epilog="Every flag is also a key of the TOML file and an environment variable MRPROXY_<NAME>. "
    "SIGTERM drains, SIGHUP reloads."
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, hidden=True, help="Relay processes on the one port.")
@settings_options
def serve(config_file: Path | None, workers: int, **flags: Any) -> None:
    """Serve: start the gateway with all its parts and keep them running."""

    def load() -> Settings:
        return load_settings(config_file, flags)[0]

    with errors_for_people():
        check_database(load())
    log = open_log(STDERR, utc_now, "supervisor")
    with errors_for_people():
        names = tuple(f"w{number}" for number in range(1, workers + 1))
        trio.run(Supervisor(load, log, utc_now, sys.stdout, workers=names).serve)


def check_database(settings: Settings) -> None:
    """Refuse an address that means no database; whether anybody answers there, nobody waits for. Raises UsageError."""
    if not (settings.records and settings.database_url):
        return
    from mrproxy.storage.urls import locate  # only here: the default needs none of SQLAlchemy's 20 MB

    try:
        locate(settings.database_url, Path(settings.data_dir))
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc


snapshot_option = click.option(
    "--snapshot",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The snapshot to serve from; read again on SIGHUP.",
)
lifeline_option = click.option(
    "--lifeline-fd", type=int, default=None, help="Inherited pipe; at its end the supervisor is gone, and we end too."
)


shared_option = click.option("--shared", "is_shared", is_flag=True, help="There are several workers.")


@click.command(hidden=True)
@click.option("--name", default="w1", show_default=True, help="Names the journal's segments and the worker's socket.")
@click.option("--listen-fd", type=int, required=True, help="Inherited listening socket.")
@snapshot_option
@lifeline_option
@shared_option
def worker(name: str, listen_fd: int, snapshot: Path, lifeline_fd: int | None, is_shared: bool) -> None:
    """Relay plane: serve clients on an inherited socket. Started by `mrproxy serve`."""
    from mrproxy.app import run_worker  # only here: the other commands do not need what it imports

    watch_lifeline(lifeline_fd)
    run_worker(snapshot, name=name, listen_fd=listen_fd, is_shared=is_shared)


@click.command(hidden=True)
@snapshot_option
@lifeline_option
@shared_option
def control(snapshot: Path, lifeline_fd: int | None, is_shared: bool) -> None:
    """Control plane: status, readiness and metrics on a Unix socket. Started by `mrproxy serve`."""
    from mrproxy.app import run_control

    watch_lifeline(lifeline_fd)
    run_control(snapshot, is_shared=is_shared)


def watch_lifeline(descriptor: int | None) -> None:
    """A thread that does nothing but wait: in a blocking read it costs neither CPU nor the interpreter lock."""
    if descriptor is not None:
        threading.Thread(target=partial(wait_for_orphanage, descriptor), name="lifeline", daemon=True).start()


def wait_for_orphanage(descriptor: int) -> None:
    """End this process as SIGTERM would once the write end is closed, which only the supervisor's end does."""
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
