"""`/audit`."""

from sqlalchemy import update

from mrproxy.storage.audit import HEAD_NAME
from mrproxy.storage.schema_control import audit_log
from tests.control.admin.conftest import Desk


async def test_entries_are_found_the_newest_first(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada"})
    await desk.made("/groups", {"name": "lab"})
    entries = (await desk.shown("/audit"))["items"]
    assert [each["action"] for each in entries] == ["group.create", "user.create"]
    assert (entries[0]["before"], entries[0]["after"]["name"], entries[0]["actor"]) == (None, "lab", "local")
    assert await desk.names("/audit?entity_kind=user", "entity") == ["ada"]
    assert await desk.names("/audit?action=group.create&entity=lab", "id") == ["2"]
    assert await desk.names("/audit?actor=eve", "id") == []
    assert await desk.names("/audit?search=LAB", "id") == ["2"]
    assert await desk.names("/audit?since_utc=2025-10-09T08:53:21Z", "id") == []
    assert await desk.names("/audit?until_utc=2025-10-09T08:53:21Z", "id") == ["2", "1"]
    page = await desk.shown("/audit?limit=1")
    assert await desk.names(f"/audit?limit=1&cursor={page['next_cursor']}", "id") == ["1"]


async def test_one_entry_is_shown_by_its_number(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada"})
    assert (await desk.shown("/audit/1"))["entity"] == "ada"
    for number in ("2", "x", "9" * 40):
        assert await desk.status("GET", f"/audit/{number}") == 404


async def test_a_log_that_was_changed_is_found_out(desk: Desk) -> None:
    await desk.made("/users", {"name": "ada"})
    await desk.made("/users", {"name": "bob"})
    assert await desk.shown("/audit/verify") == {"is_whole": True, "count": 2, "first_bad_id": None, "reason": ""}

    async def forge(connection):
        await connection.execute(update(audit_log).where(audit_log.c.id == 2).values(actor="somebody else"))

    await desk.house.plane.store.transact(forge)
    found = await desk.shown("/audit/verify")
    assert (found["is_whole"], found["first_bad_id"]) == (False, "2")


async def test_a_head_that_cannot_be_read_is_no_whole_log(desk: Desk) -> None:
    (desk.house.plane.data_dir / HEAD_NAME).write_text("{")
    assert (await desk.shown("/audit/verify"))["is_whole"] is False


async def test_without_a_database_there_is_no_log(bare_desk: Desk) -> None:
    assert await bare_desk.status("GET", "/audit/verify") == 503
    assert await bare_desk.status("GET", "/audit") == 503
