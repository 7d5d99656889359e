"""`/me`: one's own, and nobody else's."""

import msgspec
import pytest

from mrproxy.control.api.actor import ActorKind, anonymous
from mrproxy.control.permissions import Role
from tests.control.admin.conftest import Desk


async def test_who_asks_is_told_who_it_is(desk: Desk) -> None:
    assert (await desk.shown("/me"))["kind"] == "local"
    user = await desk.sign_in("ada")
    me = await desk.shown("/me")
    assert (me["kind"], me["roles"], me["user"]["id"]) == ("user", ["member"], user.uuid)
    assert "users.read" not in me["permissions"]
    desk.house.actor = anonymous("10.0.0.1", "r")
    assert await desk.status("GET", "/me") == 401


async def test_one_changes_what_one_says_of_oneself_and_nothing_else(desk: Desk) -> None:
    await desk.sign_in("ada")
    changed = await (await desk.ask("PATCH", "/me", {"full_name": "Ada L."})).get_json()
    assert changed["full_name"] == "Ada L."
    for more in ({"group": "admin"}, {"weight": 100}, {"limits": {}}, {"name": "root"}):
        assert await desk.status("PATCH", "/me", more) == 422


async def test_one_makes_rotates_and_revokes_ones_own_keys(desk: Desk) -> None:
    await desk.sign_in("ada")
    made = await desk.made("/me/keys", {"name": "laptop"})
    assert made["user"] == "ada"
    new = await desk.made(f"/me/keys/{made['id']}/rotate", {})
    assert await desk.status("POST", f"/me/keys/{new['id']}/revoke") == 200
    assert [each["status"] for each in (await desk.shown("/me/keys"))["items"]] == ["expired", "revoked"]
    assert (await desk.shown(f"/me/keys/{new['id']}"))["status"] == "revoked"


async def test_somebody_elses_key_is_not_there(desk: Desk) -> None:
    await desk.add_user("bob")
    made = await desk.made("/keys", {"name": "k", "user": "bob"})
    await desk.sign_in("ada")
    for method, path in (("GET", ""), ("POST", "/revoke"), ("POST", "/rotate")):
        assert await desk.status(method, f"/me/keys/{made['id']}{path}") == 404
    assert await desk.names("/me/keys") == []


async def test_the_group_says_how_many_keys_one_may_make(desk: Desk) -> None:
    await desk.made("/groups", {"name": "few", "max_keys": 1, "key_days": 1})
    await desk.sign_in("ada", "few")
    made = await desk.made("/me/keys", {"name": "one", "expires_utc": "2030-01-01T00:00:00Z"})
    assert made["expires_utc"] == "2025-10-10T08:53:20Z"
    assert await desk.status("POST", "/me/keys", {"name": "two"}) == 409


@pytest.mark.parametrize(
    ("roles", "scopes", "wanted", "status"),
    [
        ({Role.MEMBER}, None, ["inference", "own"], 201),
        ({Role.MEMBER}, None, ["admin"], 201),  # it is a member's key all the same
        ({Role.MEMBER}, ["own"], ["own"], 201),
        ({Role.MEMBER}, ["own"], ["inference"], 403),
        ({Role.MEMBER}, ["own"], ["admin"], 403),
        ({Role.ADMIN, Role.MEMBER}, ["own"], ["admin"], 403),
        ({Role.ADMIN, Role.MEMBER}, ["admin"], ["admin", "inference"], 201),
        ({Role.ADMIN, Role.MEMBER}, ["own", "read"], ["read"], 201),
        ({Role.ADMIN, Role.MEMBER}, ["api_keys.manage"], ["users.manage"], 403),
    ],
)
async def test_a_key_makes_no_key_that_may_more(desk: Desk, roles, scopes, wanted, status) -> None:
    await desk.sign_in("ada")
    named = None if scopes is None else tuple(scopes)
    desk.house.actor = msgspec.structs.replace(
        desk.house.actor, kind=ActorKind.KEY, roles=frozenset(roles), scopes=named
    )
    assert await desk.status("POST", "/me/keys", {"name": "k", "scopes": wanted}) == status


async def test_who_is_no_user_has_nothing_of_its_own(desk: Desk) -> None:
    for path in ("/me/keys", "/me/quota-requests"):
        assert await desk.status("GET", path) == 403
    assert (await desk.shown("/me"))["user"] is None


async def test_without_a_database_one_still_learns_who_one_is(bare_desk: Desk) -> None:
    assert (await bare_desk.shown("/me"))["name"] == "local"
