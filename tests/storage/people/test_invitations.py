"""An invitation is good once, for a while, for one group."""

import pytest
import trio

from mrproxy.storage.database import Database
from mrproxy.storage.people.errors import Invalid, NotAllowed, NotFound, Taken
from mrproxy.storage.people.groups import create_group
from mrproxy.storage.people.invitations import (
    accept_invitation,
    count_invitations,
    create_invitation,
    find_invitation,
    find_invitation_by_digest,
    find_invitation_by_uuid,
    list_invitations,
    revoke_invitation,
)
from mrproxy.storage.people.values import Group, Invitation, InvitationFilter, NewGroup, NewInvitation, NewUser
from tests.storage.people.examples import NOW, everything


async def invited(database: Database, group: Group, digest: str = "d", **more) -> Invitation:
    wanted = {"digest": digest, "prefix": "inv_1", "group_id": group.id, "expires_utc": NOW + 10, "created_by": "root"}
    return await database.transact(create_invitation, NewInvitation(**wanted | more), NOW)


def newcomer(name: str = "ann", group_id: int = 1, **more) -> NewUser:
    return NewUser(name=name, group_id=group_id, **more)


async def test_who_accepts_becomes_a_member_of_the_invitations_group(database: Database, staff: Group):
    admins = await database.transact(create_group, NewGroup(name="admin", is_admin=True), NOW)
    made = await invited(database, staff, email="ann@example.org")
    assert (made.group, made.prefix, made.email, made.used_utc) == ("staff", "inv_1", "ann@example.org", None)
    user = await database.transact(accept_invitation, "d", newcomer(group_id=admins.id, email="x@example.org"), NOW + 1)
    assert (user.group, user.email) == ("staff", "ann@example.org")
    found = await database.read(find_invitation, made.id)
    assert found is not None
    assert (found.used_utc, found.used_by) == (NOW + 1, user.id)
    assert await database.read(find_invitation_by_uuid, made.uuid) == found
    assert await database.read(find_invitation_by_digest, "d") == found


async def test_an_invitation_is_good_once(database: Database, staff: Group):
    await invited(database, staff)
    ends = []

    async def accept(name: str) -> None:
        try:
            ends.append((await database.transact(accept_invitation, "d", newcomer(name), NOW)).name)
        except NotAllowed as exc:
            ends.append(str(exc))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, "ann")
        nursery.start_soon(accept, "bob")
    assert len({"ann", "bob"} & set(ends)) == 1
    assert "the invitation is used" in ends


async def test_a_name_that_is_taken_leaves_the_invitation_good(database: Database, staff: Group):
    await invited(database, staff)
    await invited(database, staff, "e")
    await database.transact(accept_invitation, "d", newcomer(), NOW)
    with pytest.raises(Taken):
        await database.transact(accept_invitation, "e", newcomer("Ann"), NOW)
    assert (await database.transact(accept_invitation, "e", newcomer("bob"), NOW)).name == "bob"


async def test_an_invitation_ends(database: Database, staff: Group):
    made = await invited(database, staff)
    with pytest.raises(NotAllowed, match="expired"):
        await database.transact(accept_invitation, "d", newcomer(), NOW + 10)
    assert (await database.transact(revoke_invitation, made.id, NOW + 1)).revoked_utc == NOW + 1
    assert (await database.transact(revoke_invitation, made.id, NOW + 2)).revoked_utc == NOW + 1
    with pytest.raises(NotAllowed, match="revoked"):
        await database.transact(accept_invitation, "d", newcomer(), NOW)
    with pytest.raises(NotFound):
        await database.transact(accept_invitation, "?", newcomer(), NOW)
    with pytest.raises(NotFound):
        await database.transact(revoke_invitation, 99, NOW)


async def test_what_was_used_is_not_revoked(database: Database, staff: Group):
    made = await invited(database, staff)
    await database.transact(accept_invitation, "d", newcomer(), NOW)
    with pytest.raises(NotAllowed, match="used"):
        await database.transact(revoke_invitation, made.id, NOW)


async def test_what_cannot_be_is_refused(database: Database, staff: Group):
    await invited(database, staff)
    with pytest.raises(Taken):
        await invited(database, staff)
    with pytest.raises(Invalid, match="future"):
        await invited(database, staff, "e", expires_utc=NOW)
    with pytest.raises(Invalid, match="email"):
        await invited(database, staff, "e", email="nobody")
    with pytest.raises(NotFound):
        await invited(database, staff, "e", group_id=99)


async def test_lists_are_by_status_newest_first(database: Database, staff: Group):
    names = ("active", "used", "revoked", "expired")
    made = {name: await invited(database, staff, name, expires_utc=NOW + 10) for name in names}
    await database.transact(accept_invitation, "used", newcomer(), NOW)
    await database.transact(revoke_invitation, made["revoked"].id, NOW)
    late = await invited(database, staff, "late", expires_utc=NOW + 99)

    async def ids(status, now=NOW) -> list[int]:
        wanted = InvitationFilter(status=status, now_utc=now)
        found = await everything(database, list_invitations, wanted)
        assert await database.read(count_invitations, wanted) == len(found)
        return [each.id for each in found]

    assert await ids(None) == [late.id, *(made[name].id for name in reversed(names))]
    assert await ids("used") == [made["used"].id]
    assert await ids("revoked") == [made["revoked"].id]
    assert await ids("active") == [late.id, made["expired"].id, made["active"].id]
    assert await ids("active", NOW + 50) == [late.id]
    assert await ids("expired", NOW + 50) == [made["expired"].id, made["active"].id]
