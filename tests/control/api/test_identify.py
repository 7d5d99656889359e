"""Who asks, by the snapshot alone."""

import os

import pytest
from quart import Request
from werkzeug.datastructures import Headers

from mrproxy.control.api.actor import ActorKind
from mrproxy.control.api.identify import SnapshotKeys, credential_of, is_within
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Role
from mrproxy.identity.digest import digest_key
from mrproxy.link.snapshot import KeySpec, Snapshot, UserSpec, write

SECRET = b"s" * 32
NOW = 1000.0


def asked(**headers: str) -> Request:
    values = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return Request("GET", "http", "/", b"", values, "", "1.1", {"type": "http"}, send_push_promise=None)  # type: ignore[arg-type]


def key_of(key: str, **values: object) -> KeySpec:
    digest = digest_key(SECRET, key.encode()).hex()
    return KeySpec(digest[:12], key, digest, **values)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "snapshot.json"
    put(
        path,
        key_of("mr_ada", user="ada", scopes=("admin",)),
        key_of("mr_old", user="ada", expires_utc=NOW),
        key_of("mr_campus", user="bob", addresses=("10.0.0.0/8", "2001:db8::/32")),
        key_of("mr_service", group="auditor", scopes=("read",)),
    )
    return path


def put(path, *keys):
    users = (UserSpec("ada", "admin"), UserSpec("bob", "staff"))
    write(path, Snapshot(generation=1, created_utc=0.0, users=users, keys=keys))


@pytest.fixture
def keys(path):
    return SnapshotKeys(path, SECRET, lambda: NOW)


async def test_the_owner_of_the_directory_needs_no_key(keys):
    actor = await keys.identify(asked(X_Request_Id="r-1"))
    assert (actor.kind, actor.name, actor.request_id) == (ActorKind.LOCAL, "local", "r-1")


async def test_whoever_came_through_the_front_door_is_not_the_owner(keys):
    actor = await keys.identify(asked(X_Forwarded_For="127.0.0.1"))
    assert (actor.kind, actor.address) == (ActorKind.ANONYMOUS, "127.0.0.1")


async def test_an_empty_address_is_not_the_owner_either(keys):
    assert (await keys.identify(asked(X_Forwarded_For=""))).kind is ActorKind.ANONYMOUS


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer mr_ada"}, {"Authorization": "bearer  mr_ada "}, {"X_API_Key": "mr_ada"}]
)
async def test_a_key_is_its_users(keys, headers):
    actor = await keys.identify(asked(X_Forwarded_For="10.1.2.3", **headers))
    assert (actor.kind, actor.name, actor.scopes) == (ActorKind.KEY, "ada", ("admin",))
    assert actor.roles == {Role.ADMIN, Role.MEMBER}
    assert actor.user_id is None


async def test_a_service_key_is_of_its_group(keys):
    actor = await keys.identify(asked(X_Forwarded_For="10.1.2.3", X_API_Key="mr_service"))
    assert (actor.name, actor.roles) == (actor.key_id, {Role.AUDITOR, Role.MEMBER})


@pytest.mark.parametrize("key", ["mr_unknown", "mr_old", "ä", "\udcff"])
async def test_a_key_that_is_none_is_refused(keys, key):
    with pytest.raises(Problem) as raised:
        await keys.identify(asked(X_Forwarded_For="10.1.2.3", X_API_Key=key))
    assert raised.value.status == 401


@pytest.mark.parametrize(("address", "status"), [("10.9.9.9", 0), ("2001:db8::1", 0), ("192.0.2.1", 403), ("", 403)])
async def test_a_key_may_be_bound_to_networks(keys, address, status):
    try:
        found = (await keys.identify(asked(X_Forwarded_For=address, X_API_Key="mr_campus"))).name
    except Problem as problem:
        found = problem.status
    assert found == (status or "bob")


async def test_a_new_snapshot_is_looked_at(keys, path):
    await keys.identify(asked(X_Forwarded_For="10.1.2.3", X_API_Key="mr_ada"))
    put(path, key_of("mr_new", user="bob"))
    os.utime(path, ns=(1, 1))
    assert (await keys.identify(asked(X_Forwarded_For="10.1.2.3", X_API_Key="mr_new"))).name == "bob"
    with pytest.raises(Problem):
        await keys.identify(asked(X_Forwarded_For="10.1.2.3", X_API_Key="mr_ada"))


async def test_without_a_snapshot_no_key_is_called_wrong(tmp_path):
    keys = SnapshotKeys(tmp_path / "none.json", SECRET, lambda: NOW)
    with pytest.raises(Problem) as raised:
        await keys.identify(asked(X_Forwarded_For="10.1.2.3", X_API_Key="mr_ada"))
    assert raised.value.status == 503


def test_the_authorization_header_comes_first():
    assert credential_of(asked(Authorization="Bearer a", X_API_Key="b")) == "a"
    assert credential_of(asked(Authorization="Basic a", X_API_Key="b")) == "b"


def test_networks_may_have_host_bits():
    assert is_within("10.0.0.7", ("10.0.0.1/24",))


def test_a_mapped_address_is_the_one_it_maps_and_what_nobody_can_read_allows_nobody():
    assert is_within("::ffff:10.0.0.7", ("10.0.0.0/24",))
    assert not is_within("10.0.0.7", ("home", "10.0.0.0/33"))
    assert not is_within("home", ("0.0.0.0/0",))
