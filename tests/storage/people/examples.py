"""Values to start from, and calls that the tests of this package share."""

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from mrproxy.storage.database import Database
from mrproxy.storage.people.keys import create_key
from mrproxy.storage.people.users import create_user
from mrproxy.storage.people.values import ApiKey, Group, NewKey, NewUser, User

NOW = 1_000_000.0
DAY = 86_400.0
_numbers = count(1)


def a_digest() -> str:
    """Another each time, also in its first twelve digits."""
    return f"{next(_numbers):012x}{'5' * 20}"


async def a_user(database: Database, group: Group, name: str = "ann", **more: Any) -> User:
    return await database.transact(create_user, NewUser(name=name, group_id=group.id, **more), NOW)


async def a_key(database: Database, user: User | None = None, *, now: float = NOW, **more: Any) -> ApiKey:
    wanted = {"name": "laptop", "digest": a_digest(), "prefix": "mr_abcdefg"}
    if user is not None:
        wanted["user_id"] = user.id
    return await database.transact(create_key, NewKey(**wanted | more), now)


async def everything(database: Database, list_x: Callable[..., Any], wanted: msgspec.Struct, limit: int = 2) -> list:
    """All pages of a list, one after the other."""
    rows, behind = [], None
    while True:
        page = await database.read(list_x, wanted, behind, limit)
        rows += page.rows
        behind = page.following
        if behind is None:
            return rows
