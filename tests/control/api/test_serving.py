"""From a request to a call, from an answer to a response: the order of checks, conditions, problems, publishing."""

import json
from typing import Annotated

import msgspec
import pytest
import trio
from sqlalchemy import text

from mrproxy.control.api.actor import Actor, ActorKind, anonymous
from mrproxy.control.api.endpoint import Answer, Api, Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.api.serving import PUBLISH_SECONDS, handle, rule_of
from mrproxy.control.permissions import Permission, Role
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.people.errors import Changed, NotFound

P = Permission


class Wanted(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1)]


class Query(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    limit: int = 10


async def show(call):
    return Answer(value={"thing": call.path["thing"], "limit": call.query.limit}, version=3)


async def show_live(call):
    return Answer(value={"seen": call.path["thing"]}, version=3, is_live=True)


async def make(call):
    return Answer(value={"name": call.request.name, "by": call.actor.name}, version=1, location="/t/things/1")


async def change(call):
    if call.version not in (None, 3):
        raise Changed(3)
    return Answer(value={"version": call.version}, version=4)


async def remove(call):
    raise NotFound("thing", call.path["thing"])


async def away(call):
    raise DatabaseUnavailable("the server is gone")


async def broken(call):
    raise RuntimeError("the secret of the house")


async def stream(call):
    async def pieces():
        yield b"a\n"
        yield b"b\n"

    return Answer(
        stream=pieces(), content_type="text/csv; charset=utf-8", headers=(("Set-Cookie", "a"), ("Set-Cookie", "b"))
    )


API = Api(
    "/t",
    (
        Endpoint("GET", "/things/{thing}", P.USERS_READ, show, query=Query),
        Endpoint("GET", "/live/{thing:path}", P.USERS_READ, show_live),
        Endpoint("POST", "/things", P.USERS_WRITE, make, request=Wanted, status=201),
        Endpoint("PATCH", "/things/{thing}", P.USERS_WRITE, change, request=Wanted),
        Endpoint("DELETE", "/things/{thing}", P.USERS_WRITE, remove, status=204),
        Endpoint("GET", "/away", P.USERS_READ, away),
        Endpoint("GET", "/broken", P.PUBLIC, broken),
        Endpoint("GET", "/export", P.USERS_READ, stream),
    ),
)
JSON = {"Content-Type": "application/json"}


def test_paths_become_rules():
    assert rule_of("/a/{b}/c/{d:path}") == "/a/<b>/c/<path:d>"


async def test_an_answer_is_json_with_its_version(house):
    response = await house.serve(API).get("/t/things/%C3%A4?limit=3")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert (await response.get_json(), response.headers["ETag"]) == ({"thing": "ä", "limit": 3}, '"3"')
    assert house.published == 0


async def test_what_was_made_is_published_before_the_answer(house):
    response = await house.serve(API).post("/t/things", json={"name": "x"})
    assert (response.status_code, response.headers["Location"]) == (201, "/t/things/1")
    assert await response.get_json() == {"name": "x", "by": "local"}
    assert house.published == 1


async def test_what_was_refused_is_not_published(house):
    assert (await house.serve(API).delete("/t/things/1")).status_code == 404
    assert house.published == 0


async def test_a_worker_that_hangs_does_not_keep_the_answer(house, autojump_clock):
    plane = msgspec  # replaced below: only `publish` is asked
    call = type(
        "Call", (), {"plane": type("Plane", (), {"publish": staticmethod(trio.sleep_forever)}), "version": None}
    )

    async def done(call):
        return Answer(value=1)

    assert plane is not None
    assert (await handle(Endpoint("POST", "/x", P.PUBLIC, done), call)).value == 1
    assert trio.current_time() == pytest.approx(PUBLISH_SECONDS, abs=0.01)


async def test_a_version_that_is_current_is_not_sent_again(house):
    client = house.serve(API)
    for tags in ('"3"', 'W/"3"', '"1", "3"'):
        response = await client.get("/t/things/a", headers={"If-None-Match": tags})
        assert (response.status_code, await response.get_data(), response.headers["ETag"]) == (304, b"", '"3"')
    assert (await client.get("/t/things/a", headers={"If-None-Match": '"2"'})).status_code == 200


async def test_live_values_change_the_tag_and_the_tag_still_names_the_version(house):
    client = house.serve(API)
    one = (await client.get("/t/live/a/b")).headers["ETag"]
    other = (await client.get("/t/live/c")).headers["ETag"]
    assert one != other
    assert one.startswith('"3.')
    changed = await client.patch("/t/things/1", json={"name": "x"}, headers={"If-Match": one})
    assert await changed.get_json() == {"version": 3}


async def test_a_stale_condition_is_a_412(house):
    response = await house.serve(API).patch("/t/things/1", json={"name": "x"}, headers={"If-Match": '"2"'})
    assert (response.status_code, (await response.get_json())["type"]) == (412, "urn:mrproxy:problem:changed")
    assert (await house.serve(API).patch("/t/things/1", json={"name": "x"})).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"name": "x"}', JSON, 201),
        (b'{"name": "x"}', {}, 415),
        (b'{"name": "x"}', {"Content-Type": "text/plain"}, 415),
        (b'{"name": ""}', JSON, 422),
        (b"", {}, 422),
        (b"{", JSON, 400),
        (b"[" * 9999, JSON, 422),
        (b" " * 10_001, JSON, 413),
    ],
)
async def test_bodies_are_accepted_or_refused_with_a_problem(house, body, headers, status):
    response = await house.serve(API).post("/t/things", data=body, headers=headers)
    assert response.status_code == status
    if status != 201:
        assert response.headers["Content-Type"] == "application/problem+json"


async def test_other_systems_send_json_without_saying_so(house):
    api = Api("/t", API.endpoints, is_strict=False)
    assert (await house.serve(api).post("/t/things", data=b'{"name": "x"}')).status_code == 201


async def test_a_stranger_is_asked_who_he_is_before_anything_is_read(house):
    house.actor = anonymous("10.0.0.1", "r")
    response = await house.serve(API).post("/t/things", data=b"{", headers={"X-Request-Id": "r-9"})
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="mrproxy"')
    assert (await response.get_json())["instance"] == "r-9"


async def test_who_may_not_is_told_what_he_lacks(house):
    house.actor = Actor(kind=ActorKind.USER, name="ada", roles=frozenset({Role.MEMBER}))
    response = await house.serve(API).post("/t/things", json={"name": "x"})
    assert (response.status_code, (await response.get_json())["detail"]) == (
        403,
        "This needs the permission users.write.",
    )


async def test_who_has_a_password_to_choose_is_told_so(house):
    house.actor = Actor(kind=ActorKind.USER, name="ada", roles=frozenset({Role.ADMIN}), is_password_due=True)
    response = await house.serve(API).post("/t/things", json={"name": "x"})
    assert (response.status_code, (await response.get_json())["detail"]) == (
        403,
        "A new password must be chosen first.",
    )


async def test_wrong_credentials_matter_only_where_some_are_needed(house):
    house.refusal = Problem("bad-credentials", "No.")
    public = Api("/t", (Endpoint("GET", "/who", P.PUBLIC, who),))
    client = house.serve(API, public)
    assert (await client.get("/t/things/1")).status_code == 401
    response = await client.get("/t/who", headers={"X-Forwarded-For": "10.0.0.1"})
    assert await response.get_json() == {"kind": "anonymous", "address": "10.0.0.1"}


async def who(call):
    return Answer(value={"kind": call.actor.kind.value, "address": call.actor.address})


async def test_a_database_that_is_away_is_a_503(house):
    response = await house.serve(API).get("/t/away")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


async def test_a_bug_shows_nothing(house):
    response = await house.serve(API).get("/t/broken")
    assert response.status_code == 500
    assert b"secret" not in await response.get_data()


async def test_a_stream_is_sent_piece_by_piece_with_its_headers(house):
    response = await house.serve(API).get("/t/export")
    assert (await response.get_data(), response.headers["Content-Type"]) == (b"a\nb\n", "text/csv; charset=utf-8")
    assert response.headers.getlist("Set-Cookie") == ["a", "b"]


async def test_an_argument_with_null_is_nothing(house):
    assert (await house.serve(API).get("/t/things/a%00b")).status_code == 404


async def test_another_systems_words_are_used(house):
    def word(problem, request_id):
        return json.dumps({"detail": problem.detail}).encode(), "application/json"

    response = await house.serve(Api("/t", API.endpoints, word)).delete("/t/things/7")
    assert await response.get_json() == {"detail": "There is no thing 7."}


async def test_the_database_is_reached_from_a_handler(home):
    async def two(call):
        return Answer(value=await call.transact(select_two))

    async def select_two(connection):
        return (await connection.execute(text("SELECT 2"))).scalar_one()

    client = home.serve(Api("/t", (Endpoint("POST", "/two", P.USERS_WRITE, two),)))
    assert await (await client.post("/t/two")).get_json() == 2
