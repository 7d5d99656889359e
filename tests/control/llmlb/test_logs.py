"""`/dashboard/logs/…`."""

import json

import pytest

from tests.control.llmlb.conftest import Desk


@pytest.mark.parametrize(("name", "source"), [("router", "router"), ("lb", "load balancer")])
async def test_what_was_logged_is_shown(desk: Desk, name: str, source: str) -> None:
    directory = desk.house.plane.data_dir / "logs"
    directory.mkdir()
    lines = [
        {
            "at": f"2025-10-09T08:00:0{number}Z",
            "level": "info",
            "component": "control",
            "event": "ready",
            "port": number,
        }
        for number in range(3)
    ]
    (directory / "control.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = await desk.shown(f"/dashboard/logs/{name}?limit=2")
    assert (shown["source"], shown["path"]) == (source, str(directory))
    assert shown["entries"][-1] == {
        "timestamp": "2025-10-09T08:00:02Z",
        "level": "info",
        "target": "control",
        "message": "ready",
        "fields": {"port": 2},
        "file": None,
        "line": None,
    }
    for limit, count in ((0, 1), (-3, 1), (10**30, 3)):
        assert len((await desk.shown(f"/dashboard/logs/{name}?limit={limit}"))["entries"]) == count
