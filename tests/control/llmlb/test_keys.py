"""`/api-keys` and `/me/api-keys` as llmlb's programs ask."""

from typing import Any

import pytest
from sqlalchemy import insert

from mrproxy.storage.people.keys import find_key_by_key_id
from mrproxy.storage.people.values import ApiKey
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.control.llmlb.conftest import Desk
from tests.link.journal_examples import a_record


async def key_of(desk: Desk, key_id: str) -> ApiKey | None:
    return await desk.house.plane.store.read(lambda connection: find_key_by_key_id(connection, key_id))  # type: ignore[union-attr]


async def use(desk: Desk, key_id: str) -> None:
    async def write(connection: Any) -> None:
        row = row_of(a_record(key_id=key_id), 0.0)
        await connection.execute(insert(records), [dict(zip(COLUMNS, row, strict=True))])

    await desk.house.plane.store.transact(write)  # type: ignore[union-attr]


@pytest.mark.parametrize("base", ["/api-keys", "/me/api-keys"])
async def test_a_key_is_shown_once(desk: Desk, base: str) -> None:
    root = await desk.sign_in("root")
    wanted = {"name": "laptop", "expires_at": "2030-01-01T00:00:00+01:00", "permissions": ["openai.inference"]}
    made = await desk.made(base, wanted)
    key = made.pop("key")
    assert key.startswith(made["key_prefix"])
    assert len(made["key_prefix"]) == 10
    assert made["expires_at"] == "2029-12-31T23:00:00Z"
    assert made["scopes"] == made["permissions"] == ["openai.inference"]
    assert made["created_by"] == root.uuid
    listed = (await desk.shown(base))["api_keys"]
    assert made in listed
    assert key not in str(listed)
    found = await key_of(desk, made["id"])
    assert found is not None
    assert found.scopes == ("openai.inference",)


async def test_without_scopes_a_key_is_for_inference(desk: Desk) -> None:
    await desk.sign_in("root")
    assert (await desk.made("/api-keys", {"name": "oldest"}))["scopes"] == ["api"]
    both = await desk.made("/api-keys", {"name": "both", "scopes": ["api"], "permissions": ["api", "logs.read"]})
    assert both["permissions"] == ["api", "logs.read"]


async def test_name_and_expiry_can_be_changed(desk: Desk) -> None:
    await desk.sign_in("root")
    made = await desk.made("/api-keys", {"name": "laptop", "expires_at": "2030-01-01T00:00:00Z"})
    one = f"/api-keys/{made['id']}"
    changed = await desk.done("PUT", one, {"name": "desktop"})
    assert (changed["name"], changed["expires_at"]) == ("desktop", "2030-01-01T00:00:00Z")
    assert (await desk.done("PUT", one, {"name": "desktop", "expires_at": None}))["expires_at"] is None
    assert (await desk.done("PUT", one, {}))["name"] == "desktop"


async def test_a_name_is_taken_only_as_long_as_its_key_is_good(desk: Desk) -> None:
    await desk.sign_in("root")
    made = await desk.made("/api-keys", {"name": "laptop"})
    assert await desk.status("POST", "/api-keys", {"name": "laptop"}) == 409
    other = await desk.made("/api-keys", {"name": "desktop"})
    assert await desk.status("PUT", f"/api-keys/{other['id']}", {"name": "laptop"}) == 409
    await use(desk, made["id"])
    await desk.done("DELETE", f"/api-keys/{made['id']}")
    await desk.made("/api-keys", {"name": "laptop"})


async def test_a_key_that_was_used_stays_revoked(desk: Desk) -> None:
    await desk.sign_in("root")
    used, unused = [(await desk.made("/api-keys", {"name": name}))["id"] for name in ("used", "unused")]
    await use(desk, used)
    for key_id in (used, unused):
        await desk.done("DELETE", f"/api-keys/{key_id}")
        assert await desk.refused("DELETE", f"/api-keys/{key_id}") == (404, "API key not found")
        assert await desk.status("PUT", f"/api-keys/{key_id}", {"name": "x"}) == 404
    assert used not in str(await desk.shown("/api-keys"))
    found = await key_of(desk, used)
    assert found is not None
    assert found.revoked_utc is not None
    assert await key_of(desk, unused) is None


async def test_of_others_one_sees_nothing(desk: Desk) -> None:
    await desk.sign_in("root")
    made = await desk.made("/api-keys", {"name": "hers"})
    await desk.sign_in("bob", "other")
    assert (await desk.shown("/me/api-keys"))["api_keys"] == []
    for method in ("PUT", "DELETE"):
        assert await desk.status(method, f"/me/api-keys/{made['id']}", {"name": "mine"}) == 404
    own = await desk.made("/me/api-keys", {"name": "mine", "permissions": ["admin"]})
    assert [each["id"] for each in (await desk.shown("/me/api-keys"))["api_keys"]] == [own["id"]]
    changed = await desk.done("PUT", f"/me/api-keys/{own['id']}", {"expires_at": "2031-01-01T00:00:00Z"})
    assert changed["expires_at"] == "2031-01-01T00:00:00Z"
    await desk.done("DELETE", f"/me/api-keys/{own['id']}")


async def test_a_key_makes_no_key_that_may_more(desk: Desk) -> None:
    await desk.sign_in("root", scopes=("api_keys.manage",))
    assert (await desk.refused("POST", "/api-keys", {"name": "more", "scopes": ["admin"]}))[0] == 403
    assert (await desk.refused("POST", "/me/api-keys", {"name": "more", "scopes": ["api"]}))[0] == 403
    await desk.made("/api-keys", {"name": "same", "scopes": ["api_keys.manage"]})
    await desk.made("/api-keys", {"name": "to ask with", "scopes": ["api"]})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x", "expires_at": "tomorrow"}, 400),
        ({"name": "x", "expires_at": "2030-01-01T00:00:00"}, 400),
        ({"name": "x", "scopes": []}, 400),
        ({"name": "x", "scopes": ["unheard-of"]}, 400),
        ({"name": "x", "scopes": "api"}, 422),
        ({}, 422),
    ],
)
async def test_what_no_key_is_like(desk: Desk, body: object, status: int) -> None:
    await desk.sign_in("root")
    assert (await desk.refused("POST", "/api-keys", body))[0] == status


async def test_the_configured_are_shown_and_stay(desk: Desk) -> None:
    (listed,) = (await desk.shown("/api-keys"))["api_keys"]
    assert (listed["name"], listed["source"]) == ("configured key", "configuration")
    assert await desk.status("DELETE", f"/api-keys/{listed['id']}") == 409


async def test_who_is_no_user_has_no_keys(desk: Desk) -> None:
    assert await desk.status("POST", "/api-keys", {"name": "x"}) == 403
    assert await desk.status("GET", "/me/api-keys") == 403
