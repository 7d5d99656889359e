"""`/records`: lists, details, own and others'."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.records import ENDPOINTS, statuses_of
from mrproxy.control.api.actor import Actor, ActorKind, owner
from mrproxy.control.api.endpoint import Api
from mrproxy.control.permissions import Role
from mrproxy.link.capture import CapturedBodies
from mrproxy.storage.bodies import insert_bodies
from mrproxy.storage.bodies import row_of as body_row
from mrproxy.storage.export import FIELDS
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.control.api.conftest import House, home
from tests.link.journal_examples import a_record

__all__ = ["home"]

API = Api("/a", ENDPOINTS)
MADE = [
    a_record(
        request_id=f"r/{number}",
        started_utc=1000.0 + number,
        user=("ada", "bob", "")[number % 3],
        key_id=f"k{number % 3}",
        model=("small", "large")[number % 2],
        status=(200, 404, 503)[number % 3],
    )
    for number in range(9)
]
TWICE = [a_record(request_id="same", user=user, started_utc=at) for user, at in (("ada", 1.0), ("bob", 2.0))]


def member(name: str = "ada", **changes: Any) -> Actor:
    return Actor(kind=ActorKind.KEY, name=name, roles=frozenset({Role.MEMBER}), key_id="k0", **changes)


def auditor() -> Actor:
    return Actor(kind=ActorKind.USER, name="eve", roles=frozenset({Role.AUDITOR, Role.MEMBER}))


async def fill(connection: AsyncConnection, made: Sequence[Any] = (*MADE, *TWICE)) -> None:
    await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(each, 0.0), strict=True)) for each in made])
    bodies = [
        CapturedBodies(each.request_id, each.started_utc, each.key_id, each.user, "m", 200, "ask", False, "tell", True)
        for each in (MADE[0], MADE[1], *TWICE)
    ]
    await insert_bodies(connection, [body_row(each) for each in bodies])


async def filled(house: House, actor: Actor | None = None) -> Any:
    await house.plane.store.transact(fill)
    house.actor = actor or owner("r")
    return house.serve(API)


async def ids(client: Any, query: str = "") -> list[str]:
    """Of all pages."""
    found, cursor = [], ""
    while True:
        answer = await client.get(f"/a/records?limit=4{query}{cursor}")
        assert answer.status_code == 200, await answer.get_data(as_text=True)
        listed = await answer.get_json()
        found += [item["request_id"] for item in listed["items"]]
        if listed["next_cursor"] is None:
            return found
        assert f'cursor={listed["next_cursor"]}>; rel="next"' in answer.headers["Link"]
        cursor = f"&cursor={listed['next_cursor']}"


async def test_records_come_newest_first_page_by_page(home):
    client = await filled(home)
    assert await ids(client) == [*(f"r/{number}" for number in range(8, -1, -1)), "same", "same"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("&user=bob&since=1970-01-01T00:10:00Z", [7, 4, 1]),
        ("&model=large&status=404", [7, 1]),
        ("&status=5xx", [8, 5, 2]),
        ("&since=1970-01-01T00:16:44Z&until=1970-01-01T01:16:46%2B01:00", [5, 4]),
        ("&key=k2&backend=gpu-1&dialect=openai&operation=chat&group=staff", [8, 5, 2]),
        ("&request_id=r/3", [3]),
        ("&code=nothing", []),
        ("&text=R/3", [3]),
        ("&text=LARGE", [7, 5, 3, 1]),
        ("&text=tell&since=1970-01-01T00:10:00Z", []),
        ("&text=TELL&bodies=true&since=1970-01-01T00:10:00Z", [1, 0]),
    ],
)
async def test_filters_and_texts_choose(home, query, expected):
    assert await ids(await filled(home), query) == [f"r/{number}" for number in expected]


@pytest.mark.parametrize(
    "query",
    ["status=600", "status=4", "since=yesterday", "limit=0", "limit=501", "cursor=x", "users=ada", "bodies=perhaps"],
)
async def test_what_no_filter_means_is_refused(home, query):
    answer = await (await filled(home)).get(f"/a/records?{query}")
    assert answer.status_code == 422


async def test_a_member_sees_its_own_requests_whatever_key_it_used(home):
    client = await filled(home, member())
    assert await ids(client) == ["r/6", "r/3", "r/0", "same"]
    assert await ids(client, "&user=ada&text=r/6") == ["r/6"]
    for query in ("user=bob", "user="):
        assert (await client.get(f"/a/records?{query}")).status_code == 403


async def test_a_key_without_a_user_sees_its_own(home):
    assert await ids(await filled(home, member("k0", scopes=("own",)))) == ["r/6", "r/3", "r/0"]


async def test_bodies_are_for_their_user_and_for_who_may_read_all(home):
    client = await filled(home, member())
    for actor, own, others in ((member(), 200, 404), (auditor(), 200, 200), (owner("r"), 200, 200)):
        home.actor = actor
        found = await client.get("/a/records/r/0")
        assert found.status_code == own
        assert (await found.get_json())["bodies"] == {
            "request": {"text": "ask", "is_base64": False, "is_truncated": False},
            "answer": {"text": "tell", "is_base64": False, "is_truncated": True},
        }
        assert (await client.get("/a/records/r/1")).status_code == others
    home.actor = Actor(
        kind=ActorKind.KEY, name="eve", roles=auditor().roles, scopes=("metrics.read", "own"), key_id="k"
    )
    assert (await client.get("/a/records?bodies=true&text=x&user=bob")).status_code == 403


async def test_a_key_that_may_read_records_alone_gets_them_without_bodies(home):
    client = await filled(home)
    roles, scopes = auditor().roles, ("records only", "own")
    home.actor = Actor(kind=ActorKind.KEY, name="eve", roles=roles, scopes=scopes, key_id="k")
    assert (await client.get("/a/records/r/1")).status_code == 404
    assert (await client.get("/a/records?bodies=true&text=ask")).status_code == 200
    assert (await client.get("/a/records?bodies=true&text=ask&user=bob")).status_code == 403


async def test_details_have_every_field_and_what_was_not_kept_is_null(home):
    client = await filled(home)
    found = await (await client.get("/a/records/r/5")).get_json()
    assert found["bodies"] is None
    assert set(found["record"]) == set(FIELDS)
    assert found["record"]["started_utc"] == "1970-01-01T00:16:45Z"
    assert (found["record"]["attempts"], found["record"]["cost"]) == (1, None)


async def test_requests_that_share_an_id_are_told_and_each_can_be_asked_for(home):
    client = await filled(home)
    found = await (await client.get("/a/records/same")).get_json()
    assert [found["record"]["user"], *(each["user"] for each in found["others"])] == ["bob", "ada"]
    older = await (await client.get("/a/records/same?before=1970-01-01T00:00:02Z")).get_json()
    assert (older["record"]["user"], older["others"]) == ("ada", [])


@pytest.mark.parametrize("request_id", ["nothing", "'; DROP TABLE records; --", "../../etc/passwd", "%00", "%ff"])
async def test_what_is_not_there_is_not_found(home, request_id):
    answer = await (await filled(home)).get(f"/a/records/{request_id}")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(("status", "expected"), [("404", (404, 405)), ("4xx", (400, 500)), ("100", (100, 101))])
def test_a_status_or_a_class_of_them(status, expected):
    assert statuses_of(status) == expected
