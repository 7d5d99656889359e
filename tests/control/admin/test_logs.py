"""`/logs`: what the processes said, for those who may."""

import msgspec
import pytest

from mrproxy.control.admin.logs import ENDPOINTS
from mrproxy.control.api.actor import owner
from mrproxy.control.api.endpoint import Api
from mrproxy.telemetry.log_file import LogFile
from tests.control.admin.test_records import auditor, member
from tests.control.api.conftest import House, home

__all__ = ["home"]


def filled(house: House, actor=None):
    house.actor = actor or owner("r")
    for component, second, level in (("control", 1, "info"), ("worker w1", 2, "error"), ("control", 3, "warning")):
        entry = {"at": f"2026-01-01T00:00:0{second}.000Z", "level": level, "component": component, "event": "e"}
        file = LogFile(house.plane.data_dir / "logs", component, 1 << 20)
        file.append(msgspec.json.encode(entry | {"number": second}) + b"\n")
        file.close()
    return house.serve(Api("/a", ENDPOINTS))


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [1, 2, 3]),
        ("limit=2", [2, 3]),
        ("level=warning", [2, 3]),
        ("component=worker%20w1", [2]),
        ("since=2026-01-01T02:00:02%2B02:00", [2, 3]),
        ("text=ERROR", [2]),
    ],
)
async def test_the_newest_that_are_wanted_oldest_first(home, query, numbers):
    answer = await filled(home).get(f"/a/logs?{query}")
    assert answer.status_code == 200
    assert [entry["number"] for entry in (await answer.get_json())["entries"]] == numbers


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "level=loud", "since=yesterday", "path=/etc/passwd"])
async def test_a_query_that_is_none_is_refused(home, query):
    assert (await filled(home).get(f"/a/logs?{query}")).status_code in (400, 422)


async def test_auditors_read_it_and_members_do_not(home):
    assert (await filled(home, auditor()).get("/a/logs")).status_code == 200
    assert (await filled(home, member()).get("/a/logs")).status_code == 403
