"""What workers get of the database, and what they do not."""

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link.snapshot import BackendSpec, GroupSpec, Limits, Managed, ModelSpec, UserSpec, encode
from mrproxy.storage.backends import NewBackend, change_backend, create_backend
from mrproxy.storage.database import Database
from mrproxy.storage.managed import Compiled, Slots, both, compile_managed
from mrproxy.storage.models import NewModel, create_model
from mrproxy.storage.people.groups import create_group
from mrproxy.storage.people.keys import revoke_key, touch_last_used
from mrproxy.storage.people.users import change_user
from mrproxy.storage.people.values import NewGroup
from mrproxy.storage.secrets import BACKEND_KEYS, SecretBox
from tests.storage.people.examples import NOW, a_digest, a_key, a_user

BOX = SecretBox(bytes(32), BACKEND_KEYS)


async def compiled(database: Database, now: float = NOW, box: SecretBox = BOX) -> Compiled:
    return await database.read(compile_managed, box, Slots(usual=64, ollama=4), now)


async def managed(database: Database, now: float = NOW) -> Managed:
    return (await compiled(database, now)).managed


async def test_an_empty_database_manages_nothing(database: Database):
    assert await managed(database) == Managed(generation=0)


async def test_groups_and_users_come_with_their_own_limits(database: Database):
    wanted = NewGroup(
        name="staff", weight=3, limits=Limits(5), shared=Limits(token_budget=9), captures_bodies=True, models=("a",)
    )
    group = await database.transact(create_group, wanted, NOW)
    await a_user(database, group, weight=7, limits=Limits(token_budget=3, budget_period="monthly"))
    await a_user(database, group, "bob")
    found = await managed(database)
    assert found.groups == (GroupSpec("staff", 3, Limits(5), Limits(token_budget=9), True),)
    assert found.users == (
        UserSpec("ann", "staff", 7, Limits(token_budget=3, budget_period="monthly")),
        UserSpec("bob", "staff"),
    )


async def test_a_key_is_in_it_as_long_as_it_works(database: Database):
    group = await database.transact(create_group, NewGroup(name="staff"), NOW)
    ann, gone = await a_user(database, group), await a_user(database, group, "gone")
    digest = a_digest()
    good = await a_key(
        database,
        ann,
        digest=digest,
        name="good",
        scopes=("inference", "admin"),
        addresses=("192.0.2.0/24",),
        expires_utc=NOW + 10,
        limits=Limits(2),
    )
    revoked = await a_key(database, ann)
    await a_key(database, ann, expires_utc=NOW)
    await a_key(database, gone)
    await database.transact(revoke_key, revoked.id, None, NOW)
    await database.transact(change_user, gone.id, {"is_active": False}, None, NOW)
    found = await managed(database)
    assert [user.name for user in found.users] == ["ann"]
    (key,) = found.keys
    assert (key.id, key.name, key.digest, key.user, key.group) == (good.key_id, "good", digest, "ann", "staff")
    assert (key.scopes, key.addresses, key.expires_utc) == (("inference", "admin"), ("192.0.2.0/24",), NOW + 10)
    assert (key.limits, key.models) == (Limits(2), None)
    assert (await managed(database, NOW + 10)).keys == ()


async def test_a_service_key_is_a_flow_of_its_group(database: Database):
    group = await database.transact(create_group, NewGroup(name="robots", models=("a", "b")), NOW)
    await a_key(database, group_id=group.id, models=("b", "c"))
    (key,) = (await managed(database)).keys
    assert (key.user, key.group, key.models) == (None, "robots", ("b",))


async def test_a_keys_models_are_what_all_three_allow(database: Database):
    group = await database.transact(create_group, NewGroup(name="staff", models=("a", "b", "c")), NOW)
    ann = await a_user(database, group, models=("d", "c", "b"))
    await a_key(database, ann, models=("b", "e"))
    await a_key(database, ann)
    await a_key(database, ann, models=())
    assert [key.models for key in (await managed(database)).keys] == [("b",), ("b", "c"), ()]


async def test_backends_come_with_their_keys_and_without_the_disabled(database: Database):
    first = NewBackend(
        name="one",
        kind="ollama",
        url="http://one",
        api_key="sk-1",
        models=("a",),
        aliases={"a": "b"},
        num_ctx_of={"a": 9},
    )
    await database.transact(create_backend, first, BOX, NOW)
    second = NewBackend(name="two", kind="vllm", url="http://two", max_concurrent=3)
    made = await database.transact(create_backend, second, BOX, NOW)
    found = await managed(database)
    assert found.backends == (
        BackendSpec("one", "ollama", "http://one", 4, "sk-1", ("a",), {"a": "b"}, None, {"a": 9}),
        BackendSpec("two", "vllm", "http://two", 3),
    )
    await database.transact(change_backend, made.id, {"is_enabled": False}, None, BOX, NOW)
    assert [each.name for each in (await managed(database)).backends] == ["one"]


async def test_a_backend_whose_key_does_not_open_is_named_and_left_out(database: Database):
    wanted = NewBackend(name="one", kind="vllm", url="http://one", api_key="sk-1")
    await database.transact(create_backend, wanted, BOX, NOW)
    found = await compiled(database, box=SecretBox(b"x" * 32, BACKEND_KEYS))
    assert (found.managed.backends, found.unreadable) == ((), ("one",))


async def test_models_come_with_their_weights(database: Database):
    for name, weight in (("b", 2.0), ("a", 0.5)):
        await database.transact(create_model, NewModel(name=name, budget_weight=weight), NOW)
    assert (await managed(database)).models == (ModelSpec("a", 0.5), ModelSpec("b", 2.0))


async def test_what_was_only_used_compiles_to_the_same(database: Database):
    group = await database.transact(create_group, NewGroup(name="staff"), NOW)
    ann = await a_user(database, group)
    keys = [await a_key(database, ann) for _ in range(3)]
    before = encode(await managed(database))
    await database.transact(touch_last_used, {keys[0].key_id: NOW})
    assert encode(await managed(database)) == before


NAMES = st.none() | st.lists(st.sampled_from("abcd"), unique=True).map(tuple)


@given(NAMES, NAMES)
def test_both_allow_what_each_allows(one, other):
    for name in "abcd":
        allowed = [names is None or name in names for names in (one, other)]
        result = both(one, other)
        assert (result is None or name in result) == all(allowed)
