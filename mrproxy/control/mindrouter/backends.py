"""Shell. `/api/admin/backends`: register, list, change, enable, disable, look again.

An engine there is a kind here. `status`: disabled, draining, healthy (requests may be sent), unhealthy, and unknown
while no worker has it. What is configured is listed and not changed here.
Read next: `../admin/backends.py`, which does the same in our own words.
"""

from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.config.tables import normal_url
from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.backends import box_of, live_states, write_changes, write_told
from mrproxy.control.admin.shapes import CONFIGURATION, MANAGED, Source, configured_problem
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.control.mindrouter.values import (
    Done,
    Name,
    Number,
    Short,
    changes_in,
    configured_number,
    not_found,
    number_in,
)
from mrproxy.control.permissions import Permission
from mrproxy.control.reports import Silent, is_routable
from mrproxy.control.status import BackendStatus, without_userinfo
from mrproxy.link.snapshot import BackendSpec
from mrproxy.storage import backends
from mrproxy.storage.backends import BackendFilter, ManagedBackend, NewBackend
from mrproxy.storage.facts import begin_change
from mrproxy.storage.nodes import find_node, names_of_nodes
from mrproxy.storage.secrets import SecretBox

ENGINES = ("ollama", "vllm", "llamacpp", "openai", "anthropic")
DEFAULT_SLOTS = 4
MOST_LISTED = 1000

Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Engine = Annotated[str, Meta(max_length=32, description=f"One of: {', '.join(ENGINES)}.")]
Slots = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Gigabytes = Annotated[float, Meta(ge=0, le=1e6)]
Indices = Annotated[tuple[Annotated[int, Meta(ge=0, le=65535)], ...], Meta(max_length=1024)]
Secret = Annotated[str, Meta(max_length=4096)]
Priority = Annotated[int, Meta(ge=-(2**31) + 1, le=2**31 - 1)]


class BackendShown(msgspec.Struct, frozen=True, kw_only=True):
    """`last_health_check` is not known here: workers probe every few seconds, and say only what came of it."""

    id: int
    name: str
    url: str
    engine: str
    status: str
    max_concurrent: int | None
    current_concurrent: int
    gpu_memory_gb: float | None = None
    gpu_type: str | None = None
    node_id: int | None = None
    node_name: str | None = None
    gpu_indices: tuple[int, ...] | None = None
    version: str | None = None
    last_health_check: str | None = None
    priority: int = 0
    source: Source = MANAGED


class BackendWanted(msgspec.Struct, frozen=True, kw_only=True):
    """`upsert`: one of this name is changed, as far as fields are named. `api_key` is ours."""

    name: Name
    url: Url
    engine: Engine
    max_concurrent: Slots | UnsetType = UNSET
    gpu_memory_gb: Gigabytes | UnsetType | None = UNSET
    gpu_type: Short | UnsetType | None = UNSET
    node_id: Number | UnsetType | None = UNSET
    gpu_indices: Indices | UnsetType | None = UNSET
    api_key: Secret | UnsetType | None = UNSET
    upsert: bool = False


class BackendChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is not named stays; null takes away."""

    name: Name | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    engine: Engine | UnsetType = UNSET
    max_concurrent: Slots | UnsetType | None = UNSET
    gpu_memory_gb: Gigabytes | UnsetType | None = UNSET
    gpu_type: Short | UnsetType | None = UNSET
    priority: Priority | UnsetType = UNSET
    node_id: Number | UnsetType | None = UNSET
    gpu_indices: Indices | UnsetType | None = UNSET
    api_key: Secret | UnsetType | None = UNSET


async def register_backend(call: Call[BackendWanted, None]) -> Answer:
    """Register a backend."""
    wanted = changes_in(call.request)
    is_upsert = wanted.pop("upsert")
    values = storable(wanted)
    refuse_configured(call, wanted["name"], wanted["url"])
    made = await call.transact(write_new, call.actor, values, is_upsert, box_of(call), call.now_utc)
    return await answer_one(call, made)


async def list_backends(call: Call[None, None]) -> Answer:
    """List backends, managed and configured ones."""
    live = await live_states(call)
    managed: list[BackendShown] = []
    if call.plane.store is not None:
        page = await call.read(backends.list_backends, BackendFilter(), None, MOST_LISTED)
        nodes = await call.read(names_of_nodes, {each.node_id for each in page.rows if each.node_id is not None})
        managed = [shown(each, nodes, live.get(each.name)) for each in page.rows]
    configured = [show_configured(each, live.get(each.name)) for each in call.plane.configured().backends]
    names = {each.name for each in configured}
    return Answer(value=[*(each for each in managed if each.name not in names), *configured])


async def change_backend(call: Call[BackendChanges, None]) -> Answer:
    """Change a backend."""
    changes = storable(changes_in(call.request))
    refuse_configured(call, changes.get("name", ""), changes.get("url", ""))
    return await answer_one(call, await changed(call, "backend.change", changes))


async def enable_backend(call: Call[None, None]) -> Answer:
    """Let a backend be used again."""
    after = await changed(call, "backend.enable", {"is_enabled": True})
    return Answer(value=Done(status="enabled", backend_id=after.id))


async def disable_backend(call: Call[None, None]) -> Answer:
    """Take a backend out of use."""
    after = await changed(call, "backend.disable", {"is_enabled": False})
    return Answer(value=Done(status="disabled", backend_id=after.id))


async def refresh_backend(call: Call[None, None]) -> Answer:
    """Have the workers look at a backend now."""
    number = number_in(call, "backend_id")
    name = (await found_spec(call, number)).name
    await probe(call, name)
    await call.transact(write_told, call.actor, "backend.refresh", name, call.now_utc)
    return Answer(value=Done(status="refreshed", backend_id=number))


async def probe(call: Call[Any, Any], name: str) -> None:
    """Raises Problem when no worker has taken it."""
    answers: dict[str, bytes | Silent] = {}
    if call.plane.tell is not None:
        answers = await call.plane.tell("POST", f"/backends/{quote(name, safe='')}/probe")
    if all(isinstance(each, Silent) for each in answers.values()):
        raise Problem("unavailable", "No worker has this backend at the moment", retry_seconds=5)


async def changed(call: Call[Any, None], action: str, changes: dict[str, Any]) -> ManagedBackend:
    found = await found_backend(call)
    return await call.transact(
        write_attached, call.actor, action, found.id, changes, call.version, box_of(call), call.now_utc
    )


async def found_backend(call: Call[Any, Any]) -> ManagedBackend:
    """Of the database. Raises Problem for one of the configuration."""
    number = number_in(call, "backend_id")
    found = await call.read(backends.find_backend, number)
    if found is not None:
        return found
    spec = configured_spec(call, number)
    raise not_found("Backend") if spec is None else configured_problem("backend", spec.name)


async def found_spec(call: Call[Any, Any], number: int) -> ManagedBackend | BackendSpec:
    """Of either. Raises Problem."""
    spec = configured_spec(call, number)
    if spec is not None:
        return spec
    found = await call.read(backends.find_backend, number)
    if found is None:
        raise not_found("Backend")
    return found


def configured_spec(call: Call[Any, Any], number: int) -> BackendSpec | None:
    return next((each for each in call.plane.configured().backends if configured_number(each.name) == number), None)


def storable(wanted: dict[str, Any]) -> dict[str, Any]:
    """With our word for the engine. Raises Problem for one that is not spoken here."""
    if "engine" not in wanted:
        return wanted
    engine = wanted["engine"]
    if engine not in ENGINES:
        why = f"engine {engine!r} is not served here; there are {', '.join(ENGINES)}"
        raise Problem("invalid", why, errors=(Detail("/engine", why),))
    return {name: value for name, value in wanted.items() if name != "engine"} | {"kind": engine}


def refuse_configured(call: Call[Any, Any], name: str, url: str) -> None:
    """Raises Problem where the configuration has such a one."""
    try:
        normal = normal_url(url)
    except ValueError:
        normal = url  # storage will say what is wrong with it
    for each in call.plane.configured().backends:
        if each.name == name or (normal and each.url == normal):
            raise configured_problem("backend", each.name)


async def write_new(
    connection: AsyncConnection, actor: Actor, values: dict[str, Any], is_upsert: bool, box: SecretBox, now_utc: float
) -> ManagedBackend:
    existing = await backends.find_backend_by_name(connection, values["name"]) if is_upsert else None
    if existing is not None:
        return await write_attached(connection, actor, "backend.upsert", existing.id, values, None, box, now_utc)
    await check_node(connection, values.get("node_id"))
    new = NewBackend(**{"max_concurrent": DEFAULT_SLOTS} | values)
    made = await backends.create_backend(connection, new, box, now_utc)
    await note(connection, actor, "backend.create", "backend", made.name, None, made, now_utc)
    return made


async def write_attached(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    row: int,
    changes: dict[str, Any],
    version: int | None,
    box: SecretBox,
    now_utc: float,
) -> ManagedBackend:
    await check_node(connection, changes.get("node_id"))
    return await write_changes(connection, actor, action, row, changes, version, box, now_utc)


async def check_node(connection: AsyncConnection, node_id: int | None) -> None:
    """In one's turn, so that it stays. Raises Problem for a node that is not there."""
    await begin_change(connection)
    if node_id is not None and await find_node(connection, node_id) is None:
        raise Problem("malformed", f"Node with id {node_id} not found")


async def answer_one(call: Call[Any, Any], backend: ManagedBackend) -> Answer:
    nodes = await call.read(names_of_nodes, [] if backend.node_id is None else [backend.node_id])
    return Answer(value=shown(backend, nodes, (await live_states(call)).get(backend.name)))


def shown(backend: ManagedBackend, nodes: dict[int, str], live: BackendStatus | None) -> BackendShown:
    return BackendShown(
        id=backend.id,
        name=backend.name,
        url=without_userinfo(backend.url),
        engine=backend.kind,
        status=status_of(live) if backend.is_enabled else "disabled",
        max_concurrent=backend.max_concurrent,
        current_concurrent=0 if live is None else live["in_flight"],
        gpu_memory_gb=backend.gpu_memory_gb,
        gpu_type=backend.gpu_type,
        node_id=backend.node_id,
        node_name=None if backend.node_id is None else nodes.get(backend.node_id),
        gpu_indices=backend.gpu_indices,
        version=None if live is None else live["version"],
        priority=backend.priority,
    )


def show_configured(backend: BackendSpec, live: BackendStatus | None) -> BackendShown:
    return BackendShown(
        id=configured_number(backend.name),
        name=backend.name,
        url=without_userinfo(backend.url),
        engine=backend.kind if live is None else live["kind"],
        status=status_of(live),
        max_concurrent=backend.max_concurrent,
        current_concurrent=0 if live is None else live["in_flight"],
        version=None if live is None else live["version"],
        source=CONFIGURATION,
    )


def status_of(live: BackendStatus | None) -> str:
    if live is None:
        return "unknown"
    if live["state"] == "draining":
        return "draining"
    return "healthy" if is_routable(live["state"]) else "unhealthy"


P = Permission
TAG = "MindRouter: backends"
_ONE = "/backends/{backend_id}"
ENDPOINTS = (
    Endpoint(
        "POST", "/backends/register", P.BACKENDS_WRITE, register_backend, BackendWanted, answer=BackendShown, tag=TAG
    ),
    Endpoint("GET", "/backends", P.BACKENDS_READ, list_backends, answer=list[BackendShown], tag=TAG),
    Endpoint("PATCH", _ONE, P.BACKENDS_WRITE, change_backend, BackendChanges, answer=BackendShown, tag=TAG),
    Endpoint("POST", f"{_ONE}/enable", P.BACKENDS_WRITE, enable_backend, answer=Done, tag=TAG),
    Endpoint("POST", f"{_ONE}/disable", P.BACKENDS_WRITE, disable_backend, answer=Done, tag=TAG),
    Endpoint("POST", f"{_ONE}/refresh", P.BACKENDS_WRITE, refresh_backend, answer=Done, tag=TAG, publishes=False),
)
