"""Groups, on both databases."""

import pytest

from mrproxy.link.snapshot import Limits
from mrproxy.storage.database import Database
from mrproxy.storage.facts import count_changes
from mrproxy.storage.people.errors import Changed, InUse, Invalid, NotAllowed, NotFound, Taken
from mrproxy.storage.people.groups import (
    change_group,
    count_groups,
    count_members,
    create_group,
    delete_group,
    find_group,
    find_group_by_name,
    list_groups,
    seed_groups,
)
from mrproxy.storage.people.invitations import create_invitation
from mrproxy.storage.people.users import delete_user
from mrproxy.storage.people.values import Group, GroupFilter, NewGroup, NewInvitation
from tests.storage.people.examples import NOW, a_key, a_user, everything

FULL = NewGroup(
    name="physics",
    display_name="Physics",
    description="all of it",
    weight=7,
    is_auditor=True,
    models=("llama", "qwen"),
    max_keys=3,
    key_days=90,
    captures_bodies=True,
    limits=Limits(1, 2, 3, 4, "monthly"),
    shared=Limits(5, 6, 7, 8),
)


async def test_a_group_is_what_was_asked_for(database: Database):
    made = await database.transact(create_group, FULL, NOW)
    assert {name: getattr(made, name) for name in FULL.__struct_fields__} == {
        name: getattr(FULL, name) for name in FULL.__struct_fields__
    }
    assert (made.created_utc, made.updated_utc, made.version) == (NOW, NOW, 1)
    assert await database.read(find_group, made.id) == made
    assert await database.read(find_group_by_name, "physics") == made
    assert await database.read(find_group, made.id + 1) is None


async def test_a_new_database_gets_the_usual_groups_once(database: Database):
    assert await database.transact(seed_groups, NOW) == 7
    assert await database.transact(seed_groups, NOW) == 0
    found = {group.name: group for group in await everything(database, list_groups, GroupFilter())}
    assert {name: group.weight for name, group in found.items()} == {
        "admin": 10,
        "faculty": 3,
        "staff": 2,
        "student": 1,
        "researcher": 3,
        "other": 1,
        "auditor": 1,
    }
    assert [name for name, group in found.items() if group.is_admin] == ["admin"]
    assert [name for name, group in found.items() if group.is_auditor] == ["auditor"]


async def test_what_is_changed_is_changed_and_nothing_else(database: Database):
    made = await database.transact(create_group, FULL, NOW)
    changes = {"weight": 2, "shared_token_budget": None, "models": None, "token_budget": 9}
    changed = await database.transact(change_group, made.id, changes, 1, NOW + 1)
    assert (changed.weight, changed.models, changed.limits, changed.shared) == (
        2,
        None,
        Limits(1, 2, 3, 9, "monthly"),
        Limits(5, 6, 7, None),
    )
    assert (changed.display_name, changed.version, changed.updated_utc) == ("Physics", 2, NOW + 1)
    changed = await database.transact(change_group, made.id, {"limits": Limits(token_budget=3)}, 2, NOW + 2)
    assert changed.limits == Limits(token_budget=3)


async def test_a_name_is_taken_once(database: Database, staff: Group):
    with pytest.raises(Taken, match="'staff'"):
        await database.transact(create_group, NewGroup(name="staff"), NOW)
    other = await database.transact(create_group, NewGroup(name="other"), NOW)
    with pytest.raises(Taken):
        await database.transact(change_group, other.id, {"name": "staff"}, None, NOW)
    assert (await database.transact(change_group, staff.id, {"name": "staff"}, None, NOW)).version == 2


async def test_whoever_looked_at_an_older_version_is_told(database: Database, staff: Group):
    await database.transact(change_group, staff.id, {"weight": 3}, 1, NOW)
    with pytest.raises(Changed) as raised:
        await database.transact(change_group, staff.id, {"weight": 4}, 1, NOW)
    assert raised.value.current_version == 2
    with pytest.raises(NotFound):
        await database.transact(change_group, 99, {"weight": 4}, 1, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": 0},
        {"weight": 2**40},
        {"weight": True},
        {"name": ""},
        {"name": "a\0b"},
        {"token_budget": 0},
        {"token_budget": 2**63},
        {"budget_period": "weekly"},
        {"models": ["a", 1]},
        {"max_keys": -1},
        {"is_admin": "yes"},
        {"id": 3},
        {"version": 3},
        {"limits": {"token_budget": "x"}},
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_before_the_database_sees_it(database: Database, staff: Group, changes):
    with pytest.raises(Invalid):
        await database.transact(change_group, staff.id, changes, None, NOW)
    assert await database.read(find_group, staff.id) == staff


async def test_a_group_with_members_keys_or_open_invitations_stays(database: Database, staff: Group):
    user = await a_user(database, staff)
    with pytest.raises(InUse, match="1 members"):
        await database.transact(delete_group, staff.id, None, NOW)
    await database.transact(delete_user, user.id, None, NOW)
    invited = NewInvitation(digest="d", prefix="inv_", group_id=staff.id, expires_utc=NOW + 10, created_by="ann")
    await database.transact(create_invitation, invited, NOW)
    with pytest.raises(InUse, match="open invitations"):
        await database.transact(delete_group, staff.id, None, NOW)
    assert (await database.transact(delete_group, staff.id, 1, NOW + 11)).name == "staff"
    assert await database.read(find_group, staff.id) is None


async def test_a_group_with_a_service_key_stays(database: Database, staff: Group):
    await a_key(database, group_id=staff.id)
    with pytest.raises(InUse, match="service keys"):
        await database.transact(delete_group, staff.id, None, NOW)


async def test_the_last_administrators_group_keeps_its_role(database: Database):
    admins = await database.transact(create_group, NewGroup(name="admin", is_admin=True), NOW)
    assert (await database.transact(change_group, admins.id, {"is_admin": False}, None, NOW)).is_admin is False
    await database.transact(change_group, admins.id, {"is_admin": True}, None, NOW)
    await a_user(database, admins)
    with pytest.raises(NotAllowed):
        await database.transact(change_group, admins.id, {"is_admin": False}, None, NOW)
    found = await database.read(find_group, admins.id)
    assert found is not None
    assert found.is_admin


async def test_lists_are_narrowed_and_counted(database: Database, staff: Group):
    await database.transact(create_group, FULL, NOW)
    await a_user(database, staff)
    assert [group.name for group in await everything(database, list_groups, GroupFilter(search="PHYS"))] == ["physics"]
    assert await database.read(count_groups, GroupFilter()) == 2
    assert await database.read(count_groups, GroupFilter(search="%")) == 0
    assert await database.read(count_members) == {staff.id: 1}


async def test_every_change_is_counted_for_those_who_keep_a_copy(database: Database, staff: Group):
    before = await database.read(count_changes)
    await database.transact(change_group, staff.id, {"weight": 3}, None, NOW)
    assert await database.read(count_changes) > before
