"""Shell. What `mrproxy doctor` has to ask: the database and its audit log, each backend, the gateway that runs.

All backends are asked at once, for the models and the kind that a probe of the gateway asks for. Keys of backends are
those of the snapshot, and are shown nowhere. Read next: `checks.py`; `doctor.py`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import trio

from mrproxy.cli.checks import Finding, error, ok, warning
from mrproxy.cli.client import Api, Refused, Unreachable
from mrproxy.config import Settings
from mrproxy.link.snapshot import BackendSpec, SnapshotError, read
from mrproxy.provision import DataDirectory, backend_of

if TYPE_CHECKING:
    from mrproxy.storage.database import Database
    from mrproxy.storage.urls import Location

DATABASE_SECONDS = 15.0


def check_database(location: "Location", data_dir: Path) -> list[Finding]:
    """Whether it answers, its tables, and whether the audit log goes on from where it was."""
    from mrproxy.storage.failures import DatabaseError

    try:
        return trio.run(_look_at_database, location, data_dir)
    except trio.TooSlowError:
        detail = f"{location.name} does not answer within {DATABASE_SECONDS:.0f} s"
        return [error("database", detail, "requests go on, and records wait in the journal: look at the server")]
    except DatabaseError as exc:
        return [error("database", str(exc), "see docs/operations.md; requests go on, and records wait in the journal")]


async def _look_at_database(location: "Location", data_dir: Path) -> list[Finding]:
    from mrproxy.storage.bridge import open_bridge
    from mrproxy.storage.database import open_database
    from mrproxy.storage.migrate import State, read_revision

    async with open_bridge() as bridge, open_database(location, bridge) as database:
        with trio.fail_after(DATABASE_SECONDS):
            revision = await read_revision(database)
            match revision.state:
                case State.EMPTY | State.BEHIND if location.is_embedded:
                    detail = f"{location.name} {f'is at {revision.found}' if revision.found else 'has no tables yet'}"
                    return [warning("database", detail, "the next start makes and migrates its tables")]
                case State.EMPTY | State.BEHIND:
                    detail = f"{location.name} is at {revision.found or 'no tables yet'}, not {revision.newest}"
                    return [error("database", detail, "run `mrproxy migrate`")]
                case State.NEWER:
                    detail = f"{location.name} is at {revision.found}, of a newer version"
                    found = warning("database", detail, "this works; bring this program to the same version")
                case State.CURRENT:
                    found = ok("database", f"{location.name} answers, at {revision.found}")
            return [found, await _look_at_audit_log(database, data_dir)]


async def _look_at_audit_log(database: "Database", data_dir: Path) -> Finding:
    from mrproxy.storage.audit import HeadLost, follow_head, load_head

    try:
        known = load_head(data_dir)
        newest = await database.read(follow_head, known)
    except (HeadLost, OSError) as exc:
        return error("audit log", str(exc), "run `mrproxy audit verify`: somebody has changed it, or restored a backup")
    if newest is None:
        return ok("audit log", "it is empty")
    return ok("audit log", f"goes on to entry {newest.id}; `mrproxy audit verify` reads all of it")


def backends_of(settings: Settings, directory: DataDirectory) -> tuple[BackendSpec, ...]:
    """Of the snapshot, which has those of the database as well; of the configuration, where there is none yet."""
    try:
        return read(directory.snapshot).backends
    except SnapshotError:
        return tuple(backend_of(each, settings) for each in settings.backends)


def check_backends(backends: tuple[BackendSpec, ...], seconds: float) -> list[Finding]:
    if not backends:
        return [warning("backends", "there are none", "`mrproxy backend add`, or [[backends]] in the configuration")]
    return trio.run(_ask_backends, backends, seconds)


async def _ask_backends(backends: tuple[BackendSpec, ...], seconds: float) -> list[Finding]:
    findings: dict[str, Finding] = {}

    async def ask_into(backend: BackendSpec) -> None:
        findings[backend.name] = await _ask_backend(backend, seconds)

    async with trio.open_nursery() as nursery:
        for backend in backends:
            nursery.start_soon(ask_into, backend, name=f"ask {backend.name}")
    return [findings[backend.name] for backend in backends]


async def _ask_backend(backend: BackendSpec, seconds: float) -> Finding:
    from mrproxy.upstream.endpoint import Endpoint
    from mrproxy.upstream.probe import Prober
    from mrproxy.upstream.probing import ProbeError

    name, advice = f"backend {backend.name}", "start it, or `mrproxy backend disable` it; look at its URL and kind"
    try:
        with trio.fail_after(seconds):
            async with Prober(Endpoint(backend.url, backend.api_key, backend.kind)) as prober:
                result = await prober.probe(backend.kind)
    except trio.TooSlowError:
        return error(name, f"no answer within {seconds:.0f} s", advice)
    except ValueError as exc:
        return error(name, str(exc), "correct its URL")
    if isinstance(result, ProbeError):
        return error(name, str(result), advice)
    version = f" {result.version}" if result.version else ""
    detail = f"{result.kind}{version}, {len(result.models)} models"
    if not result.models:
        return warning(name, detail, "load a model there")
    return ok(name, detail)


def check_gateway(api: Api) -> Finding:
    """The one that runs on this directory, by its own words."""
    try:
        status = api.get("/status")
    except (Unreachable, Refused) as exc:
        if not api.place.directory or not api.place.directory.control_socket.exists():
            return warning("gateway", "none runs", "start it with `mrproxy serve`")
        return error("gateway", exc.message, "look at `mrproxy log --level warning`")
    if not status["ready"]:
        return error("gateway", f"not ready: {'; '.join(status['reasons'])}", "see the backends")
    if status["warnings"]:
        return warning("gateway", "; ".join(status["warnings"]), "look at `mrproxy log --level warning`")
    return ok("gateway", f"{status['version']} is ready, up {status['uptime_seconds']:.0f} s")
