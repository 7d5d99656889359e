"""`/groups`."""

from tests.control.admin.conftest import Desk


async def test_a_group_is_made_shown_changed_and_deleted(desk: Desk) -> None:
    made = await desk.made(
        "/groups", {"name": "lab/one", "weight": 4, "models": ["m1"], "shared": {"token_budget": 9}, "max_keys": 2}
    )
    assert (made["source"], made["shared"]["token_budget"], made["models"], made["version"]) == (
        "managed",
        9,
        ["m1"],
        1,
    )
    assert await desk.shown("/groups/lab%2Fone") == made
    changes = {"shared": {"token_budget": 10, "budget_period": "monthly"}, "models": None}
    changed = await (await desk.ask("PATCH", "/groups/lab%2Fone", changes)).get_json()
    assert (changed["shared"]["token_budget"], changed["shared"]["budget_period"]) == (10, "monthly")
    assert (changed["models"], changed["limits"], changed["weight"]) == (None, made["limits"], 4)
    assert await desk.status("DELETE", "/groups/lab%2Fone") == 204
    assert [each.action for each in await desk.entries()] == ["group.create", "group.change", "group.delete"]


async def test_a_group_with_members_stays(desk: Desk) -> None:
    await desk.add_user("ada", "staff")
    response = await desk.ask("DELETE", "/groups/staff")
    assert (response.status_code, (await response.get_json())["detail"]) == (409, "Group 'staff' has 1 members.")


async def test_a_group_is_changed_from_the_version_that_was_seen(desk: Desk) -> None:
    seen = (await desk.ask("GET", "/groups/staff")).headers["ETag"]
    assert seen == '"1"'
    assert await desk.status("GET", "/groups/staff", If_None_Match=seen) == 304
    assert await desk.status("PATCH", "/groups/staff", {"weight": 7}, If_Match=seen) == 200
    assert await desk.status("PATCH", "/groups/staff", {"weight": 8}, If_Match=seen) == 412


async def test_configured_and_managed_groups_stand_in_one_list(desk: Desk) -> None:
    groups = (await desk.shown("/groups"))["items"]
    assert [each["name"] for each in groups if each["source"] == "configuration"] == ["admin", "visitors"]
    overridden = [each["name"] for each in groups if each["is_overridden"]]
    assert overridden == ["admin"]
    assert await desk.names("/groups?search=VIS") == ["visitors"]


async def test_a_group_of_the_configuration_is_changed_there(desk: Desk) -> None:
    assert await desk.status("PATCH", "/groups/visitors", {"weight": 1}) == 409
    assert await desk.status("DELETE", "/groups/visitors") == 409
    assert await desk.status("POST", "/groups", {"name": "visitors"}) == 409
    assert (await desk.shown("/groups/visitors"))["weight"] == 2


async def test_what_a_group_cannot_be(desk: Desk) -> None:
    assert await desk.status("GET", "/groups/none") == 404
    assert await desk.status("POST", "/groups", {"name": "staff"}) == 409
    assert await desk.status("POST", "/groups", {"name": ""}) == 422
    response = await desk.ask("PATCH", "/groups/staff", {"limits": {"token_budget": 0}})
    assert (response.status_code, (await response.get_json())["errors"][0]["pointer"]) == (422, "/limits/token_budget")
