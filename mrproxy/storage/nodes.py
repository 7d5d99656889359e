"""Shell. Nodes: machines with GPUs, and the sidecar on each that can be asked about them.

A sidecar's key goes in and never comes out with a node; it is stored encrypted (`secrets.py`), and `sidecar_key` opens
it for whoever asks the sidecar. A node that has backends stays. The rules of the package `people` hold here.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.config.tables import normal_url
from mrproxy.storage.facts import take_turn
from mrproxy.storage.people.checks import Check, check_all, check_name, check_secret, check_text, clean, or_none
from mrproxy.storage.people.errors import InUse, Invalid, NotFound, Taken
from mrproxy.storage.people.pages import AnyRow, read_page, update_row
from mrproxy.storage.people.values import Page
from mrproxy.storage.schema_control import backends, nodes
from mrproxy.storage.secrets import SecretBox

SIDECAR_KEYS = "sidecar keys"


class NewNode(msgspec.Struct, frozen=True, kw_only=True):
    """The one value that has the sidecar's key, on its way in."""

    name: str
    hostname: str | None = None
    sidecar_url: str | None = None
    sidecar_key: str | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """`status`: online, offline, unknown."""

    id: int
    name: str
    hostname: str | None
    sidecar_url: str | None
    has_sidecar_key: bool
    status: str
    created_utc: float
    updated_utc: float
    version: int


def check_sidecar_url(field: str, value: object) -> str:
    """As a backend's: no credentials, no query. Raises Invalid."""
    try:
        return normal_url(check_text(field, value, 2048))
    except ValueError as exc:
        raise Invalid(field, f"cannot be: {exc}") from exc


CHECKS: dict[str, Check] = {
    "name": check_name,
    "hostname": or_none(lambda field, value: check_text(field, value, 253)),
    "sidecar_url": or_none(check_sidecar_url),
    "sidecar_key": or_none(check_secret),
}


async def create_node(connection: AsyncConnection, wanted: NewNode, box: SecretBox, now_utc: float) -> Node:
    """Raises Taken (name), Invalid."""
    values = check_all(msgspec.structs.asdict(wanted), CHECKS)
    await take_turn(connection)
    await _refuse_taken(connection, values)
    made = insert(nodes).values(**_columns(values, box), created_utc=now_utc, updated_utc=now_utc)
    return await get_node(connection, (await connection.execute(made.returning(nodes.c.id))).scalar_one())


async def find_node(connection: AsyncConnection, node_id: int) -> Node | None:
    return await _find(connection, nodes.c.id == node_id)


async def find_node_by_name(connection: AsyncConnection, name: str) -> Node | None:
    return await _find(connection, nodes.c.name == clean(name))


async def get_node(connection: AsyncConnection, node_id: int) -> Node:
    """Raises NotFound."""
    node = await find_node(connection, node_id)
    if node is None:
        raise NotFound("node", node_id)
    return node


async def list_nodes(connection: AsyncConnection, behind: int | None = None, limit: int = 1000) -> Page[Node]:
    return await read_page(connection, select(nodes), nodes.c.id, node_of, behind, limit)


async def names_of_nodes(connection: AsyncConnection, node_ids: Collection[int]) -> dict[int, str]:
    found = await connection.execute(select(nodes.c.id, nodes.c.name).where(nodes.c.id.in_(node_ids)))
    return {row.id: row.name for row in found}


async def sidecar_key(connection: AsyncConnection, node_id: int, box: SecretBox) -> str | None:
    """In clear, for asking the sidecar. Raises SecretUnreadable."""
    sealed = select(nodes.c.sidecar_key_encrypted).where(nodes.c.id == node_id)
    found = (await connection.execute(sealed)).scalar_one_or_none()
    return None if found is None else box.open(found)


async def change_node(
    connection: AsyncConnection,
    node_id: int,
    changes: Mapping[str, object],
    version: int | None,
    box: SecretBox,
    now_utc: float,
) -> Node:
    """None takes away what may be absent. Raises NotFound, Changed, Taken, Invalid."""
    values = check_all(changes, CHECKS)
    await take_turn(connection)
    await _refuse_taken(connection, values, node_id)
    await update_row(connection, nodes, "node", (nodes.c.id, node_id), _columns(values, box), version, now_utc)
    return await get_node(connection, node_id)


async def delete_node(connection: AsyncConnection, node_id: int, version: int | None, now_utc: float) -> Node:
    """What it was. Raises NotFound, Changed; InUse where backends are attached to it."""
    await take_turn(connection)
    await update_row(connection, nodes, "node", (nodes.c.id, node_id), {}, version, now_utc)
    node = await get_node(connection, node_id)
    attached = select(func.count()).select_from(backends).where(backends.c.node_id == node_id)
    if count := (await connection.execute(attached)).scalar_one():
        raise InUse(f"node {node.name!r} has {count} backends; remove them or move them first")
    await connection.execute(delete(nodes).where(nodes.c.id == node_id))
    return node


def node_of(row: AnyRow) -> Node:
    fields = row._mapping
    plain = {name: fields[name] for name in Node.__struct_fields__ if name in fields}
    return Node(**plain, has_sidecar_key=fields["sidecar_key_encrypted"] is not None)


def _columns(values: Mapping[str, object], box: SecretBox) -> dict[str, Any]:
    columns: dict[str, Any] = {name: value for name, value in values.items() if name != "sidecar_key"}
    if "sidecar_key" in values:
        key = values["sidecar_key"]
        columns["sidecar_key_encrypted"] = None if key is None else box.seal(str(key))
    return columns


async def _find(connection: AsyncConnection, condition: ColumnElement[bool]) -> Node | None:
    row = (await connection.execute(select(nodes).where(condition))).first()
    return None if row is None else node_of(row)


async def _refuse_taken(connection: AsyncConnection, values: Mapping[str, object], but: int | None = None) -> None:
    if "name" in values:
        same = select(nodes.c.id).where(nodes.c.name == values["name"])
        found = (await connection.execute(same)).scalar_one_or_none()
        if found is not None and found != but:
            raise Taken("name", values["name"])
