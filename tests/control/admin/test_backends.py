"""`/backends`."""

from sqlalchemy import select

from mrproxy.storage.schema_control import backends
from tests.control.admin.conftest import Desk

URL = "http://127.0.0.1:9100"


async def test_a_backend_is_added_shown_changed_and_removed(desk: Desk) -> None:
    made = await desk.made("/backends", {"url": URL, "kind": "vllm", "name": "new", "api_key": "sk-hidden"})
    assert (made["source"], made["has_api_key"], made["is_enabled"], made["live"]) == ("managed", True, True, None)
    changed = await (await desk.ask("PATCH", "/backends/new", {"max_concurrent": 8, "api_key": None})).get_json()
    assert (changed["max_concurrent"], changed["has_api_key"], changed["version"]) == (8, False, 2)
    assert (await desk.shown(f"/backends/{made['id']}"))["name"] == "new"
    assert await desk.status("DELETE", "/backends/new") == 204
    assert await desk.status("GET", "/backends/new") == 404
    assert "sk-hidden" not in str(await desk.entries())


async def test_the_key_of_a_backend_is_stored_sealed(desk: Desk) -> None:
    await desk.made("/backends", {"url": URL, "kind": "openai", "name": "new", "api_key": "sk-hidden"})

    async def stored(connection):
        return (await connection.execute(select(backends.c.api_key_encrypted))).scalar_one()

    assert "sk-hidden" not in await desk.house.plane.store.read(stored)


async def test_a_backend_is_taken_out_of_use_and_back(desk: Desk) -> None:
    await desk.made("/backends", {"url": URL, "kind": "vllm", "name": "new"})
    assert (await (await desk.ask("POST", "/backends/new/disable")).get_json())["is_enabled"] is False
    assert await desk.names("/backends?is_enabled=false") == ["new"]
    assert (await (await desk.ask("POST", "/backends/new/enable")).get_json())["is_enabled"] is True
    actions = [each.action for each in await desk.entries()]
    assert actions == ["backend.create", "backend.disable", "backend.enable"]


async def test_lists_have_both_and_what_the_workers_see(desk: Desk) -> None:
    await desk.made("/backends", {"url": URL, "kind": "ollama", "name": "gpu-b"})
    first, second = (await desk.shown("/backends"))["items"]
    assert (first["name"], first["source"], first["live"]["state"]) == ("gpu-a", "configuration", "routable")
    assert (second["name"], second["source"], second["live"]["state"]) == ("gpu-b", "managed", "down")
    assert second["live"]["last_probe_error"] == "connection refused"
    assert await desk.names("/backends?kind=ollama") == ["gpu-b"]
    assert await desk.names("/backends?search=GPU-A") == ["gpu-a"]


async def test_no_password_of_a_url_is_shown(desk: Desk) -> None:
    shown = await desk.shown("/backends/gpu-a")
    assert (shown["url"], shown["has_api_key"]) == ("http://127.0.0.1:9001", True)
    assert "secret" not in str(shown)


async def test_a_backend_of_the_configuration_is_changed_there(desk: Desk) -> None:
    for method, path, body in (
        ("PATCH", "", {"notes": "x"}),
        ("DELETE", "", None),
        ("POST", "/enable", None),
        ("POST", "/disable", None),
    ):
        assert await desk.status(method, f"/backends/gpu-a{path}", body) == 409
    assert await desk.status("POST", "/backends", {"url": URL, "kind": "vllm", "name": "gpu-a"}) == 409


async def test_draining_is_told_to_every_worker(desk: Desk) -> None:
    response = await desk.ask("POST", "/backends/gpu-a/drain")
    assert await response.get_json() == {"name": "gpu-a", "workers": {"0": "ok", "1": "no answer within 0.8 s"}}
    await desk.ask("POST", "/backends/gpu-a/undrain")
    assert desk.told == [("POST", "/backends/gpu-a/drain"), ("POST", "/backends/gpu-a/undrain")]
    assert [each.action for each in await desk.entries()] == ["backend.drain", "backend.undrain"]
    assert await desk.status("POST", "/backends/none/drain") == 404


async def test_draining_needs_no_database(bare_desk: Desk) -> None:
    assert await bare_desk.status("POST", "/backends/gpu-b/drain") == 200
    assert await bare_desk.names("/backends") == ["gpu-a"]
    assert await bare_desk.status("DELETE", "/backends/new") == 503


async def test_what_a_backend_cannot_be(desk: Desk) -> None:
    for wrong in ({"url": "ftp://x"}, {"url": URL, "kind": "none"}, {"url": URL, "max_concurrent": 0}, {}):
        assert await desk.status("POST", "/backends", wrong) == 422
    await desk.made("/backends", {"url": URL, "kind": "vllm", "name": "new"})
    assert await desk.status("POST", "/backends", {"url": URL, "kind": "vllm", "name": "other"}) == 409
