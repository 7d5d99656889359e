"""Shell. `/backends`: configured and managed ones, and how the workers see them at this moment.

A managed backend is named by its id or its name, a configured one by its name. Draining is told to the workers and is
forgotten when they restart; disabling is kept. Read next: `mrproxy/storage/backends.py`.
"""

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType, field
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.listing import BothQuery, fetch_by, is_found, page_of_both
from mrproxy.control.admin.shapes import (
    CONFIGURATION,
    MANAGED,
    Models,
    Name,
    Short,
    Source,
    Text,
    Wanted,
    changes_of,
    configured_problem,
    fields_of,
    moment,
    must_be,
)
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, answer_page
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.control.reports import Silent
from mrproxy.control.status import BackendStatus, summarize, without_userinfo
from mrproxy.link.snapshot import BackendSpec
from mrproxy.storage import backends
from mrproxy.storage.backends import BackendFilter, ManagedBackend, NewBackend
from mrproxy.storage.secrets import BACKEND_KEYS, SecretBox

Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Slots = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Modelname = Annotated[str, Meta(min_length=1, max_length=512)]
Secret = Annotated[str, Meta(max_length=4096)]
Seconds = Annotated[float, Meta(ge=0.01, le=86_400)]


class LiveShown(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers say now. `state`: routable, half_open, open, down, draining; the best that one of them sees."""

    state: str
    workers: dict[str, str]
    in_flight: int
    max_concurrent: int
    models: list[str]
    resident: list[str]
    ttft_seconds: float | None
    last_probe_error: str | None


class BackendShown(msgspec.Struct, frozen=True, kw_only=True):
    """`live` null: no worker has it. `is_overridden`: the configuration has one of this name, which holds."""

    id: str
    name: str
    source: Source
    kind: str
    url: str
    is_enabled: bool = True
    has_api_key: bool = False
    max_concurrent: int | None = None
    models: tuple[str, ...] | None = None
    aliases: dict[str, str] = {}
    num_ctx: int | None = None
    num_ctx_of: dict[str, int] = {}
    capabilities: tuple[str, ...] | None = None
    gpu_indices: tuple[int, ...] | None = None
    gpu_memory_gb: float | None = None
    gpu_type: str | None = None
    priority: int = 0
    notes: str = ""
    health_check_interval_seconds: float | None = None
    inference_timeout_seconds: float | None = None
    is_overridden: bool = False
    created_utc: datetime | None = None
    updated_utc: datetime | None = None
    version: int = 0
    live: LiveShown | None = None


class BackendWanted(Wanted, frozen=True, kw_only=True):
    """`kind` auto: the first probe that is answered decides. Without a name one is made of the URL."""

    url: Url
    kind: Annotated[str, Meta(max_length=32)] = "auto"
    name: Name | None = None
    api_key: Secret | None = None
    is_enabled: bool = True
    max_concurrent: Slots | None = None
    models: Models | None = None
    aliases: dict[Modelname, Modelname] = field(default_factory=dict)
    num_ctx: Slots | None = None
    num_ctx_of: dict[Modelname, Slots] = field(default_factory=dict)
    capabilities: Models | None = None
    gpu_indices: Annotated[tuple[Annotated[int, Meta(ge=0, le=65535)], ...], Meta(max_length=1024)] | None = None
    gpu_memory_gb: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    gpu_type: Short | None = None
    priority: Annotated[int, Meta(ge=-(2**31) + 1, le=2**31 - 1)] = 0
    notes: Text = ""
    health_check_interval_seconds: Seconds | None = None
    inference_timeout_seconds: Seconds | None = None


class BackendChanges(Wanted, frozen=True, kw_only=True):
    """What is not named stays. `api_key` null takes it away."""

    url: Url | UnsetType = UNSET
    kind: Annotated[str, Meta(max_length=32)] | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    api_key: Secret | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET
    max_concurrent: Slots | UnsetType | None = UNSET
    models: Models | UnsetType | None = UNSET
    aliases: dict[Modelname, Modelname] | UnsetType = UNSET
    num_ctx: Slots | UnsetType | None = UNSET
    num_ctx_of: dict[Modelname, Slots] | UnsetType = UNSET
    capabilities: Models | UnsetType | None = UNSET
    gpu_indices: (
        Annotated[tuple[Annotated[int, Meta(ge=0, le=65535)], ...], Meta(max_length=1024)] | UnsetType | None
    ) = UNSET
    gpu_memory_gb: Annotated[float, Meta(ge=0, le=1000000.0)] | UnsetType | None = UNSET
    gpu_type: Short | UnsetType | None = UNSET
    priority: Annotated[int, Meta(ge=-(2**31) + 1, le=2**31 - 1)] | UnsetType = UNSET
    notes: Text | UnsetType = UNSET
    health_check_interval_seconds: Seconds | UnsetType | None = UNSET
    inference_timeout_seconds: Seconds | UnsetType | None = UNSET


class BackendsQuery(BothQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Annotated[str, Meta(max_length=32)] = ""
    is_enabled: bool | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What each worker said: `ok`, or why it did not."""

    name: str
    workers: dict[str, str]


async def list_backends(call: Call[None, BackendsQuery]) -> Answer:
    """List backends: configured, managed, and how the workers see them."""
    query, live = call.query, await live_states(call)
    configured = call.plane.configured().backends
    names = {each.name for each in configured}
    own = [
        show_configured(each, live) for each in sorted(configured, key=lambda each: each.name) if is_wanted(each, query)
    ]
    wanted = BackendFilter(kind=query.kind or None, is_enabled=query.is_enabled, search=query.search)
    fetch = fetch_by(call, backends.list_backends, wanted, lambda backend: shown(backend, names, live))
    return answer_page(call, *await page_of_both(query, int, own, fetch))


def is_wanted(backend: BackendSpec, query: BackendsQuery) -> bool:
    """What is configured is enabled."""
    is_of_kind = query.kind in ("", backend.kind) and query.is_enabled is not False
    return is_of_kind and is_found(query.search, backend.name, backend.url)


async def show_backend(call: Call[None, None]) -> Answer:
    """One backend, by id or name."""
    name = call.path["backend"]
    found = None if call.plane.store is None else await call.read(find_backend, name)
    if found is not None:
        return await answer_backend(call, found)
    spec = must_be(configured_backend(call, name), "backend", name)
    return Answer(value=show_configured(spec, await live_states(call)))


async def create_backend(call: Call[BackendWanted, None]) -> Answer:
    """Add a backend."""
    if call.request.name is not None and configured_backend(call, call.request.name) is not None:
        raise configured_problem("backend", call.request.name)
    made = await call.transact(write_new, call.actor, call.request, box_of(call), call.now_utc)
    answer = await answer_backend(call, made)
    return Answer(
        value=answer.value, version=made.version, is_live=True, location=f"/admin/api/v1/backends/{made.uuid}"
    )


async def change_backend(call: Call[BackendChanges, None]) -> Answer:
    """Change a backend."""
    return await changed(call, "backend.change", changes_of(call.request))


async def enable_backend(call: Call[None, None]) -> Answer:
    """Let a backend be used again."""
    return await changed(call, "backend.enable", {"is_enabled": True})


async def disable_backend(call: Call[None, None]) -> Answer:
    """Take a backend out of use, for as long as it is not enabled."""
    return await changed(call, "backend.disable", {"is_enabled": False})


async def delete_backend(call: Call[None, None]) -> Answer:
    """Remove a backend; what runs on it is tried elsewhere, as far as nothing has been answered."""
    found = await found_backend(call)
    await call.transact(write_removal, call.actor, found.id, call.version, call.now_utc)
    return Answer()


async def drain_backend(call: Call[None, None]) -> Answer:
    """Send a backend no new requests; running ones finish."""
    return await tell(call, "drain")


async def undrain_backend(call: Call[None, None]) -> Answer:
    """Send a drained backend requests again."""
    return await tell(call, "undrain")


async def tell(call: Call[None, None], verb: str) -> Answer:
    """To all workers, whether the backend is configured or managed. Written down where there is a database."""
    name = await name_known_to_workers(call)
    if call.plane.tell is None:
        raise Problem("unavailable", "No worker can be told.", retry_seconds=5)
    answers = await call.plane.tell("POST", f"/backends/{quote(name, safe='')}/{verb}")
    if call.plane.store is not None:
        await call.transact(write_told, call.actor, f"backend.{verb}", name, call.now_utc)
    said = {worker: each.reason if isinstance(each, Silent) else "ok" for worker, each in answers.items()}
    return Answer(value=Told(name=name, workers=said))


async def name_known_to_workers(call: Call[None, None]) -> str:
    name = call.path["backend"]
    live = await live_states(call)
    if name not in live and call.plane.store is not None:
        found = await call.read(find_backend, name)
        name = found.name if found is not None else name
    if name not in live:
        raise Problem("not-found", f"No worker has a backend {name!r}.")
    return name


async def changed(call: Call[Any, None], action: str, changes: dict[str, object]) -> Answer:
    found = await found_backend(call)
    after = await call.transact(
        write_changes, call.actor, action, found.id, changes, call.version, box_of(call), call.now_utc
    )
    return await answer_backend(call, after)


async def found_backend(call: Call[Any, None]) -> ManagedBackend:
    """Of the database. Raises Problem for one of the configuration."""
    name = call.path["backend"]
    found = await call.read(find_backend, name)
    if found is None and configured_backend(call, name) is not None:
        raise configured_problem("backend", name)
    return must_be(found, "backend", name)


async def find_backend(connection: AsyncConnection, name: str) -> ManagedBackend | None:
    """By uuid or name."""
    by_uuid = await backends.find_backend_by_uuid(connection, name)
    return by_uuid or await backends.find_backend_by_name(connection, name)


def configured_backend(call: Call[Any, Any], name: str) -> BackendSpec | None:
    return next((each for each in call.plane.configured().backends if each.name == name), None)


async def live_states(call: Call[Any, Any]) -> dict[str, BackendStatus]:
    return {each["name"]: each for each in summarize(await call.plane.observe())["backends"]}


def box_of(call: Call[Any, Any]) -> SecretBox:
    return SecretBox(call.plane.secret, BACKEND_KEYS)


async def write_new(
    connection: AsyncConnection, actor: Actor, wanted: BackendWanted, box: SecretBox, now_utc: float
) -> ManagedBackend:
    new = NewBackend(**msgspec.structs.asdict(wanted) | {"name": wanted.name or ""})
    made = await backends.create_backend(connection, new, box, now_utc)
    await note(connection, actor, "backend.create", "backend", made.name, None, made, now_utc)
    return made


async def write_changes(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    row: int,
    changes: dict[str, object],
    version: int | None,
    box: SecretBox,
    now_utc: float,
) -> ManagedBackend:
    before = await backends.get_backend(connection, row)
    after = await backends.change_backend(connection, row, changes, version, box, now_utc)
    await note(connection, actor, action, "backend", after.name, before, after, now_utc)
    return after


async def write_removal(
    connection: AsyncConnection, actor: Actor, row: int, version: int | None, now_utc: float
) -> None:
    gone = await backends.delete_backend(connection, row, version, now_utc)
    await note(connection, actor, "backend.delete", "backend", gone.name, gone, None, now_utc)


async def write_told(connection: AsyncConnection, actor: Actor, action: str, name: str, now_utc: float) -> None:
    await note(connection, actor, action, "backend", name, None, None, now_utc)


async def answer_backend(call: Call[Any, Any], backend: ManagedBackend) -> Answer:
    names = {each.name for each in call.plane.configured().backends}
    value = shown(backend, names, await live_states(call))
    return Answer(value=value, version=backend.version, is_live=True)


def shown(backend: ManagedBackend, configured: set[str], live: dict[str, BackendStatus]) -> BackendShown:
    plain = fields_of(backend, BackendShown)
    plain |= {name: moment(plain[name]) for name in ("created_utc", "updated_utc")}
    is_overridden = backend.name in configured
    ours = {"id": backend.uuid, "source": MANAGED, "url": without_userinfo(backend.url), "is_overridden": is_overridden}
    return BackendShown(**plain | ours | {"live": None if is_overridden else live_of(live.get(backend.name))})


def show_configured(backend: BackendSpec, live: dict[str, BackendStatus]) -> BackendShown:
    plain = fields_of(backend, BackendShown)
    ours = {"id": backend.name, "source": CONFIGURATION, "url": without_userinfo(backend.url)}
    found = {"has_api_key": backend.api_key is not None, "live": live_of(live.get(backend.name))}
    return BackendShown(**plain | ours | found)


def live_of(state: BackendStatus | None) -> LiveShown | None:
    return None if state is None else msgspec.convert(state, LiveShown)


P = Permission
_ONE = "/backends/{backend}"
ENDPOINTS = (
    Endpoint("GET", "/backends", P.BACKENDS_READ, list_backends, query=BackendsQuery, answer=Listing[BackendShown]),
    Endpoint("POST", "/backends", P.BACKENDS_WRITE, create_backend, BackendWanted, answer=BackendShown, status=201),
    Endpoint("GET", _ONE, P.BACKENDS_READ, show_backend, answer=BackendShown),
    Endpoint("PATCH", _ONE, P.BACKENDS_WRITE, change_backend, BackendChanges, answer=BackendShown),
    Endpoint("DELETE", _ONE, P.BACKENDS_WRITE, delete_backend, status=204),
    Endpoint("POST", f"{_ONE}/enable", P.BACKENDS_WRITE, enable_backend, answer=BackendShown),
    Endpoint("POST", f"{_ONE}/disable", P.BACKENDS_WRITE, disable_backend, answer=BackendShown),
    Endpoint("POST", f"{_ONE}/drain", P.BACKENDS_WRITE, drain_backend, answer=Told, publishes=False),
    Endpoint("POST", f"{_ONE}/undrain", P.BACKENDS_WRITE, undrain_backend, answer=Told, publishes=False),
)
