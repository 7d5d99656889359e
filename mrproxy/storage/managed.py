"""Shell. The database's part of the snapshot: what workers need of people, keys, backends and models.

One SELECT for each table, in one transaction, so that all of it is of one moment. Left out is what nobody can use:
keys that are revoked, expired or of users who are not active, these users themselves, backends that are disabled.
A key's models are what it, its user and its group allow together. Limits of a user stay as they are: what they leave
open is filled in where configured and managed groups meet (`link/merging.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.snapshot import BackendSpec, GroupSpec, KeySpec, Limits, Managed, ModelSpec, UserSpec
from mrproxy.storage.backends import IN_JSON, unpacked
from mrproxy.storage.facts import count_changes
from mrproxy.storage.people.columns import LIMITS, unpack
from mrproxy.storage.schema_control import backends, models
from mrproxy.storage.schema_people import api_keys, groups, users
from mrproxy.storage.secrets import SecretBox, SecretUnreadable

Names = tuple[str, ...] | None
AnyRow = Row[Any]
NO_LIMITS = Limits()
_UNLIMITED = list(msgspec.structs.astuple(NO_LIMITS))


@dataclass(frozen=True, slots=True)
class Slots:
    """Of a backend that names none; Ollama's differ."""

    usual: int
    ollama: int

    def of(self, kind: str) -> int:
        return self.ollama if kind == "ollama" else self.usual


@dataclass(frozen=True, slots=True)
class Compiled:
    """`unreadable`: backends whose API key does not open under this secret."""

    managed: Managed
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    models: Names


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    group: _Group
    models: Names


async def compile_managed(connection: AsyncConnection, box: SecretBox, slots: Slots, now_utc: float) -> Compiled:
    """For `Database.read`. Of the same rows it makes the same. Its generation is the counter of changes."""
    changes = await count_changes(connection)
    group_rows = (await connection.execute(select(groups).order_by(groups.c.id))).all()
    known_groups = {row.id: _Group(row.name, unpack(row.models)) for row in group_rows}
    user_specs, known_users = await _users(connection, known_groups)
    backend_specs, unreadable = await _backends(connection, box, slots)
    managed = Managed(
        generation=changes,
        groups=tuple(group_spec(row) for row in group_rows),
        users=user_specs,
        keys=await _keys(connection, known_groups, known_users, now_utc),
        backends=backend_specs,
        models=await _models(connection),
    )
    return Compiled(managed, unreadable)


def group_spec(row: AnyRow) -> GroupSpec:
    fields = row._mapping
    limits = Limits(*(fields[name] for name in LIMITS))
    shared = Limits(*(fields[f"shared_{name}"] for name in LIMITS))
    return GroupSpec(row.name, row.weight, limits, shared, row.captures_bodies)


async def _users(
    connection: AsyncConnection, known: Mapping[int, _Group]
) -> tuple[tuple[UserSpec, ...], dict[int, _User]]:
    table = users.c
    chosen = select(table.id, table.name, table.group_id, table.weight, table.models, *(table[name] for name in LIMITS))
    specs, by_id = [], {}
    for id_, name, group_id, weight, names, *limits in await connection.execute(
        chosen.where(table.is_active).order_by(table.id)
    ):
        group = known[group_id]
        by_id[id_] = _User(name, group, both(group.models, unpack(names)))
        specs.append(UserSpec(name, group.name, weight, limits_of(limits)))
    return tuple(specs), by_id


async def _keys(
    connection: AsyncConnection, known_groups: Mapping[int, _Group], known_users: Mapping[int, _User], now_utc: float
) -> tuple[KeySpec, ...]:
    """A hundred thousand of them take a second: nothing is done here for each that can be done once."""
    table = api_keys.c
    own = (table.key_id, table.name, table.digest, table.user_id, table.group_id, table.models, table.expires_utc)
    chosen = select(*own, table.scopes, table.addresses, *(table[name] for name in LIMITS))
    is_alive = table.expires_utc.is_(None) | (table.expires_utc > now_utc)
    specs = []
    chosen = chosen.where(table.revoked_utc.is_(None), is_alive).order_by(table.id)
    for row in await connection.execute(chosen):
        key_id, name, digest, user_id, group_id, names, expires, scopes, addresses, *limits = row
        if user_id is None:
            user, group = None, known_groups[group_id]
            allowed = group.models
        elif user_id in known_users:
            found = known_users[user_id]
            user, group, allowed = found.name, found.group, found.models
        else:
            continue  # of a user who is not active
        models_ = both(allowed, unpack(names))
        granted = unpack(scopes) or ()
        network = unpack(addresses)
        specs.append(
            KeySpec(key_id, name, digest, user, models_, expires, limits_of(limits), group.name, granted, network)
        )
    return tuple(specs)


async def _backends(
    connection: AsyncConnection, box: SecretBox, slots: Slots
) -> tuple[tuple[BackendSpec, ...], tuple[str, ...]]:
    specs, unreadable = [], []
    for row in await connection.execute(select(backends).where(backends.c.is_enabled).order_by(backends.c.id)):
        try:
            specs.append(backend_spec(row, box, slots))
        except SecretUnreadable:
            unreadable.append(row.name)  # without its key it would refuse everything
    return tuple(specs), tuple(unreadable)


def backend_spec(row: AnyRow, box: SecretBox, slots: Slots) -> BackendSpec:
    """Raises SecretUnreadable."""
    lists: dict[str, Any] = {name: unpacked(name, row._mapping[name]) for name in IN_JSON}
    return BackendSpec(
        name=row.name,
        kind=row.kind,
        url=row.url,
        max_concurrent=slots.of(row.kind) if row.max_concurrent is None else row.max_concurrent,
        api_key=None if row.api_key_encrypted is None else box.open(row.api_key_encrypted),
        models=lists["models"],
        aliases=lists["aliases"],
        num_ctx=row.num_ctx,
        num_ctx_of=lists["num_ctx_of"],
        first_byte_deadline_seconds=row.inference_timeout_seconds,
        probe_interval_seconds=row.health_check_interval_seconds,
    )


async def _models(connection: AsyncConnection) -> tuple[ModelSpec, ...]:
    found = await connection.execute(select(models.c.name, models.c.budget_weight).order_by(models.c.name))
    return tuple(ModelSpec(name, weight) for name, weight in found)


def limits_of(values: list[Any]) -> Limits:
    """Most have none, and share one value that says so."""
    return NO_LIMITS if values == _UNLIMITED else Limits(*values)


def both(one: Names, other: Names) -> Names:
    """What both allow; None allows all."""
    if one is None or other is None:
        return other if one is None else one
    return tuple(name for name in one if name in other)
