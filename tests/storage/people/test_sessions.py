"""Sessions end in four ways; an identity belongs to one user."""

import pytest

from mrproxy.storage.database import Database
from mrproxy.storage.people.errors import Invalid, NotFound, Taken
from mrproxy.storage.people.sessions import (
    MAX_SESSIONS,
    create_session,
    find_session,
    find_user_by_identity,
    link_identity,
    list_identities,
    list_sessions,
    revoke_session,
    revoke_sessions,
    touch_session,
    unlink_identity,
)
from mrproxy.storage.people.users import change_user
from mrproxy.storage.people.values import Group, NewIdentity, NewSession, User
from tests.storage.people.examples import NOW, a_user

EXPIRES = NOW + 100


@pytest.fixture
async def ann(database: Database, staff: Group) -> User:
    return await a_user(database, staff)


def a_session(user: User, id_: str = "s", **more) -> NewSession:
    return NewSession(**{"id": id_, "user_id": user.id, "kind": "cookie", "expires_utc": EXPIRES} | more)


async def test_a_session_is_found_with_its_user_until_it_expires(database: Database, ann: User):
    wanted = a_session(ann, address="2001:db8::1\0", user_agent="x" * 1000)
    made = await database.transact(create_session, wanted, NOW)
    assert (made.address, len(made.user_agent), made.created_utc, made.seen_utc) == ("2001:db8::1\ufffd", 300, NOW, NOW)
    assert await database.read(find_session, "s", EXPIRES - 1) == (made, ann)
    assert await database.read(find_session, "s", EXPIRES) is None
    assert await database.read(find_session, "t\0", NOW) is None


async def test_using_a_session_may_lengthen_it(database: Database, ann: User):
    await database.transact(create_session, a_session(ann), NOW)
    await database.transact(touch_session, "s", NOW + 1)
    await database.transact(touch_session, "s", NOW + 2, EXPIRES + 50)
    found = await database.read(find_session, "s", EXPIRES + 1)
    assert found is not None
    assert found[0].seen_utc == NOW + 2


async def test_a_revoked_session_is_gone(database: Database, ann: User):
    await database.transact(create_session, a_session(ann), NOW)
    assert await database.transact(revoke_session, "s", NOW) is True
    assert await database.transact(revoke_session, "s", NOW) is False
    assert await database.read(find_session, "s", NOW) is None


async def test_who_is_not_active_is_not_signed_in(database: Database, ann: User):
    await database.transact(create_session, a_session(ann), NOW)
    await database.transact(change_user, ann.id, {"is_active": False}, None, NOW)
    assert await database.read(find_session, "s", NOW) is None


async def test_all_but_one_are_revoked_and_listed_newest_first(database: Database, staff: Group, ann: User):
    bob = await a_user(database, staff, "bob")
    for number, id_ in enumerate("abc"):
        await database.transact(create_session, a_session(ann, id_), NOW + number)
    await database.transact(create_session, a_session(bob, "d"), NOW)
    assert [session.id for session in await database.read(list_sessions, ann.id, NOW)] == ["c", "b", "a"]
    assert await database.transact(revoke_sessions, ann.id, NOW, "b") == 2
    assert [session.id for session in await database.read(list_sessions, ann.id, NOW)] == ["b"]
    assert await database.transact(revoke_sessions, ann.id, NOW) == 1
    assert await database.read(find_session, "d", NOW) is not None
    assert len("abc") < MAX_SESSIONS


async def test_nobody_has_no_session(database: Database, ann: User):
    with pytest.raises(NotFound):
        await database.transact(create_session, NewSession(id="s", user_id=99, kind="token", expires_utc=EXPIRES), NOW)


async def test_an_identity_is_one_users_at_one_issuer(database: Database, staff: Group, ann: User):
    bob = await a_user(database, staff, "bob")
    wanted = NewIdentity(user_id=ann.id, issuer="https://idp", subject="1", email="a@example.org")
    made = await database.transact(link_identity, wanted, NOW)
    await database.transact(link_identity, NewIdentity(user_id=bob.id, issuer="https://other", subject="1"), NOW)
    found = await database.read(find_user_by_identity, "https://idp", "1")
    assert found == ann
    assert await database.read(find_user_by_identity, "https://idp", "1\0") is None
    with pytest.raises(Taken):
        await database.transact(link_identity, NewIdentity(user_id=bob.id, issuer="https://idp", subject="1"), NOW)
    with pytest.raises(Invalid):
        await database.transact(link_identity, NewIdentity(user_id=bob.id, issuer="https://idp", subject=""), NOW)
    assert await database.read(list_identities, ann.id) == (made,)
    assert await database.transact(unlink_identity, made.id) is True
    assert await database.transact(unlink_identity, made.id) is False
