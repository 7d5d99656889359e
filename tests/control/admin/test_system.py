"""`/status`, `/queue`, `/settings`."""

from mrproxy.config import Settings
from mrproxy.control.admin.system import queue_of, settings_shown
from mrproxy.control.api.actor import anonymous
from tests.control.admin.conftest import Desk


async def test_the_status_is_for_everybody(bare_desk: Desk) -> None:
    bare_desk.house.actor = anonymous("10.0.0.1", "r")
    assert (await bare_desk.shown("/status"))["in_flight"] == 2
    assert await bare_desk.status("GET", "/queue") == 401


async def test_who_waits_is_said_worker_by_worker(bare_desk: Desk) -> None:
    workers = (await bare_desk.shown("/queue"))["workers"]
    assert workers == [
        {"worker": "0", "flows": [{"flow": "user:ada"}], "error": None},
        {"worker": "1", "flows": [], "error": "no answer within 0.8 s"},
    ]
    assert bare_desk.told == [("GET", "/queue")]


def test_a_worker_that_talks_nonsense_is_said_to() -> None:
    assert (queue_of("0", b"[]").error or "").startswith("not understood")


def test_a_setting_says_where_it_comes_from_and_no_secret() -> None:
    settings = Settings(port=9, database_url="postgresql://me:secret@db/x")
    shown = {each.name: each for each in settings_shown(settings, {"MRPROXY_HOST": "0.0.0.0"})}
    sources = {name: shown[name].source for name in ("port", "host", "log_level", "database_url")}
    assert sources == {
        "port": "configured",
        "host": "environment",
        "log_level": "default",
        "database_url": "configured",
    }
    assert (shown["port"].value, shown["database_url"].value) == (9, None)
    assert "secret" not in str(shown)


async def test_settings_need_no_database(bare_desk: Desk) -> None:
    assert "port" in await bare_desk.names("/settings")
