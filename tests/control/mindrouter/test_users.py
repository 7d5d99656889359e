"""Users in MindRouter's words."""

import pytest

from mrproxy.control.mindrouter.values import configured_number
from mrproxy.control.permissions import Role
from mrproxy.storage.people.keys import get_key
from mrproxy.storage.people.users import create_user
from mrproxy.storage.people.values import NewUser

USER = {"username": "ann", "email": "ann@example.edu", "password": "correct horse battery", "role": "faculty"}


async def test_a_user_is_made_with_a_password(desk):
    staff = await desk.group()
    made = await desk.done("POST", "/users", USER | {"group_id": staff, "full_name": "Ann", "college": None})
    assert made == {
        "id": made["id"],
        "uuid": made["uuid"],
        "username": "ann",
        "email": "ann@example.edu",
        "role": "staff",
        "group_id": staff,
        "group_name": "Staff",
        "full_name": "Ann",
        "is_active": True,
    }
    assert "horse" not in str(made)


async def test_name_address_and_group_are_checked(desk):
    staff = await desk.group()
    await desk.done("POST", "/users", USER | {"group_id": staff})
    other = USER | {"group_id": staff, "username": "bob"}
    for status, body in (
        (409, USER | {"group_id": staff, "email": "x@y"}),
        (409, other),
        (409, other | {"username": "configured"}),
        (400, other | {"group_id": 99, "email": "b@y"}),
        (422, other | {"password": "short"}),
        (422, other | {"password": "1234567890", "email": "b@y"}),
        (422, {name: value for name, value in other.items() if name != "email"}),
        (422, other | {"group_id": 2**63}),
    ):
        assert (await desk.refused("POST", "/users", body))[0] == status, body


async def test_lists_are_counted_through_and_the_configured_ones_come_last(desk):
    for name in ("ann", "bob"):
        await desk.user(name)
    page = await desk.done("GET", "/users?skip=1&limit=2")
    assert (page["total"], page["skip"], page["limit"]) == (3, 1, 2)
    assert [each["username"] for each in page["users"]] == ["bob", "configured"]
    assert page["users"][1]["id"] == configured_number("configured")
    staff = await desk.group()
    assert [each["username"] for each in (await desk.done("GET", f"/users?group_id={staff}"))["users"]] == [
        "ann",
        "bob",
    ]
    assert [each["username"] for each in (await desk.done("GET", "/users?search=ANN"))["users"]] == ["ann"]
    visitors = page["users"][1]["group_id"]
    assert (await desk.done("GET", f"/users?group_id={visitors}"))["total"] == 1


async def test_a_user_that_is_configured_and_managed_is_listed_once(desk):
    group = await desk.group()
    await desk.do(create_user, NewUser(name="configured", group_id=group), 1.0)
    assert [each["username"] for each in (await desk.done("GET", "/users"))["users"]] == ["configured"]


async def test_a_profile_is_changed_and_null_empties(desk):
    number = await desk.user()
    admin = await desk.group("admin")
    patch = {"full_name": "Ann", "college": None, "group_id": admin, "is_active": False}
    assert await desk.done("PATCH", f"/users/{number}", patch) == {"status": "updated", "user_id": number}
    user = (await desk.done("GET", f"/users/{number}"))["user"]
    assert (user["full_name"], user["role"], user["is_active"]) == ("Ann", "admin", False)
    assert await desk.refused("PATCH", f"/users/{number}", {}) == (400, "No fields to update")
    assert (await desk.refused("PATCH", f"/users/{number}", {"group_id": 99}))[0] == 400
    assert (await desk.refused("PATCH", f"/users/{configured_number('configured')}", patch))[0] == 409
    assert await desk.refused("PATCH", "/users/99", patch) == (404, "User not found")


async def test_who_has_left_no_traces_is_deleted_and_others_deactivated(desk):
    number, other = await desk.user(), await desk.user("bob")
    assert await desk.done("DELETE", f"/users/{number}") == {"status": "deleted", "user_id": number}
    await desk.done("POST", f"/users/{other}/api-keys", {"name": "k"})
    assert await desk.done("DELETE", f"/users/{other}") == {"status": "deactivated", "user_id": other}


async def test_nobody_deletes_himself(desk):
    number = await desk.user()
    desk.be(Role.ADMIN, user_id=number)
    assert await desk.refused("DELETE", f"/users/{number}") == (400, "Cannot delete your own account")


async def test_a_password_is_replaced_where_there_is_one(desk):
    number = await desk.user()
    body = {"new_password": "another horse battery"}
    assert (await desk.done("POST", f"/users/{number}/reset-password", body))["status"] == "password_reset"
    elsewhere = await desk.do(create_user, NewUser(name="sso", group_id=await desk.group()), 1.0)
    assert (await desk.refused("POST", f"/users/{elsewhere.id}/reset-password", body))[0] == 400
    assert (await desk.refused("POST", f"/users/{number}/reset-password", {"new_password": "x"}))[0] == 422


@pytest.mark.parametrize(
    ("group", "given", "scopes"),
    [
        ("staff", {}, ("inference",)),
        ("admin", {}, ("inference", "admin")),
        ("auditor", {}, ("inference", "admin")),
        ("admin", {"scopes": ["inference"]}, ("inference",)),
    ],
)
async def test_a_key_is_shown_once_and_may_what_its_user_may(desk, group, given, scopes):
    number = await desk.user(group=group)
    made = await desk.done("POST", f"/users/{number}/api-keys", {"name": "k", "expires_at": "2090-01-01"} | given)
    assert made["full_key"].startswith(made["key_prefix"])
    shown = (await desk.done("GET", "/api-keys"))["api_keys"][0]
    assert (shown["id"], shown["expires_at"]) == (made["id"], "2090-01-01T00:00:00+00:00")
    assert made["full_key"] not in str(shown)
    from_ours = await desk.do(key_scopes, made["id"])
    assert from_ours == scopes


async def key_scopes(connection, number):
    return (await get_key(connection, number)).scopes


async def test_a_key_with_a_scope_or_expiry_that_cannot_be_is_refused(desk):
    number = await desk.user()
    for body in ({"name": "k", "scopes": ["x"]}, {"name": "k", "expires_at": "soon"}, {"name": ""}):
        assert (await desk.refused("POST", f"/users/{number}/api-keys", body))[0] == 422
    assert (await desk.refused("POST", "/users/99/api-keys", {"name": "k"}))[0] == 404
