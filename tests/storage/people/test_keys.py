"""Keys: what a member may have, how long, and what becomes of a key that is rotated."""

from itertools import chain

import pytest
from sqlalchemy import insert

from mrproxy.identity.digest import digest_key, generate_key
from mrproxy.link.snapshot import Limits
from mrproxy.storage.database import Database
from mrproxy.storage.ingest import COLUMNS, row_of
from mrproxy.storage.people.errors import Changed, Invalid, NotAllowed, NotFound, Taken
from mrproxy.storage.people.groups import change_group, create_group
from mrproxy.storage.people.keys import (
    Replacement,
    change_key,
    count_keys,
    delete_key,
    find_key,
    find_key_by_key_id,
    find_key_credentials,
    list_keys,
    revoke_key,
    rotate_key,
    touch_last_used,
)
from mrproxy.storage.people.users import change_user
from mrproxy.storage.people.values import Group, KeyFilter, NewGroup, User, status_of_key
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record
from tests.storage.people.examples import DAY, NOW, a_digest, a_key, a_user, everything


@pytest.fixture
async def ann(database: Database, staff: Group) -> User:
    return await a_user(database, staff)


async def test_a_key_is_what_was_asked_for_and_has_no_digest(database: Database, staff: Group, ann: User):
    key = generate_key()
    digest = digest_key(b"s" * 32, key.encode()).hex()
    made = await a_key(
        database,
        ann,
        digest=digest,
        hash="$argon2id$k",
        prefix=key[:10],
        scopes=("inference", "admin"),
        models=("llama",),
        addresses=("192.0.2.0/24", "::1"),
        expires_utc=NOW + 5,
        limits=Limits(1, 2, 3, 4, "monthly"),
        created_by="root",
    )
    assert (made.key_id, made.prefix, made.created_by) == (digest[:12], key[:10], "root")
    assert (made.user, made.user_uuid, made.group_id, made.group) == ("ann", ann.uuid, staff.id, "staff")
    assert (made.scopes, made.models) == (("inference", "admin"), ("llama",))
    assert made.addresses == ("192.0.2.0/24", "::1/128")
    assert (made.expires_utc, made.limits) == (NOW + 5, Limits(1, 2, 3, 4, "monthly"))
    assert digest not in repr(made)
    assert await database.read(find_key, made.id) == made
    assert await database.read(find_key_by_key_id, made.key_id) == made
    credentials = await database.read(find_key_credentials, digest)
    assert credentials is not None
    assert (credentials.key, credentials.hash, credentials.user, credentials.is_admin) == (
        made,
        "$argon2id$k",
        ann,
        False,
    )
    assert await database.read(find_key_credentials, "no\0ne") is None


async def test_a_service_key_has_a_group_and_its_roles(database: Database):
    admins = await database.transact(create_group, NewGroup(name="admin", is_admin=True, max_keys=0), NOW)
    digest = a_digest()
    made = await a_key(database, group_id=admins.id, digest=digest)
    assert (made.user, made.user_id, made.group) == (None, None, "admin")
    credentials = await database.read(find_key_credentials, digest)
    assert credentials is not None
    assert (credentials.is_admin, credentials.user) == (True, None)


async def test_a_key_has_one_owner_who_is_there(database: Database, staff: Group, ann: User):
    with pytest.raises(Invalid, match="only one"):
        await a_key(database, ann, group_id=staff.id)
    with pytest.raises(Invalid, match="only one"):
        await a_key(database)
    with pytest.raises(NotFound):
        await a_key(database, user_id=99)
    with pytest.raises(NotFound):
        await a_key(database, group_id=99)
    await database.transact(change_user, ann.id, {"is_active": False}, None, NOW)
    with pytest.raises(NotAllowed, match="not active"):
        await a_key(database, ann)


@pytest.mark.parametrize(
    "wanted",
    [
        {"digest": "x" * 32},
        {"digest": "ab"},
        {"name": "a\nb"},
        {"addresses": ("192.0.2.1/24",)},
        {"addresses": ("example.org",)},
        {"scopes": ()},
        {"scopes": ("a b",)},
        {"expires_utc": float("nan")},
        {"expires_utc": 1e300},
        {"models": ("",)},
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused(database: Database, ann: User, wanted):
    with pytest.raises(Invalid):
        await a_key(database, ann, **wanted)


async def test_the_same_key_twice_is_refused(database: Database, ann: User):
    digest = a_digest()
    await a_key(database, ann, digest=digest)
    with pytest.raises(Taken):
        await a_key(database, ann, digest=digest)


async def test_a_member_has_only_so_many_keys_at_a_time(database: Database, staff: Group, ann: User):
    await database.transact(change_group, staff.id, {"max_keys": 2}, None, NOW)
    first = await a_key(database, ann, is_by_member=True)
    await a_key(database, ann, is_by_member=True, expires_utc=NOW + 1)
    with pytest.raises(NotAllowed, match="2 keys"):
        await a_key(database, ann, is_by_member=True)
    await a_key(database, ann)  # an administrator gives as many as he likes
    await database.transact(revoke_key, first.id, None, NOW)
    with pytest.raises(NotAllowed):
        await a_key(database, ann, is_by_member=True)
    await a_key(database, ann, is_by_member=True, now=NOW + 2)


async def test_a_members_key_lives_no_longer_than_its_group_allows(database: Database, staff: Group, ann: User):
    await database.transact(change_group, staff.id, {"key_days": 10}, None, NOW)
    expiries = [
        (await a_key(database, ann, is_by_member=is_by_member, expires_utc=expires)).expires_utc
        for is_by_member in (True, False)
        for expires in (None, NOW + DAY, NOW + 99 * DAY)
    ]
    assert expiries == [NOW + 10 * DAY, NOW + DAY, NOW + 10 * DAY, None, NOW + DAY, NOW + 99 * DAY]


async def test_a_rotated_key_goes_on_for_a_while_beside_the_new_one(database: Database, ann: User):
    old = await a_key(database, ann, models=("llama",), limits=Limits(7), created_by="ann", hash="h")
    digest = a_digest()
    wanted = Replacement(digest=digest, prefix="mr_new", hash="i")
    made = await database.transact(rotate_key, old.id, wanted, 60.0, NOW + 1)
    assert (made.name, made.user, made.models, made.limits) == ("laptop", "ann", ("llama",), Limits(7))
    assert (made.key_id, made.prefix, made.expires_utc, made.created_utc) == (digest[:12], "mr_new", None, NOW + 1)
    ending = await database.read(find_key, old.id)
    assert ending is not None
    assert (ending.expires_utc, ending.replaced_by, ending.version) == (NOW + 61, made.key_id, 2)
    with pytest.raises(NotAllowed, match="rotated already"):
        await database.transact(rotate_key, old.id, Replacement(digest=a_digest(), prefix="p"), 60.0, NOW + 2)


async def test_rotation_gives_the_same_lifetime_and_never_a_longer_overlap(database: Database, ann: User):
    old = await a_key(database, ann, expires_utc=NOW + 100)
    made = await database.transact(rotate_key, old.id, Replacement(digest=a_digest(), prefix="p"), 60.0, NOW + 90)
    ending = await database.read(find_key, old.id)
    assert ending is not None
    assert (made.expires_utc, ending.expires_utc) == (NOW + 190, NOW + 100)


async def test_rotation_is_no_way_around_the_groups_rules(database: Database, staff: Group, ann: User):
    await database.transact(change_group, staff.id, {"max_keys": 1, "key_days": 1}, None, NOW)
    old = await a_key(database, ann, is_by_member=True)
    wanted = Replacement(digest=a_digest(), prefix="p", is_by_member=True, expires_utc=NOW + 9 * DAY)
    made = await database.transact(rotate_key, old.id, wanted, 60.0, NOW)
    assert made.expires_utc == NOW + DAY
    with pytest.raises(NotAllowed):
        await a_key(database, ann, is_by_member=True)


async def test_a_key_that_ended_is_not_rotated(database: Database, ann: User):
    revoked = await a_key(database, ann)
    await database.transact(revoke_key, revoked.id, 1, NOW)
    expired = await a_key(database, ann, expires_utc=NOW)
    for key in (revoked, expired):
        with pytest.raises(NotAllowed, match="revoked or expired"):
            await database.transact(rotate_key, key.id, Replacement(digest=a_digest(), prefix="p"), 60.0, NOW)
    with pytest.raises(NotFound):
        await database.transact(rotate_key, 99, Replacement(digest=a_digest(), prefix="p"), 60.0, NOW)
    with pytest.raises(Invalid, match="overlap_seconds"):
        await database.transact(rotate_key, expired.id, Replacement(digest=a_digest(), prefix="p"), -1.0, NOW)


async def test_revoking_is_for_good_and_twice_is_once(database: Database, ann: User):
    key = await a_key(database, ann)
    assert (await database.transact(revoke_key, key.id, 1, NOW + 1)).revoked_utc == NOW + 1
    again = await database.transact(revoke_key, key.id, None, NOW + 2)
    assert (again.revoked_utc, again.version) == (NOW + 1, 2)
    with pytest.raises(NotFound):
        await database.transact(revoke_key, 99, None, NOW)


async def test_changes_name_a_version(database: Database, ann: User):
    key = await a_key(database, ann)
    changed = await database.transact(change_key, key.id, {"name": "new", "token_budget": 5, "models": ["a"]}, 1, NOW)
    assert (changed.name, changed.limits.token_budget, changed.models, changed.version) == ("new", 5, ("a",), 2)
    with pytest.raises(Changed):
        await database.transact(change_key, key.id, {"name": "other"}, 1, NOW)
    for field in ("digest", "user_id", "revoked_utc", "hash"):
        with pytest.raises(Invalid, match="cannot be set"):
            await database.transact(change_key, key.id, {field: "x"}, None, NOW)


async def test_a_key_that_was_used_is_not_deleted(database: Database, ann: User):
    used, unused = await a_key(database, ann), await a_key(database, ann)

    async def record(connection):
        row = row_of(a_record(key_id=used.key_id), 0.0)
        await connection.execute(insert(records), [dict(zip(COLUMNS, row, strict=True))])

    await database.transact(record)
    with pytest.raises(NotAllowed, match="has been used"):
        await database.transact(delete_key, used.id, None, NOW)
    await database.transact(delete_key, unused.id, 1, NOW)
    assert await database.read(find_key, unused.id) is None


async def test_use_is_noted_in_batches_and_never_goes_back(database: Database, ann: User):
    keys = [await a_key(database, ann) for _ in range(3)]
    await database.transact(touch_last_used, {keys[0].key_id: 5.0, keys[1].key_id: 6.0, "unknown": 7.0})
    await database.transact(touch_last_used, {keys[0].key_id: 4.0, keys[1].key_id: 8.0})
    await database.transact(touch_last_used, {})
    found = await everything(database, list_keys, KeyFilter())
    assert [(key.last_used_utc, key.version) for key in found] == [(5.0, 1), (8.0, 1), (None, 1)]


async def test_lists_are_narrowed_and_counted(database: Database, staff: Group, ann: User):
    bob = await a_user(database, staff, "bob")
    other = await database.transact(create_group, NewGroup(name="other"), NOW)
    active = await a_key(database, ann, name="first")
    revoked = await a_key(database, bob, name="second")
    await database.transact(revoke_key, revoked.id, None, NOW)
    expired = await a_key(database, bob, name="third", expires_utc=NOW + 1)
    service = await a_key(database, group_id=other.id, name="robot_1", prefix="mr_robot")

    async def ids(**wanted) -> list[int]:
        wanted = KeyFilter(now_utc=NOW + 2, **wanted)
        found = await everything(database, list_keys, wanted)
        assert await database.read(count_keys, wanted) == len(found)
        return [key.id for key in found]

    every = [key.id for key in (active, revoked, expired, service)]
    assert await ids() == every
    assert await ids(user_id=bob.id) == [revoked.id, expired.id]
    assert await ids(group_id=staff.id) == every[:3]
    assert await ids(is_service=True) == [service.id]
    assert await ids(search="BOB") == [revoked.id, expired.id]
    assert await ids(search="robot_") == [service.id]
    by_status = {status: await ids(status=status) for status in ("active", "expired", "revoked")}
    assert by_status == {"active": [active.id, service.id], "expired": [expired.id], "revoked": [revoked.id]}
    for status, found in by_status.items():
        for id_ in found:
            key = await database.read(find_key, id_)
            assert key is not None
            assert status_of_key(key, NOW + 2) == status
    assert sorted(chain(*by_status.values())) == every
