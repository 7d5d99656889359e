"""Shell. `/api/admin/nodes`: machines, and what asks their sidecars.

A node's `status` is what asking regularly has found; while nobody does, it is unknown. `refresh` asks a sidecar once
(`GET /health`, key in `X-Sidecar-Key`) and says whether it answered.
"""

from typing import Annotated, Any

import httpx
import msgspec
import trio
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.mindrouter.values import Done, Name, changes_in, not_found, number_in
from mrproxy.control.permissions import Permission
from mrproxy.storage import nodes
from mrproxy.storage.nodes import SIDECAR_KEYS, NewNode, Node
from mrproxy.storage.secrets import SecretBox, SecretUnreadable

ANSWER_SECONDS = 10.0

Host = Annotated[str, Meta(max_length=253)]
Url = Annotated[str, Meta(max_length=2048)]
Secret = Annotated[str, Meta(max_length=4096)]


class NodeShown(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar would say is null while it is not asked."""

    id: int
    name: str
    hostname: str | None
    sidecar_url: str | None
    sidecar_key_set: bool
    status: str
    gpu_count: int | None = None
    driver_version: str | None = None
    cuda_version: str | None = None
    sidecar_version: str | None = None


class NodeWanted(msgspec.Struct, frozen=True, kw_only=True):
    name: Name
    hostname: Host | None = None
    sidecar_url: Url | None = None
    sidecar_key: Secret | None = None


class NodeChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is not named stays; null takes away."""

    name: Name | UnsetType = UNSET
    hostname: Host | UnsetType | None = UNSET
    sidecar_url: Url | UnsetType | None = UNSET
    sidecar_key: Secret | UnsetType | None = UNSET


async def register_node(call: Call[NodeWanted, None]) -> Answer:
    """Register a node."""
    new = NewNode(**without_blanks(msgspec.structs.asdict(call.request)))
    return Answer(value=shown(await call.transact(write_new, call.actor, new, box_of(call), call.now_utc)))


async def list_nodes(call: Call[None, None]) -> Answer:
    """List nodes."""
    page = await call.read(nodes.list_nodes)
    return Answer(value=[shown(each) for each in page.rows])


async def change_node(call: Call[NodeChanges, None]) -> Answer:
    """Change a node."""
    changes = without_blanks(changes_in(call.request))
    found = await found_node(call)
    after = await call.transact(write_changes, call.actor, found.id, changes, call.version, box_of(call), call.now_utc)
    return Answer(value=shown(after))


async def delete_node(call: Call[None, None]) -> Answer:
    """Delete a node that no backend is on."""
    found = await found_node(call)
    await call.transact(write_removal, call.actor, found.id, call.version, call.now_utc)
    return Answer(value=Done(status="deleted", node_id=found.id))


async def refresh_node(call: Call[None, None]) -> Answer:
    """Ask a node's sidecar whether it is there."""
    found = await found_node(call)
    if found.sidecar_url is None:
        raise Problem("malformed", "Node has no sidecar configured")
    try:
        key = await call.read(nodes.sidecar_key, found.id, box_of(call))
    except SecretUnreadable as exc:
        raise Problem("conflict", "The sidecar's key cannot be read any more; set it again.") from exc
    await ask_sidecar(found.sidecar_url, key)
    return Answer(value=Done(status="refreshed", node_id=found.id))


async def ask_sidecar(url: str, key: str | None) -> None:
    """Raises Problem."""
    headers = {} if key is None else {"X-Sidecar-Key": key}
    try:
        with trio.fail_after(ANSWER_SECONDS):
            async with (
                httpx.AsyncClient(timeout=None, trust_env=False) as client,
                client.stream("GET", f"{url}/health", headers=headers) as response,  # whose body nobody reads
            ):
                pass
    except trio.TooSlowError as exc:
        raise Problem("backend", f"The sidecar did not answer within {ANSWER_SECONDS:g} s") from exc
    except httpx.HTTPError as exc:
        raise Problem("backend", f"The sidecar cannot be reached ({type(exc).__name__})") from exc
    if not response.is_success:
        raise Problem("backend", f"The sidecar answered with status {response.status_code}")


async def found_node(call: Call[Any, Any]) -> Node:
    """Raises Problem."""
    found = await call.read(nodes.find_node, number_in(call, "node_id"))
    if found is None:
        raise not_found("Node")
    return found


def without_blanks(values: dict[str, Any]) -> dict[str, Any]:
    """An empty text takes away, as null does; a name must be one."""
    return {name: None if value == "" and name != "name" else value for name, value in values.items()}


def box_of(call: Call[Any, Any]) -> SecretBox:
    return SecretBox(call.plane.secret, SIDECAR_KEYS)


async def write_new(connection: AsyncConnection, actor: Actor, new: NewNode, box: SecretBox, now_utc: float) -> Node:
    made = await nodes.create_node(connection, new, box, now_utc)
    await note(connection, actor, "node.create", "node", made.name, None, made, now_utc)
    return made


async def write_changes(
    connection: AsyncConnection,
    actor: Actor,
    row: int,
    changes: dict[str, Any],
    version: int | None,
    box: SecretBox,
    now_utc: float,
) -> Node:
    before = await nodes.get_node(connection, row)
    after = await nodes.change_node(connection, row, changes, version, box, now_utc)
    await note(connection, actor, "node.change", "node", after.name, before, after, now_utc)
    return after


async def write_removal(
    connection: AsyncConnection, actor: Actor, row: int, version: int | None, now_utc: float
) -> None:
    gone = await nodes.delete_node(connection, row, version, now_utc)
    await note(connection, actor, "node.delete", "node", gone.name, gone, None, now_utc)


def shown(node: Node) -> NodeShown:
    return NodeShown(
        id=node.id,
        name=node.name,
        hostname=node.hostname,
        sidecar_url=node.sidecar_url,
        sidecar_key_set=node.has_sidecar_key,
        status=node.status,
    )


P = Permission
TAG = "MindRouter: nodes"
_ONE = "/nodes/{node_id}"
ENDPOINTS = (
    Endpoint(
        "POST", "/nodes/register", P.NODES_WRITE, register_node, NodeWanted, answer=NodeShown, tag=TAG, publishes=False
    ),
    Endpoint("GET", "/nodes", P.NODES_READ, list_nodes, answer=list[NodeShown], tag=TAG),
    Endpoint("PATCH", _ONE, P.NODES_WRITE, change_node, NodeChanges, answer=NodeShown, tag=TAG, publishes=False),
    Endpoint("DELETE", _ONE, P.NODES_WRITE, delete_node, answer=Done, tag=TAG, publishes=False),
    Endpoint("POST", f"{_ONE}/refresh", P.NODES_WRITE, refresh_node, answer=Done, tag=TAG, publishes=False),
)
