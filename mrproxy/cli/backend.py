"""Shell. `mrproxy backend`: the backends as the running workers see them, asked on their Unix sockets."""

import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from mrproxy.cli.options import data_dir_options, data_directory, errors_for_people, json_option
from mrproxy.cli.output import print_rows

COLUMNS = ("worker", "name", "kind", "url", "healthy", "breaker", "draining", "in_flight", "max_concurrent", "models")
ASK_SECONDS = 5.0


class WorkerReport(msgspec.Struct):
    """The part of a worker's `GET /counters` that is shown here."""

    worker: str
    backends: list[dict[str, object]] = []


@click.group()
def backend() -> None:
    """List and drain backends."""


@backend.command("list")
@data_dir_options
@json_option
def list_backends(config_file: Path | None, data_dir: str | None, as_json: bool) -> None:
    """List the backends, with health and load, of every running worker."""
    rows: list[dict[str, object]] = []
    for socket_path in worker_sockets(config_file, data_dir):
        report = msgspec.json.decode(ask(socket_path, "GET", "/counters"), type=WorkerReport)
        rows += [{"worker": report.worker} | each for each in report.backends]
    print_rows(rows, as_json=as_json, columns=COLUMNS)


@backend.command()
@data_dir_options
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let it serve again.")
def drain(config_file: Path | None, data_dir: str | None, name: str, undo: bool) -> None:
    """Send a backend no new requests; running ones finish."""
    action = "undrain" if undo else "drain"
    for socket_path in worker_sockets(config_file, data_dir):
        ask(socket_path, "POST", f"/backends/{quote(name, safe='')}/{action}")
    click.echo(f"{name}: {action}ed")


def worker_sockets(config_file: Path | None, data_dir: str | None) -> Iterator[Path]:
    """At least one; otherwise says what to do."""
    with errors_for_people():
        directory = data_directory(config_file, data_dir)
    found = sorted(directory.run.glob("worker-*.sock"))
    if not found:
        raise click.ClickException(f"no worker runs on {directory.root}; start one with `mrproxy serve`")
    yield from found


class UnixConnection(HTTPConnection):
    """HTTP on a Unix socket. Not httpx: its connection leaks the socket when connecting fails, and it loads slowly."""

    def __init__(self, path: Path) -> None:
        super().__init__("worker", timeout=ASK_SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ASK_SECONDS)
        self.sock.connect(str(self.path))


def ask(socket_path: Path, method: str, target: str) -> bytes:
    with closing(UnixConnection(socket_path)) as connection:
        try:
            connection.request(method, target)
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as exc:
            raise click.ClickException(f"{socket_path.name}: {exc or type(exc).__name__}") from exc
    if response.status != 200:
        raise click.ClickException(f"{socket_path.name}: {response.status} {response.reason}")
    return body
