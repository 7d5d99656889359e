"""`/keys`."""

from mrproxy.identity.digest import digest_key
from mrproxy.storage.people.keys import find_key_credentials
from tests.control.admin.conftest import Desk
from tests.control.api.conftest import SECRET


async def test_a_key_is_shown_once(desk: Desk) -> None:
    await desk.add_user("ada")
    made = await desk.made("/keys", {"name": "laptop", "user": "ada", "scopes": ["inference", "read"]})
    key = made.pop("key")
    assert key.startswith("mr_")
    assert made["prefix"] == key[:10]
    assert (made["user"], made["group"], made["status"]) == ("ada", "other", "active")
    assert await desk.shown(f"/keys/{made['id']}") == made
    assert key not in str(await desk.shown("/keys")) + str(await desk.entries())
    stored = await desk.house.plane.store.read(find_key_credentials, digest_key(SECRET, key.encode()).hex())
    assert stored.key.key_id == made["id"]
    assert stored.hash.startswith("$argon2id$")


async def test_a_service_key_is_of_a_group(desk: Desk) -> None:
    made = await desk.made("/keys", {"name": "batch", "group": "staff", "addresses": ["10.0.0.0/8"]})
    assert (made["user"], made["group"], made["addresses"]) == (None, "staff", ["10.0.0.0/8"])


async def test_a_key_is_somebodys_and_only_one_s(desk: Desk) -> None:
    await desk.add_user("ada")
    for wrong in ({}, {"user": "ada", "group": "staff"}, {"user": "nobody"}, {"group": "none"}):
        assert await desk.status("POST", "/keys", {"name": "k"} | wrong) == 422


async def test_a_scope_that_nobody_knows_is_refused(desk: Desk) -> None:
    response = await desk.ask("POST", "/keys", {"name": "k", "group": "staff", "scopes": ["inference", "evrything"]})
    assert (response.status_code, (await response.get_json())["errors"][0]["pointer"]) == (422, "/scopes/1")
    made = await desk.made("/keys", {"name": "k", "group": "staff"})
    assert await desk.status("PATCH", f"/keys/{made['id']}", {"scopes": ["x"]}) == 422


async def test_a_key_is_changed_revoked_and_found_by_its_status(desk: Desk) -> None:
    made = await desk.made("/keys", {"name": "k", "group": "staff"})
    path = f"/keys/{made['id']}"
    changed = await (await desk.ask("PATCH", path, {"expires_utc": "2030-01-01T00:00:00Z", "name": "n"})).get_json()
    assert (changed["expires_utc"], changed["name"], changed["version"]) == ("2030-01-01T00:00:00Z", "n", 2)
    assert await desk.names("/keys?status=active&source=managed") == ["n"]
    revoked = await (await desk.ask("POST", f"{path}/revoke")).get_json()
    assert (revoked["status"], revoked["revoked_utc"]) == ("revoked", "2025-10-09T08:53:20Z")
    assert await desk.names("/keys?status=revoked") == ["n"]
    assert [each.action for each in await desk.entries()] == ["key.create", "key.change", "key.revoke"]


async def test_a_rotated_key_goes_on_for_as_long_as_is_said(desk: Desk) -> None:
    made = await desk.made("/keys", {"name": "k", "group": "staff"})
    new = await desk.made(f"/keys/{made['id']}/rotate", {"overlap_seconds": 60})
    assert new["key"] != made["key"]
    old = await desk.shown(f"/keys/{made['id']}")
    assert (old["replaced_by"], old["expires_utc"]) == (new["id"], "2025-10-09T08:54:20Z")
    assert await desk.status("POST", f"/keys/{made['id']}/rotate", {}) == 409


async def test_a_key_that_was_never_used_can_be_deleted(desk: Desk) -> None:
    made = await desk.made("/keys", {"name": "k", "group": "staff"})
    assert await desk.status("DELETE", f"/keys/{made['id']}") == 204
    assert await desk.status("GET", f"/keys/{made['id']}") == 404


async def test_a_key_of_the_configuration_is_shown_and_changed_there(desk: Desk) -> None:
    shown = await desk.shown("/keys/c0ffeec0ffee")
    assert (shown["source"], shown["user"], shown["status"]) == ("configuration", "configured", "active")
    for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/revoke"), ("POST", "/rotate")):
        body = {"name": "x"} if method == "PATCH" else None
        assert await desk.status(method, f"/keys/c0ffeec0ffee{path}", body) == 409
    assert await desk.names("/keys?user=configured") == ["configured key"]
    assert await desk.names("/keys?status=expired&source=configuration") == []


async def test_an_answer_with_a_key_can_be_had_again(desk: Desk) -> None:
    body = {"name": "k", "group": "staff"}
    one = await (await desk.ask("POST", "/keys", body, Idempotency_Key="a")).get_json()
    two = await (await desk.ask("POST", "/keys", body, Idempotency_Key="a")).get_json()
    assert one == two
    assert len(await desk.names("/keys?source=managed")) == 1
