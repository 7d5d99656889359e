"""A POST that is sent twice."""

from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import func, insert, select

from mrproxy.control.api.actor import Actor, ActorKind, anonymous
from mrproxy.control.api.endpoint import Answer, Api, Endpoint
from mrproxy.control.api.idempotency import carry_out, digest_of
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission, Role
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.idempotency import keep_answer
from mrproxy.storage.schema_control import facts, idempotency

P = Permission
KEY = {"Idempotency-Key": "one"}


class Wanted(msgspec.Struct):
    name: str


async def count(connection):
    made = select(func.count()).select_from(facts).where(facts.c.value == "made")
    return (await connection.execute(made)).scalar_one()


async def add(connection, name):
    await connection.execute(insert(facts).values(name=name, value="made"))


async def make(call):
    if call.request.name == "bad":
        raise Problem("conflict", "No.")
    await call.transact(add, call.request.name)
    if call.request.name == "worse":
        raise RuntimeError("after the commit")
    return Answer(value={"key": f"mr_{call.request.name}"}, version=1, location="/made/1")


API = Api(
    "/t",
    (
        Endpoint("POST", "/things", P.KEYS_WRITE, make, Wanted, status=201),
        Endpoint("POST", "/others", P.KEYS_WRITE, make, Wanted, status=201),
        Endpoint("POST", "/open", P.SIGN_IN, make, Wanted, status=201),
    ),
)


@pytest.fixture
def client(home):
    return home.serve(API, carry_out=carry_out)


async def test_it_is_done_once_and_answered_twice(home, client):
    first = await client.post("/t/things", json={"name": "a"}, headers=KEY)
    second = await client.post("/t/things", json={"name": "a"}, headers=KEY)
    assert first.status_code == second.status_code == 201
    assert await first.get_json() == await second.get_json() == {"key": "mr_a"}
    assert (first.headers["Location"], first.headers["ETag"]) == (second.headers["Location"], second.headers["ETag"])
    assert ("Idempotent-Replayed" in first.headers, second.headers["Idempotent-Replayed"]) == (False, "true")
    assert (await home.plane.store.read(count), home.published) == (1, 1)


async def test_what_is_kept_shows_nothing_to_who_has_the_database_alone(home, client):
    await client.post("/t/things", json={"name": "a"}, headers=KEY)

    async def kept(connection):
        return (await connection.execute(select(idempotency.c.body))).scalar_one()

    assert "mr_a" not in await home.plane.store.read(kept)


async def test_another_body_with_the_same_key_is_a_mistake(client):
    await client.post("/t/things", json={"name": "a"}, headers=KEY)
    assert (await client.post("/t/things", json={"name": "b"}, headers=KEY)).status_code == 422


async def test_the_same_key_for_something_else_is_another(home, client):
    await client.post("/t/things", json={"name": "a"}, headers=KEY)
    assert (await client.post("/t/others", json={"name": "b"}, headers=KEY)).status_code == 201
    home.actor = Actor(kind=ActorKind.KEY, name="ada", key_id="k", roles=frozenset({Role.ADMIN}))
    assert (await client.post("/t/things", json={"name": "c"}, headers=KEY)).status_code == 201
    assert await home.plane.store.read(count) == 3


async def test_what_failed_may_be_tried_again(client):
    assert (await client.post("/t/things", json={"name": "bad"}, headers=KEY)).status_code == 409
    assert (await client.post("/t/things", json={"name": "a"}, headers=KEY)).status_code == 201


async def test_what_was_done_and_not_answered_is_not_done_again(home, client):
    assert (await client.post("/t/things", json={"name": "worse"}, headers=KEY)).status_code == 500
    again = await client.post("/t/things", json={"name": "worse"}, headers=KEY)
    assert (again.status_code, "answer was lost" in (await again.get_json())["detail"]) == (409, True)
    assert await home.plane.store.read(count) == 1


async def test_while_the_first_runs_the_second_is_told_so(home):
    async def ask_again(call):
        other = await home.serve(API, carry_out=carry_out).post("/t/things", json={"name": "a"}, headers=KEY)
        return Answer(value={"status": other.status_code, "retry": other.headers["Retry-After"]})

    outer = Api("/t", (Endpoint("POST", "/things", P.KEYS_WRITE, ask_again, Wanted),))
    response = await home.serve(outer, carry_out=carry_out).post("/t/things", json={"name": "a"}, headers=KEY)
    assert await response.get_json() == {"status": 409, "retry": "1"}


async def test_strangers_have_no_keys(home, client):
    home.actor = anonymous("10.0.0.1", "r")
    await client.post("/t/open", json={"name": "a"}, headers=KEY)
    assert "Idempotent-Replayed" not in (await client.post("/t/open", json={"name": "b"}, headers=KEY)).headers


async def test_without_a_database_the_handler_says_what_is_missing(house):
    response = await house.serve(API, carry_out=carry_out).post("/t/things", json={"name": "a"}, headers=KEY)
    assert response.status_code == 503


async def test_a_key_has_a_length_that_can_be_kept(client):
    response = await client.post("/t/things", json={"name": "a"}, headers={"Idempotency-Key": "k" * 256})
    assert response.status_code == 400


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(home):
    home.plane = replace(home.plane, store=FailingOnce(home.plane.store))  # type: ignore[arg-type]
    response = await home.serve(API, carry_out=carry_out).post("/t/things", json={"name": "a"}, headers=KEY)
    assert response.status_code == 201


class FailingOnce:
    """A store that has gone when the answer is to be kept."""

    def __init__(self, store):
        self.store = store

    async def transact(self, function):
        if getattr(function, "func", None) is keep_answer:
            raise DatabaseUnavailable("gone")
        return await self.store.transact(function)


def test_parts_of_an_identity_do_not_run_together():
    assert digest_of("ab", "c") != digest_of("a", "bc")
