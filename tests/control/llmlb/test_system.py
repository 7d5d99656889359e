"""`/version` and `/system`."""

from tests.control.llmlb.conftest import Desk


async def test_what_runs_is_said_and_nothing_that_is_not_so(bare_desk: Desk) -> None:
    assert await bare_desk.shown("/version") == {"version": "0.0.0"}
    assert await bare_desk.shown("/system") == {
        "version": "0.0.0",
        "in_flight": 2,
        "update": None,
        "schedule": None,
        "rollback_available": False,
    }
