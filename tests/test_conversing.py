"""The Conversations API through a worker's door: who asks, what is refused here, and what is never asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from mrproxy.config import Key
from mrproxy.conversing import MAX_BODY_BYTES
from tests.fakes.caller import KEY, Answer, Caller, request
from tests.fakes.gateway import run_gateway
from tests.fakes.keeper import run_keeper
from tests.fakes.loop_engine import run_engine

pytestmark = pytest.mark.slow

UNKNOWN = f"conv_{'0' * 32}"
USER = {"role": "user", "content": "hi"}
KEYS = (
    Key(name="second", key="another-key", user="bob"),
    Key(name="third", key="a-hurried-key", user="eve", requests_per_minute=2),
)


async def call(caller: Caller, method: str, path: str = "", body: Any = None, key: str | None = KEY) -> Answer:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    await caller.send(request(f"/v1/conversations{path}", raw, method=method, key=key))
    return await caller.read_answer()


async def test_a_conversation_from_its_making_to_its_end(tmp_path: Path) -> None:
    async with run_keeper(tmp_path), run_engine() as engine, run_gateway(tmp_path, engine, records=True) as gateway:
        caller = await gateway.connect()
        made = await call(caller, "POST", body={"metadata": {"a": "b"}, "items": [USER]})
        assert made.status == 200
        assert made.headers["x-request-id"]
        assert made.headers["content-type"] == "application/json"
        name = made.json["id"]
        assert (await call(caller, "GET", f"/{name}")).json == made.json
        await caller.send(request(f"/v1/conversations/{name}", method="HEAD"))
        head = await caller.read_answer(has_body=False)
        assert head.headers["content-length"] == made.headers["content-length"]
        changed = await call(caller, "POST", f"/{name}", {"metadata": {}})
        assert changed.json == {**made.json, "metadata": {}}
        added = await call(caller, "POST", f"/{name}/items", {"items": [USER, {"type": "message", "id": "x", **USER}]})
        assert [item["id"] for item in added.json["data"]][1] == "x"
        listed = await call(caller, "GET", f"/{name}/items?limit=1")
        assert (listed.json["first_id"], listed.json["has_more"]) == ("x", True)
        assert (await call(caller, "GET", f"/{name}/items/x")).json == added.json["data"][1]
        assert (await call(caller, "DELETE", f"/{name}/items/x")).json == changed.json
        assert (await call(caller, "GET", f"/{name}/items/x")).status == 404
        gone = await call(caller, "DELETE", f"/{name}")
        assert gone.json == {"id": name, "object": "conversation.deleted", "deleted": True}
        assert (await call(caller, "GET", f"/{name}")).status == 404


async def test_what_cannot_be_is_refused_in_the_dialect_and_asked_of_nobody(tmp_path: Path) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            caller = await gateway.connect()
            for method, path, body, status in (
                ("GET", "/conv_1", None, 404),
                ("GET", "/%00", None, 404),
                ("GET", f"/{UNKNOWN}/items/%20", None, 404),
                ("GET", f"/{UNKNOWN}/items/a%2Fb", None, 404),
                ("GET", f"/{UNKNOWN}/items?limit=0", None, 400),
                ("GET", f"/{UNKNOWN}/items?after=%00", None, 400),
                ("POST", f"/{UNKNOWN}", {}, 400),
                ("POST", f"/{UNKNOWN}/items", {"items": []}, 400),
                ("POST", f"/{UNKNOWN}/items", {"items": [USER] * 21}, 400),
                ("POST", "", {"metadata": {"a": 1}}, 400),
                ("POST", "", b"{", 400),
                ("GET", "", None, 405),
                ("PUT", f"/{UNKNOWN}", {}, 405),
                ("DELETE", f"/{UNKNOWN}/items", None, 405),
                ("POST", f"/{UNKNOWN}/items/x", {}, 405),
                ("GET", f"/{UNKNOWN}/nothing", None, 404),
                ("GET", f"/{UNKNOWN}/items/x/y", None, 404),
                ("GET", "/", None, 404),
            ):
                got = await call(caller, method, path, body)
                assert got.status == status, (method, path)
                assert got.json["error"]["type"] in ("invalid_request_error", "not_found_error")
            assert keeper.questions == []
            await caller.send(request("/v1/conversationsx", method="GET"))
            assert (await caller.read_answer()).status == 404


async def test_what_is_not_there_is_404_or_names_the_place(tmp_path: Path) -> None:
    async with run_keeper(tmp_path), run_engine() as engine, run_gateway(tmp_path, engine, records=True) as gateway:
        caller = await gateway.connect()
        for method, path, body in (
            ("GET", "", None),
            ("POST", "", {"metadata": {}}),
            ("DELETE", "", None),
            ("GET", "/items", None),
            ("POST", "/items", {"items": [USER]}),
            ("GET", "/items/x", None),
            ("DELETE", "/items/x", None),
        ):
            got = await call(caller, method, f"/{UNKNOWN}{path}", body)
            assert (got.status, "Conversation with id" in got.json["error"]["message"]) == (404, True), (method, path)
        name = (await call(caller, "POST", body={})).json["id"]
        got = await call(caller, "GET", f"/{name}/items?after=x")
        assert (got.status, got.json["error"]["param"]) == (400, "after")
        item = {"type": "message", "id": "x", **USER}
        await call(caller, "POST", f"/{name}/items", {"items": [item]})
        got = await call(caller, "POST", f"/{name}/items", {"items": [item]})
        assert (got.status, got.json["error"]["param"]) == (400, "items")


async def test_a_key_is_needed_and_is_the_owners(tmp_path: Path) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        async with run_gateway(tmp_path, engine, records=True, keys=KEYS) as gateway:
            caller = await gateway.connect()
            for key in (None, "wrong"):
                other = await gateway.connect()
                assert (await call(other, "POST", body={}, key=key)).status == 401
            assert keeper.questions == []
            name = (await call(caller, "POST", body={"items": [USER]})).json["id"]
            for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/items")):
                assert (await call(caller, method, f"/{name}{path}", key="another-key")).status == 404
            assert (await call(caller, "GET", f"/{name}")).status == 200


async def test_what_writes_counts_as_a_request(tmp_path: Path) -> None:
    async with run_keeper(tmp_path), run_engine() as engine:
        async with run_gateway(tmp_path, engine, records=True, keys=KEYS) as gateway:
            caller = await gateway.connect()
            made = [await call(caller, "POST", body={}, key="a-hurried-key") for _ in range(3)]
            assert [each.status for each in made] == [200, 200, 429]
            assert "retry-after" in made[2].headers
            name = made[0].json["id"]
            assert (await call(caller, "GET", f"/{name}", key="a-hurried-key")).status == 200


async def test_a_body_has_a_bound(tmp_path: Path) -> None:
    async with run_keeper(tmp_path), run_engine() as engine, run_gateway(tmp_path, engine, records=True) as gateway:
        caller = await gateway.connect()
        picture = "x" * (3 << 20)
        items = [{"role": "user", "content": picture} for _ in range(5)]
        made = await call(caller, "POST", body={"items": items})
        assert made.status == 200
        listed = await call(caller, "GET", f"/{made.json['id']}/items?limit=5")
        assert [item["content"][0]["text"] == picture for item in listed.json["data"]] == [True] * 5
        other = await gateway.connect()
        too_large = request("/v1/conversations").replace(b"Length: 0", b"Length: %d" % (MAX_BODY_BYTES + 1))
        await other.send(too_large)
        assert (await other.read_answer()).status == 413


async def test_while_the_database_is_away_there_is_a_503_and_afterwards_an_answer(tmp_path: Path) -> None:
    async with run_keeper(tmp_path) as keeper, run_engine() as engine:
        async with run_gateway(tmp_path, engine, records=True) as gateway:
            caller = await gateway.connect()
            name = (await call(caller, "POST", body={})).json["id"]
            keeper.is_away = True
            for method, path in (("POST", ""), ("GET", f"/{name}"), ("GET", f"/{name}/items")):
                got = await call(caller, method, path)
                assert (got.status, got.json["error"]["code"]) == (503, "control_unavailable")
                assert "retry-after" in got.headers
            keeper.is_away = False
            assert (await call(caller, "GET", f"/{name}")).status == 200


async def test_without_a_database_there_are_none(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        assert (await call(caller, "POST", body={})).status == 501


async def test_browsers_are_told_what_they_may(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        got = await call(caller, "OPTIONS", f"/{UNKNOWN}", key=None)
        assert (got.status, got.headers["allow"]) == (204, "GET, POST, DELETE, HEAD, OPTIONS")
