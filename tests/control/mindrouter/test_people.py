"""One user in full: usage by month, what is left of the budget, keys."""

import pytest

from mrproxy.control.mindrouter.people import months_of, role_of
from mrproxy.control.mindrouter.values import configured_number
from mrproxy.storage.rows import row_of
from mrproxy.storage.usage import add_sums, sums_of
from mrproxy.storage.usage_reports import UsageSum
from tests.control.api.conftest import NOW
from tests.link.journal_examples import a_record

DAY = 86_400.0


@pytest.mark.parametrize(
    ("group", "role"),
    [("students", "student"), ("staff", "staff"), ("faculty", "faculty"), ("admin", "admin"), ("nerds", "student")],
)
def test_a_role_is_what_the_group_sounds_like(group, role):
    assert role_of(group) == role


def test_days_become_months():
    days = [UsageSum(day, 1, 0, 2, 3, 5, 5, 0, 1.0) for day in ("2026-01-30", "2026-01-31", "2026-02-01")]
    assert [(each.month, each.request_count, each.total_tokens) for each in months_of(days)] == [
        ("2026-01", 2, 10),
        ("2026-02", 1, 5),
    ]


async def test_a_user_is_shown_with_usage_limits_and_keys(desk):
    group = await desk.done(
        "POST", "/groups", {"name": "lab", "display_name": "Lab", "token_budget": 1000, "rpm_limit": 5}
    )
    number = await desk.user(group="lab")
    key = await desk.done("POST", f"/users/{number}/api-keys", {"name": "k"})
    key_id = (await desk.done("GET", "/api-keys"))["api_keys"][0]["key_id"]
    made = [
        a_record(started_utc=NOW - 40 * DAY, user="ann", key_id=key_id, prompt_tokens=1, completion_tokens=2),
        a_record(started_utc=NOW, user="ann", key_id=key_id, prompt_tokens=10, completion_tokens=20),
        a_record(started_utc=NOW, user="bob", prompt_tokens=1000),
    ]
    await desk.do(add_sums, sums_of([row_of(each, 0.0) for each in made]))
    found = await desk.done("GET", f"/users/{number}")
    assert (found["user"]["username"], found["user"]["group_id"], found["user"]["group_name"]) == (
        "ann",
        group["id"],
        "Lab",
    )
    assert found["stats"] == {
        "total_tokens": 33,
        "prompt_tokens": 11,
        "completion_tokens": 22,
        "request_count": 2,
        "favorite_models": [{"model": "llama3.2:3b", "count": 2}],
        "api_key_count": 1,
    }
    assert found["quota"] == {
        "token_budget": 1000,
        "tokens_used": 30,
        "lifetime_tokens_used": 33,
        "rpm_limit": 5,
        "weight_override": None,
    }
    (shown,) = found["api_keys"]
    assert (shown["id"], shown["usage_count"], shown["token_totals"]["total_tokens"]) == (key["id"], 2, 33)
    assert [each["total_tokens"] for each in found["monthly_usage"]] == [3, 30]


async def test_a_configured_user_is_shown_by_its_number(desk):
    found = await desk.done("GET", f"/users/{configured_number('configured')}")
    assert (found["user"]["username"], found["quota"]["token_budget"], found["api_keys"]) == ("configured", 0, [])
    assert await desk.refused("GET", "/users/12345") == (404, "User not found")
