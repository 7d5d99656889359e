"""`/dashboard/audit-logs`."""

import pytest
from sqlalchemy import update

from mrproxy.storage.schema_control import audit_log
from tests.control.llmlb.conftest import Desk

ALL = "/dashboard/audit-logs"


async def test_entries_are_actions(desk: Desk) -> None:
    root = await desk.sign_in("root")
    for name in ("bob", "eve", "joe"):
        await desk.made("/users", {"username": name})
    page = await desk.shown(f"{ALL}?per_page=2&page=1")
    assert (page["total"], page["page"], page["per_page"]) == (3, 1, 2)
    newest = page["items"][0]
    assert (newest["action"], newest["entity"], newest["actor_type"], newest["actor_username"]) == (
        "user.create",
        "joe",
        "user",
        root.name,
    )
    assert newest["http_method"] is newest["status_code"] is None
    assert [each["entity"] for each in (await desk.shown(f"{ALL}?per_page=2&page=2"))["items"]] == ["bob"]
    assert (await desk.shown(f"{ALL}?search=eve"))["total"] == 1
    assert (await desk.shown(f"{ALL}?actor_type=api_key"))["total"] == 0
    assert (await desk.shown(f"{ALL}?actor_type=user&actor_id=root"))["total"] == 3
    assert (await desk.shown(f"{ALL}?time_to=2025-01-01T00:00:00Z"))["total"] == 0


async def test_keys_are_called_api_keys(desk: Desk) -> None:
    await desk.sign_in("root", scopes=("admin",))
    await desk.made("/users", {"username": "bob"})
    assert [each["actor_type"] for each in (await desk.shown(f"{ALL}?actor_type=api_key"))["items"]] == ["api_key"]
    assert await desk.shown(f"{ALL}/stats") == {
        "total_entries": 1,
        "by_method": [],
        "by_actor_type": [{"actor_type": "api_key", "count": 1}],
        "by_action": [{"action": "user.create", "count": 1}],
        "last_24h": 1,
    }


async def test_what_was_changed_afterwards_is_found(desk: Desk) -> None:
    for name in ("bob", "eve"):
        await desk.made("/users", {"username": name})
    whole = await desk.done("POST", f"{ALL}/verify")
    assert (whole["valid"], whole["batches_checked"], whole["tampered_batch"]) == (True, 2, None)

    async def tamper(connection) -> None:
        await connection.execute(update(audit_log).where(audit_log.c.id == 2).values(entity="nobody"))

    await desk.house.plane.store.transact(tamper)  # type: ignore[union-attr]
    broken = await desk.done("POST", f"{ALL}/verify")
    assert (broken["valid"], broken["tampered_batch"]) == (False, 2)
    assert "changed" in broken["message"]


@pytest.mark.parametrize("query", ["http_method=GET", "status_code=200", "ip=127", "time_from=x"])
async def test_what_is_not_written_cannot_be_asked_for(desk: Desk, query: str) -> None:
    assert (await desk.refused("GET", f"{ALL}?{query}"))[0] == 400


async def test_a_page_that_cannot_be_is_another(desk: Desk) -> None:
    for query in ("page=0", "page=-1", f"page={10**30}", "per_page=0", f"per_page={10**30}"):
        assert (await desk.shown(f"{ALL}?{query}"))["items"] == []
