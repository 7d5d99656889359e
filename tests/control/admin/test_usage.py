"""`/usage`: sums for whoever may see them."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.usage import ENDPOINTS
from mrproxy.control.api.actor import Actor, owner
from mrproxy.control.api.endpoint import Api
from mrproxy.storage.rows import row_of
from mrproxy.storage.usage import add_sums, sums_of
from tests.control.admin.test_records import auditor, member
from tests.control.api.conftest import House, home
from tests.link.journal_examples import a_record

__all__ = ["home"]

DAY = 86_400.0


async def fill(connection: AsyncConnection) -> None:
    made = [
        a_record(
            started_utc=number * DAY / 2,
            user=("ada", "bob")[number % 2],
            key_id=f"k{number % 3}",
            prompt_tokens=number,
            completion_tokens=0,
        )
        for number in range(10)
    ]
    await add_sums(connection, sums_of([row_of(record, 0.0) for record in made]))


async def filled(house: House, actor: Actor | None = None) -> Any:
    await house.plane.store.transact(fill)
    house.actor = actor or owner("r")
    return house.serve(Api("/a", ENDPOINTS))


async def asked(client: Any, query: str) -> Any:
    answer = await client.get(f"/a/usage?{query}")
    assert answer.status_code == 200, await answer.get_data(as_text=True)
    return await answer.get_json()


async def test_usage_is_summed_by_what_is_asked_for_most_tokens_first(home):
    client = await filled(home)
    found = await asked(client, "by=user")
    assert [(item["name"], item["requests"], item["total_tokens"]) for item in found["items"]] == [
        ("bob", 5, 25),
        ("ada", 5, 20),
    ]
    assert (found["by"], found["total"]["requests"], found["total"]["prompt_tokens"]) == ("user", 10, 45)
    assert [item["name"] for item in (await asked(client, "by=day&limit=3"))["items"]] == [
        "1970-01-01",
        "1970-01-02",
        "1970-01-03",
    ]


async def test_pages_go_on_and_the_total_is_of_all(home):
    client = await filled(home)
    first = await asked(client, "by=key&limit=2")
    second = await asked(client, f"by=key&limit=2&cursor={first['next_cursor']}")
    assert [item["name"] for item in (*first["items"], *second["items"])] == ["k0", "k2", "k1"]
    assert second["next_cursor"] is None
    assert first["total"] == second["total"]


async def test_days_and_names_choose(home):
    client = await filled(home)
    found = await asked(client, "by=model&since=1970-01-02&until=1970-01-03&user=ada&key=k2")
    assert [(item["name"], item["requests"]) for item in found["items"]] == [("llama3.2:3b", 1)]
    assert (await asked(client, "by=backend&group=nobody&model=m&backend=b"))["items"] == []


async def test_members_see_their_own_and_auditors_all(home):
    client = await filled(home, member())
    assert [item["name"] for item in (await asked(client, "by=user"))["items"]] == ["ada"]
    assert (await asked(client, "by=day"))["total"]["requests"] == 5
    assert (await client.get("/a/usage?user=bob")).status_code == 403
    home.actor = auditor()
    assert (await asked(client, "user=bob"))["total"]["requests"] == 5


@pytest.mark.parametrize("query", ["by=password", "since=yesterday", "since=2026-02-30", "cursor=x", "limit=0", "x=1"])
async def test_what_nobody_can_ask_for_is_refused(home, query):
    assert (await (await filled(home)).get(f"/a/usage?{query}")).status_code == 422
