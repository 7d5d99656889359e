"""Nodes: named once, their sidecars' keys encrypted, kept while backends are on them."""

import pytest
from sqlalchemy import select

from mrproxy.storage.backends import NewBackend, change_backend, create_backend
from mrproxy.storage.database import Database
from mrproxy.storage.nodes import (
    SIDECAR_KEYS,
    NewNode,
    Node,
    change_node,
    create_node,
    delete_node,
    find_node,
    find_node_by_name,
    list_nodes,
    names_of_nodes,
    sidecar_key,
)
from mrproxy.storage.people.errors import Changed, InUse, Invalid, NotFound, Taken
from mrproxy.storage.schema_control import nodes
from mrproxy.storage.secrets import SecretBox

NOW = 5.0
BOX = SecretBox(bytes(32), SIDECAR_KEYS)
FULL = NewNode(name="gpu1", hostname="gpu1.example.com", sidecar_url="http://GPU1:8007/", sidecar_key="s3cret")


async def made_of(database: Database, wanted: NewNode = FULL) -> Node:
    return await database.transact(create_node, wanted, BOX, NOW)


async def changed_to(database: Database, node: Node, version: int | None = None, **changes: object) -> Node:
    return await database.transact(change_node, node.id, changes, version, BOX, NOW + 1)


async def test_a_node_is_what_was_asked_for_and_its_key_is_not_shown(database: Database):
    made = await made_of(database)
    assert (made.name, made.hostname, made.sidecar_url) == ("gpu1", "gpu1.example.com", "http://gpu1:8007")
    assert (made.has_sidecar_key, made.status, made.version) == (True, "unknown", 1)
    assert "s3cret" not in repr(made)

    async def look(connection):
        return (await connection.execute(select(nodes.c.sidecar_key_encrypted))).scalar_one()

    assert "s3cret" not in await database.read(look)
    assert await database.read(sidecar_key, made.id, BOX) == "s3cret"
    assert await database.read(find_node, made.id) == made
    assert await database.read(find_node_by_name, "gpu1") == made
    assert (await database.read(list_nodes)).rows == [made]
    assert await database.read(names_of_nodes, [made.id, 99]) == {made.id: "gpu1"}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": ""}, "name"),
        ({"sidecar_url": "ftp://gpu1"}, "sidecar_url"),
        ({"sidecar_url": "http://user:pass@gpu1"}, "sidecar_url"),
        ({"sidecar_key": "a\r\nX-Admin: 1"}, "sidecar_key"),
        ({"hostname": "a\0"}, "hostname"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused(database: Database, wanted, field):
    with pytest.raises(Invalid) as raised:
        await made_of(database, NewNode(**{"name": "n"} | wanted))
    assert raised.value.field == field


async def test_names_are_taken_once(database: Database):
    first, second = await made_of(database), await made_of(database, NewNode(name="gpu2"))
    with pytest.raises(Taken):
        await made_of(database)
    with pytest.raises(Taken):
        await changed_to(database, second, name="gpu1")
    assert (await changed_to(database, first, name="gpu1")).version == 2


async def test_what_is_null_is_taken_away_and_the_rest_stays(database: Database):
    made = await made_of(database)
    changed = await changed_to(database, made, 1, hostname=None, sidecar_key=None)
    assert (changed.hostname, changed.has_sidecar_key, changed.sidecar_url) == (None, False, "http://gpu1:8007")
    assert await database.read(sidecar_key, made.id, BOX) is None
    with pytest.raises(Changed):
        await changed_to(database, made, 1, hostname="x")
    with pytest.raises(Invalid, match="status"):
        await changed_to(database, made, status="online")


async def test_a_node_stays_while_a_backend_is_on_it(database: Database):
    made = await made_of(database)
    wanted = NewBackend(name="b", kind="vllm", url="http://gpu1:8000", node_id=made.id)
    backend = await database.transact(create_backend, wanted, BOX, NOW)
    with pytest.raises(InUse, match="1 backends"):
        await database.transact(delete_node, made.id, None, NOW)
    await database.transact(change_backend, backend.id, {"node_id": None}, None, BOX, NOW)
    assert (await database.transact(delete_node, made.id, None, NOW)).name == "gpu1"
    with pytest.raises(NotFound):
        await database.transact(delete_node, made.id, None, NOW)
