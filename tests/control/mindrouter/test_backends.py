"""Backends in MindRouter's words: registered, changed with explicit nulls, listed beside the configured ones."""

from mrproxy.control.mindrouter.values import configured_number
from mrproxy.control.reports import Silent

ONE = {"name": "ollama-gpu1", "url": "http://gpu1.example.com:11434", "engine": "ollama", "max_concurrent": 8}


async def test_a_backend_is_registered_as_the_curl_examples_do(desk):
    node = await desk.done("POST", "/nodes/register", {"name": "gpu-server-1", "hostname": "gpu1.example.com"})
    made = await desk.done("POST", "/backends/register", ONE | {"node_id": node["id"], "gpu_indices": [0, 1]})
    assert made == {
        "id": made["id"],
        "name": "ollama-gpu1",
        "url": "http://gpu1.example.com:11434",
        "engine": "ollama",
        "status": "unknown",
        "max_concurrent": 8,
        "current_concurrent": 0,
        "gpu_memory_gb": None,
        "gpu_type": None,
        "node_id": node["id"],
        "node_name": "gpu-server-1",
        "gpu_indices": [0, 1],
        "version": None,
        "last_health_check": None,
        "priority": 0,
        "source": "managed",
    }
    assert desk.house.published == 1
    listed = await desk.done("GET", "/backends")
    assert [each["name"] for each in listed] == ["ollama-gpu1", "gpu-a"]
    assert listed[0] == made
    assert (listed[1]["source"], listed[1]["status"], listed[1]["id"]) == (
        "configuration",
        "healthy",
        configured_number("gpu-a"),
    )
    assert "secret" not in str(listed)


async def test_slots_are_four_unless_said(desk):
    body = {name: value for name, value in ONE.items() if name != "max_concurrent"}
    assert (await desk.done("POST", "/backends/register", body))["max_concurrent"] == 4


async def test_a_name_or_url_that_is_taken_is_409_and_upsert_changes_what_is_named(desk):
    made = await desk.done("POST", "/backends/register", ONE | {"gpu_type": "H100"})
    assert (await desk.refused("POST", "/backends/register", ONE))[0] == 409
    assert (await desk.refused("POST", "/backends/register", ONE | {"name": "other"}))[0] == 409
    again = {"name": ONE["name"], "url": "http://gpu2:11434", "engine": "ollama", "upsert": True}
    after = await desk.done("POST", "/backends/register", again)
    assert (after["id"], after["url"], after["max_concurrent"], after["gpu_type"]) == (
        made["id"],
        "http://gpu2:11434",
        8,
        "H100",
    )


async def test_what_is_configured_is_not_changed_here(desk):
    number = configured_number("gpu-a")
    for method, path, body in (
        ("PATCH", f"/backends/{number}", {"max_concurrent": 1}),
        ("POST", f"/backends/{number}/disable", None),
        ("POST", "/backends/register", ONE | {"name": "gpu-a", "upsert": True}),
    ):
        status, detail = await desk.refused(method, path, body)
        assert (status, "configuration" in detail) == (409, True)


async def test_a_patch_changes_what_it_names_and_null_clears(desk):
    made = await desk.done("POST", "/backends/register", ONE | {"gpu_type": "H100", "gpu_memory_gb": 80})
    path = f"/backends/{made['id']}"
    after = await desk.done("PATCH", path, {"gpu_type": None, "priority": 3, "engine": "vllm"})
    assert (after["gpu_type"], after["gpu_memory_gb"], after["priority"], after["engine"]) == (None, 80.0, 3, "vllm")
    assert await desk.refused("PATCH", path, {}) == (400, "No fields to update")
    assert (await desk.refused("PATCH", path, {"name": None}))[0] == 422
    assert (await desk.refused("PATCH", path, {"node_id": 77}))[0] == 400
    assert await desk.refused("PATCH", "/backends/999", {"priority": 1}) == (404, "Backend not found")


async def test_an_engine_that_is_not_served_is_refused_and_says_which_are(desk):
    for engine in ("diffusion", "video", "tts", "stt", "dlp", "auto", "x"):
        status, detail = await desk.refused("POST", "/backends/register", ONE | {"engine": engine})
        assert (status, detail[0]["loc"]) == (422, ["body", "engine"])
        assert "ollama, vllm, llamacpp, openai, anthropic" in detail[0]["msg"]


async def test_a_backend_is_disabled_and_enabled(desk):
    number = (await desk.done("POST", "/backends/register", ONE))["id"]
    disabled = await desk.done("POST", f"/backends/{number}/disable")
    assert disabled == {"status": "disabled", "backend_id": number}
    assert (await desk.done("GET", "/backends"))[0]["status"] == "disabled"
    assert await desk.done("POST", f"/backends/{number}/enable") == {"status": "enabled", "backend_id": number}
    assert (await desk.done("GET", "/backends"))[0]["status"] == "unknown"


async def test_a_refresh_has_the_workers_look(desk):
    number = configured_number("gpu-a")
    assert await desk.done("POST", f"/backends/{number}/refresh") == {"status": "refreshed", "backend_id": number}
    assert desk.told == [("POST", "/backends/gpu-a/probe")]
    desk.answers = {"0": Silent("0", "answered with status 404")}
    assert (await desk.refused("POST", f"/backends/{number}/refresh"))[0] == 503
    status, detail = await desk.refused("POST", "/backends/x1/refresh")
    assert (status, detail[0]["loc"]) == (422, ["path", "backend_id"])
