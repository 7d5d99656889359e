"""The endpoints around pulls: who is an Ollama, what is written down, who is told."""

import pytest
import trio

from mrproxy.control.mindrouter.values import configured_number
from mrproxy.storage.audit import AuditFilter, list_entries

BODY = {"model": "llama3.2"}


@pytest.fixture
async def number(desk) -> int:
    """Of an Ollama where nobody listens."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    body = {"name": "o", "url": f"http://127.0.0.1:{port}", "engine": "ollama", "api_key": "sk-secret"}
    return int((await desk.done("POST", "/backends/register", body))["id"])


async def test_a_pull_is_a_job_that_can_be_looked_at(desk, number):
    started = await desk.done("POST", f"/backends/{number}/ollama/pull", BODY)
    assert started["status"] == "pulling"
    job = await desk.done("GET", f"/backends/{number}/ollama/pull/{started['job_id']}")
    assert (job["model"], job["status"], job["completed_at"]) == ("llama3.2", "pulling", None)
    assert "sk-secret" not in str(job)
    assert await desk.refused("GET", f"/backends/99/ollama/pull/{started['job_id']}") == (404, "Pull job not found")

    async def entries(connection):
        return (await list_entries(connection, AuditFilter(action="ollama.pull"))).rows

    (entry,) = await desk.do(entries)
    assert (entry.entity, entry.after) == ("o", BODY)


async def test_a_model_is_not_deleted_where_nobody_answers(desk, number):
    status, detail = await desk.refused("POST", f"/backends/{number}/ollama/delete", BODY)
    assert (status, detail) == (502, "Ollama cannot be reached (ConnectError)")
    assert desk.told == []


async def test_only_an_ollama_pulls(desk):
    number = configured_number("gpu-a")
    for verb in ("pull", "delete"):
        path = f"/backends/{number}/ollama/{verb}"
        assert await desk.refused("POST", path, BODY) == (400, "Backend is not an Ollama engine")
        assert await desk.refused("POST", f"/backends/99/ollama/{verb}", BODY) == (404, "Backend not found")
        assert (await desk.refused("POST", path, {"model": ""}))[0] == 422
