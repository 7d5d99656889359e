"""Groups in MindRouter's words."""

from mrproxy.control.mindrouter.values import configured_number
from mrproxy.storage.people.groups import get_group

LAB = {"name": "lab", "display_name": "The lab"}


async def test_a_group_has_the_defaults_of_mindrouter(desk):
    made = await desk.done("POST", "/groups", LAB)
    assert made == {"id": made["id"], "name": "lab", "display_name": "The lab"}
    found = (await desk.done("GET", "/groups"))["groups"]
    assert next(each for each in found if each["name"] == "lab") == {
        "id": made["id"],
        "name": "lab",
        "display_name": "The lab",
        "description": "",
        "token_budget": 100_000,
        "rpm_limit": 30,
        "scheduler_weight": 1,
        "is_admin": False,
        "is_auditor": False,
        "user_count": 0,
    }
    assert found[-1]["id"] == configured_number("visitors")
    assert [each["name"] for each in found].count("admin") == 1
    assert (await desk.refused("POST", "/groups", LAB))[0] == 409
    for wrong in ({"token_budget": -1}, {"rpm_limit": 0}, {"scheduler_weight": 0}, {"display_name": ""}):
        assert (await desk.refused("POST", "/groups", LAB | {"name": "x"} | wrong))[0] == 422


async def test_a_budget_of_zero_is_none_and_a_period_is_kept(desk):
    number = (await desk.done("POST", "/groups", LAB | {"token_budget": 0}))["id"]

    async def limits():
        return (await desk.do(get_group, number)).limits

    assert (await limits()).token_budget is None
    patch = {"token_budget": 5, "rpm_limit": 9, "scheduler_weight": 4, "description": "x", "is_auditor": True}
    assert await desk.done("PATCH", f"/groups/{number}", patch) == {"status": "updated", "group_id": number}
    after = await limits()
    assert (after.token_budget, after.budget_period, after.requests_per_minute) == (5, "monthly", 9)
    shown = next(each for each in (await desk.done("GET", "/groups"))["groups"] if each["id"] == number)
    assert (shown["scheduler_weight"], shown["description"], shown["is_auditor"]) == (4, "x", True)
    assert await desk.refused("PATCH", f"/groups/{number}", {}) == (400, "No fields to update")


async def test_a_group_with_members_stays(desk):
    number = (await desk.done("POST", "/groups", LAB))["id"]
    user = await desk.user(group="lab")
    status, detail = await desk.refused("DELETE", f"/groups/{number}")
    assert (status, "1 members" in detail) == (409, True)
    await desk.done("DELETE", f"/users/{user}")
    assert await desk.done("DELETE", f"/groups/{number}") == {"status": "deleted", "group_id": number}
    assert await desk.refused("DELETE", f"/groups/{number}") == (404, "Group not found")
    assert (await desk.refused("DELETE", f"/groups/{configured_number('visitors')}"))[0] == 409
