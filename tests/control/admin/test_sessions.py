"""`/users/{user}/sessions`."""

from mrproxy.storage.people.sessions import create_session
from mrproxy.storage.people.values import NewSession
from tests.control.admin.conftest import Desk
from tests.control.api.conftest import NOW


async def add(desk: Desk, user_id: int, name: str) -> None:
    new = NewSession(id=name, user_id=user_id, kind="cookie", expires_utc=NOW + 60, address="10.0.0.1", user_agent="x")
    await desk.house.plane.store.transact(create_session, new, NOW)


async def test_sessions_are_listed_and_ended(desk: Desk) -> None:
    ada, bob = await desk.add_user("ada"), await desk.add_user("bob")
    for name in ("one", "two", "three"):
        await add(desk, ada.id, name)
    await add(desk, bob.id, "his")
    listed = (await desk.shown("/users/ada/sessions"))["items"]
    assert {each["id"] for each in listed} == {"one", "two", "three"}
    assert (listed[0]["address"], listed[0]["is_current"]) == ("10.0.0.1", False)
    assert await desk.status("DELETE", "/users/ada/sessions/one") == 204
    assert await desk.status("DELETE", "/users/ada/sessions/one") == 404
    assert await desk.status("DELETE", "/users/ada/sessions/his") == 404
    assert await (await desk.ask("DELETE", "/users/ada/sessions")).get_json() == {"ended": 2}
    assert await desk.names("/users/bob/sessions", "id") == ["his"]
    assert [each.action for each in await desk.entries()] == ["session.end", "session.end_all"]


async def test_a_new_password_ends_the_sessions(desk: Desk) -> None:
    ada = await desk.add_user("ada")
    await add(desk, ada.id, "one")
    await desk.ask("PATCH", "/users/ada", {"password": "correct horse battery"})
    assert await desk.names("/users/ada/sessions", "id") == []
