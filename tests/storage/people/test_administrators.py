"""Who counts as an administrator. What they may not do to each other is in `test_users.py` and `test_groups.py`."""

import pytest

from mrproxy.storage.database import Database
from mrproxy.storage.people.administrators import count_administrators, keep_an_administrator
from mrproxy.storage.people.errors import NotAllowed
from mrproxy.storage.people.groups import create_group
from mrproxy.storage.people.users import change_user
from mrproxy.storage.people.values import Group, NewGroup
from mrproxy.storage.schema_people import users
from tests.storage.people.examples import NOW, a_user


async def test_active_members_of_groups_with_the_role_count(database: Database, staff: Group):
    admins = await database.transact(create_group, NewGroup(name="admin", is_admin=True), NOW)
    await a_user(database, staff)
    assert await database.read(count_administrators) == 0
    bob = await a_user(database, admins, "bob")
    await a_user(database, admins, "eve")
    assert await database.read(count_administrators) == 2
    await database.transact(change_user, bob.id, {"is_active": False}, None, NOW)
    assert await database.read(count_administrators) == 1


async def test_what_would_leave_nobody_is_rolled_back(database: Database):
    admins = await database.transact(create_group, NewGroup(name="admin", is_admin=True), NOW)
    await a_user(database, admins)

    async def remove_all(connection):
        async with keep_an_administrator(connection):
            await connection.execute(users.delete())

    with pytest.raises(NotAllowed):
        await database.transact(remove_all)
    assert await database.read(count_administrators) == 1
