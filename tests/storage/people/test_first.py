"""A new database gets its groups and one administrator, however many gateways start on it."""

import pytest
import trio

from mrproxy.storage.audit import AuditFilter, list_entries, verify
from mrproxy.storage.database import Database
from mrproxy.storage.people.errors import NotAllowed, Taken
from mrproxy.storage.people.first import create_first_administrator, ensure_groups, has_administrator
from mrproxy.storage.people.groups import find_group_by_name
from mrproxy.storage.people.users import count_users, find_credentials
from mrproxy.storage.people.values import Group, UserFilter
from tests.storage.people.examples import NOW, a_user, everything


async def made(database: Database, name: str = "admin"):
    return await database.transact(create_first_administrator, name, "$argon2id$x", True, NOW)


async def test_the_first_administrator_is_in_the_group_that_has_the_role(database: Database):
    assert await database.transact(ensure_groups, NOW) == 7
    assert await database.transact(ensure_groups, NOW) == 0
    assert await database.read(has_administrator) is False
    user = await made(database)
    assert (user.name, user.group, user.is_admin, user.must_change_password) == ("admin", "admin", True, True)
    credentials = await database.read(find_credentials, "admin")
    assert credentials is not None
    assert credentials.password_hash == "$argon2id$x"
    assert await database.read(has_administrator) is True


async def test_both_stand_in_the_audit_log_without_the_hash(database: Database):
    await database.transact(ensure_groups, NOW)
    await made(database)
    entries = await everything(database, list_entries, AuditFilter())
    assert [(entry.action, entry.actor_kind) for entry in entries] == [
        ("user.create", "system"),
        ("group.seed", "system"),
    ]
    assert "argon2id" not in repr(entries)
    assert (await verify(database)).first_bad_id is None


async def test_of_gateways_that_start_at_once_one_makes_it(database: Database):
    ends = []

    async def start(name: str) -> None:
        await database.transact(ensure_groups, NOW)
        ends.append(await made(database, name))

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(start, f"admin{number}")
    assert len([end for end in ends if end is not None]) == 1
    assert await database.read(count_users, UserFilter()) == 1


async def test_an_inactive_administrator_is_one(database: Database):
    await database.transact(ensure_groups, NOW)
    group = await database.read(find_group_by_name, "admin")
    await a_user(database, group, "root", is_active=False)
    assert await made(database) is None


async def test_without_a_group_that_has_the_role_or_a_free_name_nobody_is_made(database: Database, staff: Group):
    with pytest.raises(NotAllowed):
        await made(database)
    assert await database.transact(ensure_groups, NOW) == 0


async def test_a_name_that_is_taken_is_not_taken_away(database: Database):
    await database.transact(ensure_groups, NOW)
    group = await database.read(find_group_by_name, "staff")
    await a_user(database, group, "Admin")
    with pytest.raises(Taken):
        await made(database)
