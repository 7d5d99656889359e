"""Shell. Groups: what their members may and get. See the package for the rules that hold here.

A new database gets the usual ones, so that users have somewhere to be.
"""

from typing import Any

import msgspec
from sqlalchemy import Select, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.config import DEFAULT_GROUPS
from mrproxy.storage.facts import begin_change
from mrproxy.storage.people.administrators import keep_an_administrator
from mrproxy.storage.people.checks import (
    MAX_DAYS,
    Check,
    check_all,
    check_count,
    check_flag,
    check_name,
    check_names,
    check_text,
    check_weight,
    or_none,
)
from mrproxy.storage.people.columns import flattened, limit_checks, limits_of, packed, unpack
from mrproxy.storage.people.errors import InUse, NotFound, Taken
from mrproxy.storage.people.pages import AnyRow, contains, count_rows, read_page, update_row
from mrproxy.storage.people.values import Group, GroupFilter, NewGroup, Page
from mrproxy.storage.schema_people import api_keys, groups, invitations, users

ADMINISTRATORS, AUDITORS = "admin", "auditor"
# By weight: those that the configuration has, and two more.
SEEDS = DEFAULT_GROUPS | {"researcher": 3, AUDITORS: 1}

CHECKS: dict[str, Check] = {
    "name": check_name,
    "display_name": check_text,
    "description": check_text,
    "weight": check_weight,
    "is_admin": check_flag,
    "is_auditor": check_flag,
    "models": or_none(check_names),
    "max_keys": or_none(lambda field, value: check_count(field, value, 0)),
    "key_days": or_none(lambda field, value: check_count(field, value, 1, MAX_DAYS)),
    "captures_bodies": check_flag,
    **limit_checks(),
    **limit_checks("shared_"),
}


async def seed_groups(connection: AsyncConnection, now_utc: float) -> int:
    """Make the usual groups where there is none at all; how many."""
    await begin_change(connection)
    if (await connection.execute(select(groups.c.id).limit(1))).first() is not None:
        return 0
    for name, weight in SEEDS.items():
        is_admin, is_auditor = name == ADMINISTRATORS, name == AUDITORS
        group = NewGroup(name=name, display_name=name.title(), weight=weight, is_admin=is_admin, is_auditor=is_auditor)
        await create_group(connection, group, now_utc)
    return len(SEEDS)


async def create_group(connection: AsyncConnection, wanted: NewGroup, now_utc: float) -> Group:
    """Raises Taken, Invalid."""
    values = _values(msgspec.structs.asdict(wanted))
    await begin_change(connection)
    await _refuse_taken(connection, values["name"])
    made = insert(groups).values(**values, created_utc=now_utc, updated_utc=now_utc).returning(groups.c.id)
    return await get_group(connection, (await connection.execute(made)).scalar_one())


async def find_group(connection: AsyncConnection, group_id: int) -> Group | None:
    return _first((await connection.execute(select(groups).where(groups.c.id == group_id))).first())


async def find_group_by_name(connection: AsyncConnection, name: str) -> Group | None:
    return _first((await connection.execute(select(groups).where(groups.c.name == name))).first())


async def get_group(connection: AsyncConnection, group_id: int) -> Group:
    """Raises NotFound."""
    group = await find_group(connection, group_id)
    if group is None:
        raise NotFound("group", group_id)
    return group


async def list_groups(
    connection: AsyncConnection, wanted: GroupFilter, behind: int | None = None, limit: int = 100, skip: int = 0
) -> Page[Group]:
    return await read_page(connection, _selection(wanted), groups.c.id, group_of, behind, limit, skip=skip)


async def count_groups(connection: AsyncConnection, wanted: GroupFilter) -> int:
    return await count_rows(connection, _selection(wanted))


async def count_members(connection: AsyncConnection) -> dict[int, int]:
    """By group's id; a group without members is not in it."""
    counted = await connection.execute(select(users.c.group_id, func.count()).group_by(users.c.group_id))
    return {row[0]: row[1] for row in counted}


async def change_group(
    connection: AsyncConnection, group_id: int, changes: dict[str, object], version: int | None, now_utc: float
) -> Group:
    """Raises NotFound, Changed, Taken, Invalid; NotAllowed where nobody would be an administrator any more."""
    values = _values(changes)
    await begin_change(connection)
    if "name" in values:
        await _refuse_taken(connection, values["name"], group_id)
    async with keep_an_administrator(connection):
        await update_row(connection, groups, "group", (groups.c.id, group_id), values, version, now_utc)
    return await get_group(connection, group_id)


async def delete_group(connection: AsyncConnection, group_id: int, version: int | None, now_utc: float) -> Group:
    """What it was. Raises NotFound, Changed; InUse where it has members, service keys or open invitations."""
    await begin_change(connection)
    await update_row(connection, groups, "group", (groups.c.id, group_id), {}, version, now_utc)
    group = await get_group(connection, group_id)
    is_done = (invitations.c.used_utc.is_not(None)) | (invitations.c.revoked_utc.is_not(None))
    is_done |= invitations.c.expires_utc <= now_utc
    await connection.execute(delete(invitations).where(invitations.c.group_id == group_id, is_done))
    for table, kind in ((users, "members"), (api_keys, "service keys"), (invitations, "open invitations")):
        counted = select(func.count()).select_from(table).where(table.c.group_id == group_id)
        if count := (await connection.execute(counted)).scalar_one():
            raise InUse(f"group {group.name!r} has {count} {kind}")
    await connection.execute(delete(groups).where(groups.c.id == group_id))
    return group


def group_of(row: AnyRow) -> Group:
    fields = row._mapping
    limits, shared = limits_of(fields), limits_of(fields, "shared_")
    plain = {name: fields[name] for name in Group.__struct_fields__ if name in fields}
    return Group(**plain | {"models": unpack(fields["models"]), "limits": limits, "shared": shared})


def _first(row: AnyRow | None) -> Group | None:
    return None if row is None else group_of(row)


def _selection(wanted: GroupFilter) -> Select[Any]:
    if not wanted.search:
        return select(groups)
    return select(groups).where(contains(wanted.search, groups.c.name, groups.c.display_name, groups.c.description))


def _values(given: dict[str, object]) -> dict[str, Any]:
    return packed(check_all(flattened(given), CHECKS))


async def _refuse_taken(connection: AsyncConnection, name: str, but: int | None = None) -> None:
    found = (await connection.execute(select(groups.c.id).where(groups.c.name == name))).scalar_one_or_none()
    if found is not None and found != but:
        raise Taken("name", name)
