"""Keys of all users in MindRouter's words."""

from mrproxy.control.mindrouter.values import configured_number
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from tests.link.journal_examples import a_record


async def a_key(desk, name="laptop") -> int:
    number = await desk.user(f"user-of-{name}")
    return int((await desk.done("POST", f"/users/{number}/api-keys", {"name": name}))["id"])


async def test_keys_are_listed_with_their_users_and_the_configured_ones_last(desk):
    number = await a_key(desk)
    found = await desk.done("GET", "/api-keys")
    assert (found["total"], found["skip"], found["limit"]) == (2, 0, 100)
    key, configured = found["api_keys"]
    assert (key["id"], key["username"], key["status"], key["usage_count"]) == (number, "user-of-laptop", "active", 0)
    assert (configured["name"], configured["id"]) == ("configured key", configured_number("c0ffeec0ffee"))
    assert [each["name"] for each in (await desk.done("GET", "/api-keys?search=LAP"))["api_keys"]] == ["laptop"]
    assert (await desk.done("GET", "/api-keys?status=expired"))["total"] == 0
    assert (await desk.refused("GET", "/api-keys?status=x"))[0] == 422
    assert [each["name"] for each in (await desk.done("GET", "/api-keys?skip=1&limit=1"))["api_keys"]] == [
        "configured key"
    ]


async def test_revoking_twice_is_as_good_as_once(desk):
    number = await a_key(desk)
    for _ in range(2):
        assert await desk.done("POST", f"/api-keys/{number}/revoke") == {"status": "revoked", "key_id": number}
    assert [each["id"] for each in (await desk.done("GET", "/api-keys?status=revoked"))["api_keys"]] == [number]


async def test_a_key_that_was_used_is_not_deleted(desk):
    number, unused = await a_key(desk), await a_key(desk, "unused")
    key_id = next(each["key_id"] for each in (await desk.done("GET", "/api-keys"))["api_keys"] if each["id"] == number)

    async def use(connection):
        await connection.execute(
            records.insert(), [dict(zip(COLUMNS, row_of(a_record(key_id=key_id), 0.0), strict=True))]
        )

    await desk.do(use)
    assert (await desk.refused("DELETE", f"/api-keys/{number}"))[0] == 409
    assert await desk.done("DELETE", f"/api-keys/{unused}") == {"status": "deleted", "key_id": unused}
    assert await desk.refused("DELETE", f"/api-keys/{unused}") == (404, "API key not found")
    assert (await desk.refused("DELETE", f"/api-keys/{configured_number('c0ffeec0ffee')}"))[0] == 409
