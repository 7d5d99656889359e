"""Shell. Numbers of rows for names, and the reverse: for APIs of others that speak of users and backends by number.

Names that have no row are left out: they may be of the configuration, or of somebody who is gone.
"""

from collections.abc import Collection

from sqlalchemy import Column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.people.users import SELECTION, user_of
from mrproxy.storage.people.values import User
from mrproxy.storage.schema_control import backends, usage_daily
from mrproxy.storage.schema_people import api_keys, groups, users
from mrproxy.storage.usage_reports import total

# SQLite takes 32,766 parameters, PostgreSQL 65,535; nobody here asks for more than a page.
MOST_NAMES = 10_000

BY_NAME: dict[str, tuple[Column[str], Column[int]]] = {
    "user": (users.c.name, users.c.id),
    "group": (groups.c.name, groups.c.id),
    "backend": (backends.c.name, backends.c.id),
    "key": (api_keys.c.key_id, api_keys.c.id),
}


async def numbers_of(connection: AsyncConnection, kind: str, names: Collection[str]) -> dict[str, int]:
    """`kind` is one of BY_NAME; a key's name is its key_id."""
    name, number = BY_NAME[kind]
    if not names:
        return {}
    found = await connection.execute(select(name, number).where(name.in_(list(names)[:MOST_NAMES])))
    return {row[0]: row[1] for row in found}


async def find_users(connection: AsyncConnection, user_ids: Collection[int]) -> dict[int, User]:
    if not user_ids:
        return {}
    found = await connection.execute(SELECTION.where(users.c.id.in_(list(user_ids)[:MOST_NAMES])))
    return {user.id: user for user in map(user_of, found)}


async def titles_of_groups(connection: AsyncConnection) -> dict[int, str]:
    """What people call each group."""
    found = await connection.execute(select(groups.c.id, groups.c.display_name, groups.c.name))
    return {row.id: row.display_name or row.name for row in found}


async def requests_of_keys(connection: AsyncConnection, key_ids: Collection[str]) -> dict[str, int]:
    """How often each key was used, as far back as sums are kept."""
    if not key_ids:
        return {}
    c = usage_daily.c
    wanted = c.key_id.in_(list(key_ids)[:MOST_NAMES])
    found = await connection.execute(select(c.key_id, total(c.requests)).where(wanted).group_by(c.key_id))
    return {row[0]: row[1] for row in found}
