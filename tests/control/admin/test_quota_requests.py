"""`/quota-requests`, and asking for more at `/me/quota-requests`."""

from tests.control.admin.conftest import Desk


async def test_what_is_granted_is_in_the_budget(desk: Desk) -> None:
    await desk.made("/users", {"name": "bob", "limits": {"token_budget": 100}})
    user = await desk.sign_in("ada")
    asked = await desk.made("/me/quota-requests", {"requested_tokens": 50, "justification": "thesis"})
    assert (asked["status"], asked["user"]) == ("pending", "ada")
    assert await desk.names("/me/quota-requests", "id") == [asked["id"]]
    desk.be_the_owner()
    await desk.ask("PATCH", f"/users/{user.uuid}", {"limits": {"token_budget": 1000}})
    path = f"/quota-requests/{asked['id']}"
    reviewed = await desk.ask("POST", f"{path}/review", {"is_approved": True, "granted_tokens": 30, "notes": "ok"})
    body = await reviewed.get_json()
    assert (body["status"], body["granted_tokens"], body["reviewed_by"]) == ("approved", 30, "local")
    assert (await desk.shown("/users/ada"))["limits"]["token_budget"] == 1030
    assert await desk.status("POST", f"{path}/review", {"is_approved": False}) == 409
    assert await desk.shown(path) == body


async def test_lists_are_narrowed(desk: Desk) -> None:
    await desk.sign_in("ada")
    asked = await desk.made("/me/quota-requests", {"requested_requests_per_minute": 5})
    desk.be_the_owner()
    await desk.ask("POST", f"/quota-requests/{asked['id']}/review", {"is_approved": False})
    assert await desk.names("/quota-requests?status=denied", "user") == ["ada"]
    assert await desk.names("/quota-requests?status=pending", "user") == []
    assert await desk.names("/quota-requests?user=ada", "user") == ["ada"]
    assert await desk.names("/quota-requests?user=nobody", "user") == []
    assert "quota_request.deny" in [each.action for each in await desk.entries()]


async def test_what_is_no_request(desk: Desk) -> None:
    for number in ("1", "x", "-1", "9" * 40, "١"):
        assert await desk.status("GET", f"/quota-requests/{number}") == 404
        assert await desk.status("POST", f"/quota-requests/{number}/review", {"is_approved": True}) == 404
    await desk.sign_in("ada")
    assert await desk.status("POST", "/me/quota-requests", {}) == 422
