"""Shell. The running workers of a data directory, asked on their own sockets, for when no control plane answers.

Read next: `mrproxy/commands.py`, which answers.
"""

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from mrproxy.cli.client import Place, UnixConnection, Unreachable, reason_of

COLUMNS = ("worker", "name", "kind", "url", "healthy", "breaker", "draining", "in_flight", "max_concurrent", "models")
ASK_SECONDS = 5.0


class WorkerReport(msgspec.Struct):
    """The part of a worker's `GET /counters` that is shown here."""

    worker: str
    backends: list[dict[str, object]] = []


def views(place: Place) -> list[dict[str, object]]:
    """The backends, worker by worker."""
    reports = [msgspec.json.decode(ask(path, "GET", "/counters"), type=WorkerReport) for path in worker_sockets(place)]
    return [{"worker": report.worker} | each for report in reports for each in report.backends]


def tell(place: Place, backend: str, verb: str) -> None:
    """To all workers."""
    for path in worker_sockets(place):
        ask(path, "POST", f"/backends/{quote(backend, safe='')}/{verb}")


def worker_sockets(place: Place) -> Iterator[Path]:
    """At least one; otherwise says what to do."""
    if place.directory is None:
        raise click.UsageError("--workers is for a gateway on this machine")
    found = sorted(place.directory.run.glob("worker-*.sock"))
    if not found:
        raise Unreachable(f"no worker runs on {place.directory.root}; start one with `mrproxy serve`")
    yield from found


def ask(path: Path, method: str, target: str) -> bytes:
    with closing(UnixConnection(path, ASK_SECONDS)) as connection:
        try:
            connection.request(method, target)
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as exc:
            raise Unreachable(f"{path.name}: {reason_of(exc)}; start a gateway with `mrproxy serve`") from exc
    if response.status != 200:
        raise click.ClickException(f"{path.name}: {response.status} {response.reason}")
    return body
