"""`/users`."""

import msgspec

from tests.control.admin.conftest import Desk


async def test_a_user_is_made_shown_changed_and_deleted(desk: Desk) -> None:
    made = await desk.made("/users", {"name": "Ada", "group": "staff", "limits": {"token_budget": 1000}})
    assert (made["name"], made["group"], made["source"], made["version"]) == ("Ada", "staff", "managed", 1)
    assert made["limits"]["token_budget"] == 1000
    assert made["created_utc"] == "2025-10-09T08:53:20Z"
    for name in (made["id"], "ada"):
        assert (await desk.shown(f"/users/{name}"))["id"] == made["id"]
    changed = await desk.ask("PATCH", "/users/ada", {"limits": {"tokens_per_minute": 5}, "email": "ada@example.org"})
    body = await changed.get_json()
    assert (body["limits"]["token_budget"], body["limits"]["tokens_per_minute"], body["version"]) == (1000, 5, 2)
    gone = await desk.ask("DELETE", "/users/ada")
    assert await gone.get_json() == {"id": made["id"], "is_gone": True}
    assert await desk.status("GET", "/users/ada") == 404
    assert desk.house.published == 3


async def test_null_takes_a_limit_away_and_what_is_not_named_stays(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada", "limits": {"token_budget": 7, "requests_per_minute": 3}, "weight": 2})
    response = await desk.ask("PATCH", "/users/ada", {"limits": {"token_budget": None}, "weight": None})
    body = await response.get_json()
    assert (body["limits"]["token_budget"], body["limits"]["requests_per_minute"], body["weight"]) == (None, 3, None)


async def test_who_has_left_traces_is_deactivated(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada"})
    await desk.made("/keys", {"name": "k", "user": "ada"})
    assert (await (await desk.ask("DELETE", "/users/ada")).get_json())["is_gone"] is False
    assert (await desk.shown("/users/ada"))["is_active"] is False


async def test_a_password_is_kept_and_never_shown(desk: Desk) -> None:
    made = await desk.made("/users", {"name": "ada", "password": "correct horse battery"})
    assert made["has_password"] is True
    assert "correct horse" not in str(made)
    assert "correct horse" not in str(await desk.entries())
    weak = await desk.ask("POST", "/users", {"name": "bob", "password": "bob"})
    assert (weak.status_code, (await weak.get_json())["errors"][0]["pointer"]) == (422, "/password")


async def test_every_change_stands_in_the_audit_log(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada"})
    await desk.ask("PATCH", "/users/ada", {"full_name": "Ada L."})
    await desk.ask("POST", "/users/ada/unlock")
    await desk.ask("DELETE", "/users/ada")
    entries = await desk.entries()
    actions = [each.action for each in entries]
    assert actions == ["user.create", "user.change", "user.unlock", "user.delete"]
    assert (entries[0].actor_kind, entries[0].actor, entries[0].request_id) == ("local", "local", "r-1")
    assert entries[1].after is not None
    assert entries[1].after["full_name"] == "Ada L."


async def test_what_was_refused_stands_nowhere(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada"})
    assert await desk.status("POST", "/users", {"name": "ADA"}) == 409
    assert await desk.status("POST", "/users", {"name": "bob", "group": "none"}) == 422
    assert await desk.status("PATCH", "/users/ada", {}) == 422
    assert await desk.status("PATCH", "/users/ada", {"nmae": "x"}) == 422
    assert len(await desk.entries()) == 1


async def test_of_two_who_change_the_same_the_second_is_told(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada"})
    seen = (await desk.ask("GET", "/users/ada")).headers["ETag"]
    assert await desk.status("PATCH", "/users/ada", {"full_name": "one"}, If_Match=seen) == 200
    assert await desk.status("PATCH", "/users/ada", {"full_name": "two"}, If_Match=seen) == 412
    assert await desk.status("DELETE", "/users/ada", If_Match=seen) == 412
    assert (await desk.shown("/users/ada"))["full_name"] == "one"


async def test_a_user_of_the_configuration_is_shown_and_changed_there(desk: Desk) -> None:
    shown = await desk.shown("/users/configured")
    assert (shown["source"], shown["weight"], shown["id"]) == ("configuration", 3, "configured")
    for method, body in (("PATCH", {"weight": 1}), ("DELETE", None)):
        response = await desk.ask(method, "/users/configured", body)
        assert (response.status_code, (await response.get_json())["type"]) == (409, "urn:mrproxy:problem:configured")
    assert await desk.status("POST", "/users", {"name": "configured"}) == 409


async def test_lists_have_both_in_pages(desk: Desk) -> None:
    for number in range(5):
        await desk.made("/users", {"name": f"user-{number}"})
    everybody = await desk.names("/users")
    assert everybody == ["configured", *(f"user-{number}" for number in range(5))]
    seen, path = [], "/users?limit=2"
    while path:
        response = await desk.ask("GET", path)
        page = await response.get_json()
        seen += [each["name"] for each in page["items"]]
        path = f"/users?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
        assert ("Link" in response.headers) == bool(path)
    assert seen == everybody


async def test_lists_are_narrowed(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada", "group": "staff"})
    await desk.made("/users", {"name": "bob", "is_active": False})
    assert await desk.names("/users?group=staff") == ["ada"]
    assert await desk.names("/users?group=none") == []
    assert await desk.names("/users?is_active=false") == ["bob"]
    assert await desk.names("/users?search=AD") == ["ada"]
    assert await desk.names("/users?source=managed") == ["ada", "bob"]
    assert await desk.names("/users?source=configuration") == ["configured"]
    assert await desk.status("GET", "/users?cursor=x") == 422
    assert await desk.status("GET", "/users?limit=0") == 422
    assert await desk.status("GET", "/users?nonsense=1") == 422


async def test_nobody_deletes_himself(desk: Desk) -> None:
    user = await desk.add_user("ada", "admin")
    await desk.add_user("eve", "admin")
    desk.house.actor = msgspec.structs.replace(desk.house.actor, user_id=user.id)
    assert await desk.status("DELETE", "/users/ada") == 409


async def test_somebody_must_stay_an_administrator(desk: Desk) -> None:
    await desk.add_user("ada", "admin")
    response = await desk.ask("PATCH", "/users/ada", {"group": "staff"})
    assert (response.status_code, (await response.get_json())["detail"]) == (
        409,
        "Nobody would be an administrator any more.",
    )


async def test_without_a_database_the_configured_ones_are_there(bare_desk: Desk) -> None:
    assert await bare_desk.names("/users") == ["configured"]
    assert (await bare_desk.shown("/users/configured"))["name"] == "configured"
    assert await bare_desk.status("GET", "/users/ada") == 404
    response = await bare_desk.ask("POST", "/users", {"name": "ada"})
    assert (response.status_code, (await response.get_json())["type"]) == (503, "urn:mrproxy:problem:no-database")
