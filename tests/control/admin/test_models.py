"""`/models`."""

from tests.control.admin.conftest import Desk


async def test_a_model_is_weighed_priced_changed_and_forgotten(desk: Desk) -> None:
    made = await desk.made("/models", {"name": "org/large", "budget_weight": 3, "prompt_price": 2_000_000})
    assert (made["budget_weight"], made["prompt_price"], made["completion_price"]) == (3.0, 2_000_000, None)
    changed = await (
        await desk.ask("PATCH", "/models/org/large", {"completion_price": 5, "prompt_price": None})
    ).get_json()
    assert (changed["prompt_price"], changed["completion_price"], changed["version"]) == (None, 5, 2)
    assert await desk.shown("/models/org%2Flarge") == changed
    assert await desk.status("DELETE", "/models/org/large", If_Match='"1"') == 412
    assert await desk.status("DELETE", "/models/org/large", If_Match='"2"') == 204
    assert await desk.status("DELETE", "/models/org/large") == 404
    assert [each.action for each in await desk.entries()] == ["model.create", "model.change", "model.delete"]


async def test_lists_go_on_behind_a_name(desk: Desk) -> None:
    for name in ("b", "a", "c"):
        await desk.made("/models", {"name": name})
    page = await desk.shown("/models?limit=3")
    assert [each["name"] for each in page["items"]] == ["m1", "a", "b"]
    assert await desk.names(f"/models?limit=3&cursor={page['next_cursor']}") == ["c"]
    assert await desk.status("GET", f"/users?cursor={page['next_cursor']}") == 422


async def test_a_model_of_the_configuration_is_changed_there(desk: Desk) -> None:
    assert (await desk.shown("/models/m1"))["budget_weight"] == 2.0
    assert await desk.status("PATCH", "/models/m1", {"budget_weight": 1}) == 409
    assert await desk.status("DELETE", "/models/m1") == 409
    assert await desk.status("POST", "/models", {"name": "m1"}) == 409
