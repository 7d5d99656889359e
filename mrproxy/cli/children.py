"""Shell. The two kinds of process that `mrproxy serve` starts.

`worker` and `control` are for the supervisor: they serve from a snapshot that it wrote and on a socket that it bound.
"""

import os
import signal
import threading
from functools import partial
from pathlib import Path

import click

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
    from mrproxy.app import run_worker  # only here: `--help` needs nothing of it

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
