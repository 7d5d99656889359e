"""`/users` as llmlb's programs ask."""

import pytest

from mrproxy.storage.people.users import find_user_by_name
from tests.control.llmlb.conftest import Desk


async def test_a_user_without_a_password_gets_one_to_be_changed(desk: Desk) -> None:
    made = await desk.made("/users", {"username": "bob", "role": "viewer"})
    password = made.pop("generated_password")
    assert len(password) == 16
    user = made.pop("user")
    assert user == made
    assert (made["username"], made["role"], made["last_login"]) == ("bob", "viewer", None)
    (listed,) = [each for each in (await desk.shown("/users"))["users"] if each["username"] == "bob"]
    assert listed == user
    assert password not in str(await desk.shown("/users"))


async def test_a_user_with_a_password_is_shown_as_older_versions_do(desk: Desk) -> None:
    made = await desk.made("/users", {"username": "eve", "password": "a long pass phrase", "role": "admin"})
    assert "generated_password" not in made
    assert (made["role"], made["id"]) == ("admin", made["user"]["id"])


async def test_what_is_not_named_stays(desk: Desk) -> None:
    made = await desk.made("/users", {"username": "bob", "email": "bob@example.org"})
    one = f"/users/{made['id']}"
    assert (await desk.done("PUT", one, {"role": "admin", "username": None}))["role"] == "admin"
    changed = await desk.done("PUT", one, {"username": "robert", "email": "", "password": "another long one"})
    assert (changed["username"], changed["role"], changed["email"]) == ("robert", "admin", None)
    assert await desk.done("PUT", one, {}) == changed


async def test_a_viewer_that_stays_one_keeps_its_group(desk: Desk) -> None:
    user = await desk.add_user("ada", "faculty")
    await desk.done("PUT", f"/users/{user.uuid}", {"role": "viewer"})
    entries = str(await desk.shown("/users"))
    assert "faculty" not in entries
    found = await desk.house.plane.store.read(lambda connection: _group(connection, "ada"))  # type: ignore[union-attr]
    assert found == "faculty"


async def _group(connection, name: str) -> str:
    user = await find_user_by_name(connection, name)
    assert user is not None
    return user.group


async def test_the_last_administrator_stays(desk: Desk) -> None:
    root = await desk.sign_in("root")
    expected = (400, "Cannot delete the last administrator")
    assert await desk.refused("DELETE", f"/users/{root.uuid}") == expected
    assert (await desk.refused("PUT", f"/users/{root.uuid}", {"role": "viewer"}))[0] == 400
    other = await desk.made("/users", {"username": "two", "role": "admin"})
    await desk.done("DELETE", f"/users/{other['id']}")
    assert await desk.refused("DELETE", f"/users/{root.uuid}") == expected


async def test_who_was_deleted_is_nobody(desk: Desk) -> None:
    made = await desk.made("/users", {"username": "bob"})
    await desk.sign_in("root")
    await desk.done("DELETE", f"/users/{made['id']}")
    assert await desk.status("DELETE", f"/users/{made['id']}") == 404
    assert "bob" not in str(await desk.shown("/users"))


async def test_who_left_traces_is_nobody_here_either(desk: Desk) -> None:
    bob = await desk.sign_in("bob")
    await desk.made("/api-keys", {"name": "laptop"})
    await desk.sign_in("root")
    await desk.done("DELETE", f"/users/{bob.uuid}")
    assert await desk.refused("DELETE", f"/users/{bob.uuid}") == (404, "User not found")
    assert "bob" not in str(await desk.shown("/users"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"username": "bob", "password": "short"}, 400),
        ({"username": ""}, 400),
        ({"username": "taken"}, 409),
        ({"username": "configured"}, 409),
        ({"username": "bob", "role": "owner"}, 422),
        ({"role": "viewer"}, 422),
        ({"username": 5}, 422),
        ({"username": "bob", "email": "none"}, 400),
    ],
)
async def test_who_cannot_be_made(desk: Desk, body: object, status: int) -> None:
    await desk.made("/users", {"username": "taken"})
    assert (await desk.refused("POST", "/users", body))[0] == status


async def test_the_configured_are_shown_and_stay(desk: Desk) -> None:
    (listed,) = [each for each in (await desk.shown("/users"))["users"] if each["source"] == "configuration"]
    assert (listed["username"], listed["role"]) == ("configured", "viewer")
    assert await desk.status("DELETE", f"/users/{listed['id']}") == 409


async def test_the_configured_are_shown_without_a_database(bare_desk: Desk) -> None:
    assert len((await bare_desk.shown("/users"))["users"]) == 1
    assert (await bare_desk.refused("POST", "/users", {"username": "bob"}))[0] == 503
