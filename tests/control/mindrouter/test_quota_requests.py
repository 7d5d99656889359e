"""Requests for more: listed by status, and a decision that changes the budget."""

from mrproxy.storage.people.quota_requests import create_quota_request
from mrproxy.storage.people.values import NewQuotaRequest


async def asked(desk, user: int, **more: object) -> int:
    wanted = NewQuotaRequest(user_id=user, justification="thesis", requested_tokens=500, **more)
    return (await desk.do(create_quota_request, wanted, 5.0)).id


async def test_a_decision_changes_the_budget_and_is_made_once(desk):
    await desk.done("POST", "/groups", {"name": "lab", "display_name": "Lab", "token_budget": 1000})
    user = await desk.user(group="lab")
    number, other = await asked(desk, user), await asked(desk, user)
    (shown,) = [each for each in (await desk.done("GET", "/quota-requests"))["requests"] if each["id"] == number]
    assert (shown["user_id"], shown["requester_email"], shown["status"]) == (user, "ann@example.edu", "pending")
    review = f"/quota-requests/{number}/review"
    assert await desk.done("POST", review, {"approved": True, "granted_tokens": 200}) == {
        "status": "reviewed",
        "approved": True,
        "granted_tokens": 200,
    }
    assert (await desk.done("GET", f"/users/{user}"))["quota"]["token_budget"] == 1200
    assert (await desk.refused("POST", review, {"approved": False}))[0] == 409
    denied = {"approved": False, "notes": "no"}
    assert (await desk.done("POST", f"/quota-requests/{other}/review", denied))["granted_tokens"] is None
    assert (await desk.done("GET", f"/users/{user}"))["quota"]["token_budget"] == 1200
    for status, numbers in (("approved", [number]), ("denied", [other]), ("all", [other, number]), ("pending", [])):
        found = (await desk.done("GET", f"/quota-requests?status={status}"))["requests"]
        assert [each["id"] for each in found] == numbers


async def test_what_cannot_be_granted_is_refused(desk):
    number = await asked(desk, await desk.user())
    for body in ({}, {"approved": "maybe"}, {"approved": True, "granted_tokens": 0}):
        assert (await desk.refused("POST", f"/quota-requests/{number}/review", body))[0] == 422
    assert await desk.refused("POST", "/quota-requests/99/review", {"approved": True}) == (
        404,
        "Quota request not found",
    )
