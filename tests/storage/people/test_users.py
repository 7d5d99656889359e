"""Users: names of every script, what stays when they go, and that somebody is always an administrator."""

import random
import sys

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from mrproxy.link.snapshot import Limits
from mrproxy.storage.database import Database
from mrproxy.storage.ingest import COLUMNS, row_of
from mrproxy.storage.people.checks import MAX_NAME_CHARACTERS, check_name, fold
from mrproxy.storage.people.errors import Changed, Invalid, NotAllowed, NotFound, Taken
from mrproxy.storage.people.groups import change_group, create_group
from mrproxy.storage.people.keys import find_key
from mrproxy.storage.people.sessions import (
    create_session,
    find_session,
    find_user_by_identity,
    link_identity,
    list_identities,
)
from mrproxy.storage.people.users import (
    change_user,
    count_users,
    create_user,
    delete_user,
    find_credentials,
    find_user,
    find_user_by_email,
    find_user_by_name,
    find_user_by_uuid,
    list_users,
    record_failed_login,
    record_login,
    unlock,
)
from mrproxy.storage.people.values import Group, NewGroup, NewIdentity, NewSession, NewUser, UserFilter
from mrproxy.storage.schema import records, schema_people
from tests.link.journal_examples import a_record
from tests.storage.people.examples import NOW, a_key, a_user, everything

FULL = NewUser(
    name="Ännchen Ω",
    group_id=0,
    email="a@example.org",
    full_name="Ann",
    college="c",
    department="d",
    intended_use="e",
    weight=4,
    models=("llama",),
    password_hash="$argon2id$…",
    must_change_password=True,
    limits=Limits(1, 2, 3, 4, "monthly"),
)
ASKED = [name for name in FULL.__struct_fields__ if name not in ("group_id", "password_hash")]


def named(name: str, group: Group) -> NewUser:
    return NewUser(name=name, group_id=group.id)


@pytest.fixture
async def admins(database: Database) -> Group:
    return await database.transact(create_group, NewGroup(name="admin", is_admin=True), NOW)


async def test_a_user_is_what_was_asked_for_and_has_no_hash(database: Database, staff: Group):
    values = {name: getattr(FULL, name) for name in ASKED}
    made = await database.transact(create_user, NewUser(**values, group_id=staff.id, password_hash="$argon2id$x"), NOW)
    assert {name: getattr(made, name) for name in ASKED} == values
    assert (made.group, made.is_admin, made.is_auditor, made.has_password) == ("staff", False, False, True)
    assert "argon2id" not in repr(made)
    for find, what in (
        (find_user, made.id),
        (find_user_by_uuid, made.uuid),
        (find_user_by_name, "ÄNNCHEN ω"),
        (find_user_by_email, "A@Example.org"),
    ):
        assert await database.read(find, what) == made, find.__name__
    credentials = await database.read(find_credentials, "ännchen Ω")
    assert credentials is not None
    assert (credentials.user, credentials.password_hash) == (made, "$argon2id$x")


async def test_who_is_not_there_is_not_found_whatever_was_typed(database: Database, staff: Group):
    await a_user(database, staff)
    for text in ("bob", "", "a\0nn", "\ud800", "ann' OR '1'='1", "%", "x" * 100_000):
        assert await database.read(find_user_by_name, text) is None
        assert await database.read(find_user_by_uuid, text) is None
        assert await database.read(find_user_by_email, text) is None
        assert await database.read(find_credentials, text) is None


async def test_an_address_of_two_users_says_nothing(database: Database, staff: Group):
    for name in ("ann", "bob"):
        await a_user(database, staff, name, email="shared@example.org")
    assert await database.read(find_user_by_email, "shared@example.org") is None


@pytest.mark.parametrize(
    ("first", "second"), [("Ann", "aNN"), ("straße", "STRASSE"), ("Å", "A\u030a"), ("ann", "ann"), ("ΣΑΣ", "σας")]
)
async def test_names_that_differ_in_case_or_typing_are_one(database: Database, staff: Group, first, second):
    await a_user(database, staff, first)
    with pytest.raises(Taken):
        await a_user(database, staff, second)


@pytest.mark.parametrize(
    "name", ["", " ann", "ann\n", "a\0b", "\ud800", "a\u202eb", "a\u200bb", "\ue000", "x" * (MAX_NAME_CHARACTERS + 1)]
)
async def test_names_that_would_deceive_are_refused(database: Database, staff: Group, name):
    with pytest.raises(Invalid, match="name"):
        await a_user(database, staff, name)


@pytest.mark.slow
async def test_any_name_that_is_taken_comes_back_as_it_was(database: Database, staff: Group):
    """A thousand names of random characters of all of Unicode."""
    source, kept = random.Random(4), {}
    while len(kept) < 300:
        text = "".join(chr(source.randrange(sys.maxunicode + 1)) for _ in range(source.randrange(1, 4)))
        try:
            name = check_name("name", text)
        except Invalid:
            continue
        kept.setdefault(fold(name), name)
    wanted = [named(name, staff) for name in kept.values()]

    async def create_all(connection):
        return [(await create_user(connection, each, NOW)).name for each in wanted]

    assert await database.transact(create_all) == list(kept.values())
    for folded, name in list(kept.items())[:50]:
        found = await database.read(find_user_by_name, folded)
        assert found is not None
        assert found.name == name


@given(st.text(max_size=8))
@example("ᾳͅ")
def test_folding_twice_is_folding_once(name: str):
    assert fold(fold(name)) == fold(name)


@given(st.text(max_size=8))
def test_case_makes_no_other_name(name: str):
    assert fold(name.casefold()) == fold(name)


async def test_whoever_looked_at_an_older_version_is_told(database: Database, staff: Group):
    user = await a_user(database, staff)
    assert (await database.transact(change_user, user.id, {"full_name": "A"}, 1, NOW + 1)).version == 2
    with pytest.raises(Changed) as raised:
        await database.transact(change_user, user.id, {"full_name": "B"}, 1, NOW)
    assert raised.value.current_version == 2
    with pytest.raises(NotFound):
        await database.transact(change_user, 99, {"full_name": "B"}, 1, NOW)


async def test_of_two_administrators_at_once_one_is_told(database: Database, staff: Group):
    user, ends = await a_user(database, staff), []

    async def change(weight: int) -> None:
        try:
            await database.transact(change_user, user.id, {"weight": weight}, 1, NOW)
        except Changed as exc:
            ends.append(exc.current_version)
        else:
            ends.append("changed")

    async with trio.open_nursery() as both:
        both.start_soon(change, 2)
        both.start_soon(change, 3)
    assert sorted(ends, key=str) == [2, "changed"]


async def test_a_user_moves_only_to_a_group_that_is_there(database: Database, staff: Group):
    user = await a_user(database, staff)
    with pytest.raises(Invalid, match="group_id"):
        await database.transact(change_user, user.id, {"group_id": 99}, None, NOW)
    with pytest.raises(Invalid, match="uuid cannot be set"):
        await database.transact(change_user, user.id, {"uuid": "x"}, None, NOW)


async def test_the_last_administrator_stays(database: Database, staff: Group, admins: Group):
    root = await a_user(database, admins, "root")
    for changes in ({"group_id": staff.id}, {"is_active": False}):
        with pytest.raises(NotAllowed):
            await database.transact(change_user, root.id, changes, None, NOW)
    with pytest.raises(NotAllowed):
        await database.transact(delete_user, root.id, None, NOW)
    found = await database.read(find_user, root.id)
    assert found == root
    await a_user(database, admins, "toor")
    assert (await database.transact(delete_user, root.id, None, NOW))[1] is True


async def test_two_administrators_cannot_remove_each_other(database: Database, admins: Group):
    """Each alone would be allowed. On PostgreSQL the two transactions really overlap."""
    users, ends = [await a_user(database, admins, name) for name in ("ann", "bob")], []

    async def deactivate(user_id: int) -> None:
        try:
            await database.transact(change_user, user_id, {"is_active": False}, None, NOW)
        except NotAllowed:
            ends.append("refused")
        else:
            ends.append("done")

    async with trio.open_nursery() as nursery:
        for user in users:
            nursery.start_soon(deactivate, user.id)
    assert sorted(ends) == ["done", "refused"]


async def test_who_leaves_no_trace_is_removed(database: Database, staff: Group):
    user = await a_user(database, staff)
    await database.transact(
        create_session, NewSession(id="s", user_id=user.id, kind="cookie", expires_utc=NOW + 9), NOW
    )
    await database.transact(link_identity, NewIdentity(user_id=user.id, issuer="i", subject="s"), NOW)
    assert await database.transact(delete_user, user.id, 1, NOW) == (user, True)
    assert await database.read(find_user, user.id) is None
    assert await database.read(find_user_by_identity, "i", "s") is None
    await a_user(database, staff)  # the name is free


async def test_who_had_a_key_is_deactivated_and_signed_out(database: Database, staff: Group):
    user = await a_user(database, staff)
    key = await a_key(database, user)
    await database.transact(
        create_session, NewSession(id="s", user_id=user.id, kind="cookie", expires_utc=NOW + 9), NOW
    )
    await database.transact(link_identity, NewIdentity(user_id=user.id, issuer="i", subject="s"), NOW)
    assert (await database.transact(delete_user, user.id, 1, NOW + 1))[1] is False
    found, revoked = await database.read(find_user, user.id), await database.read(find_key, key.id)
    assert found is not None
    assert revoked is not None
    assert (found.is_active, revoked.revoked_utc) == (False, NOW + 1)
    assert await database.read(find_session, "s", NOW) is None
    assert len(await database.read(list_identities, user.id)) == 1
    with pytest.raises(Taken):
        await a_user(database, staff)


async def test_who_is_in_the_records_is_deactivated(database: Database, staff: Group):
    user = await a_user(database, staff)

    async def record(connection):
        await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(a_record(user="ann"), 0.0), strict=True))])

    await database.transact(record)
    assert (await database.transact(delete_user, user.id, None, NOW))[1] is False


async def test_signing_in_is_no_change_of_the_user(database: Database, staff: Group):
    user = await a_user(database, staff)
    assert await database.transact(record_failed_login, user.id) == 1
    assert await database.transact(record_failed_login, user.id, NOW + 60) == 2
    assert await database.transact(record_failed_login, 99) == 0
    found = await database.read(find_user, user.id)
    assert found is not None
    assert (found.failed_logins, found.locked_until_utc, found.version) == (2, NOW + 60, 1)
    await database.transact(record_login, user.id, NOW + 70)
    found = await database.read(find_user, user.id)
    assert found is not None
    assert (found.failed_logins, found.locked_until_utc, found.last_login_utc) == (0, None, NOW + 70)
    await database.transact(record_failed_login, user.id, NOW + 60)
    await database.transact(unlock, user.id)
    found = await database.read(find_user, user.id)
    assert found is not None
    assert (found.failed_logins, found.locked_until_utc) == (0, None)


async def test_lists_are_narrowed_and_counted(database: Database, staff: Group, admins: Group):
    await a_user(database, staff, "Ärger", full_name="Zoe 100%", email="zoe@example.org")
    await a_user(database, admins, "bob", is_active=False)
    await a_user(database, admins, "eve_1")

    async def names(**wanted) -> list[str]:
        found = [user.name for user in await everything(database, list_users, UserFilter(**wanted))]
        assert await database.read(count_users, UserFilter(**wanted)) == len(found)
        return found

    assert await names() == ["Ärger", "bob", "eve_1"]
    assert await names(group_id=admins.id) == ["bob", "eve_1"]
    assert await names(is_active=False) == ["bob"]
    assert await names(search="ärg") == ["Ärger"]
    assert await names(search="0%") == ["Ärger"]
    assert await names(search="E_") == ["eve_1"]
    assert await names(search="ZOE@") == ["Ärger"]
    assert await names(search="'; DROP TABLE users; --") == []
    with pytest.raises(Invalid, match="search"):
        await names(search="x" * 201)
    page = await database.read(list_users, UserFilter(), None, 1, 1)
    assert [user.name for user in page.rows] == ["bob"]


async def test_paging_under_inserts_misses_and_repeats_nobody(database: Database, staff: Group):
    before = {(await a_user(database, staff, f"u{number}")).id for number in range(7)}
    seen, behind, more = [], None, iter(range(100))
    while True:
        page = await database.read(list_users, UserFilter(), behind, 2)
        seen += [user.id for user in page.rows]
        behind = page.following
        if behind is None or len(seen) > 20:
            break
        await a_user(database, staff, f"v{next(more)}")
        first = await database.read(find_user, min(before))
        assert first is not None
        await database.transact(change_user, first.id, {"full_name": f"x{len(seen)}"}, None, NOW)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


async def test_a_user_shows_the_roles_of_its_group(database: Database, staff: Group):
    user = await a_user(database, staff)
    await database.transact(change_group, staff.id, {"is_auditor": True, "is_admin": True, "name": "Staff"}, None, NOW)
    found = await database.read(find_user, user.id)
    assert found is not None
    assert (found.group, found.is_admin, found.is_auditor) == ("Staff", True, True)


async def test_the_hash_is_changed_through_changes_and_only_shown_as_a_fact(database: Database, staff: Group):
    user = await a_user(database, staff)
    assert user.has_password is False
    changed = await database.transact(change_user, user.id, {"password_hash": "$argon2id$y"}, None, NOW)
    assert changed.has_password

    async def stored(connection):
        return (await connection.execute(select(schema_people.users.c.password_hash))).scalar_one()

    assert await database.read(stored) == "$argon2id$y"
