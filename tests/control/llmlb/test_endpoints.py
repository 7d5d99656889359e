"""`/endpoints` as llmlb's programs ask."""

from typing import Any

import pytest

from mrproxy.control.llmlb import endpoints
from mrproxy.control.llmlb.knowing import id_of
from mrproxy.control.llmlb.looking import Look
from mrproxy.storage.backends import find_backend_by_name
from mrproxy.upstream.probing import ModelInfo, ProbeError, ProbeResult
from tests.control.llmlb.conftest import Desk

# No test asks anybody: what a look finds is said here, and how it looks is asked in test_looking.py.
FOUND = ProbeResult("ollama", (ModelInfo("llama3.2", b"{}", 8192), ModelInfo("nomic-embed", b"{}")), frozenset())
A = {"name": "Ollama Server A", "base_url": "http://192.168.1.100:11434"}


class Sight:
    """What is seen; `asked` remembers where somebody looked."""

    def __init__(self) -> None:
        self.found: ProbeResult | ProbeError = FOUND
        self.has_answer = True
        self.asked: list[tuple[object, ...]] = []

    async def look_at_known(self, call: object, known: Any) -> Look:
        self.asked.append((known.name,))
        return Look(self.found, 12.5, self.has_answer)

    async def kind_of(self, *args: object) -> str:
        self.asked.append(args)
        return "auto" if isinstance(self.found, ProbeError) else self.found.kind


@pytest.fixture
def sight(monkeypatch: pytest.MonkeyPatch) -> Sight:
    sight = Sight()
    monkeypatch.setattr(endpoints, "look_at_known", sight.look_at_known)
    monkeypatch.setattr(endpoints, "kind_of", sight.kind_of)
    return sight


async def test_an_endpoint_is_registered_with_the_type_that_was_found(desk: Desk, sight: Sight) -> None:
    made = await desk.made("/endpoints", A | {"api_key": "sk-1", "notes": "n", "capabilities": ["embeddings"]})
    assert sight.asked == [("http://192.168.1.100:11434", "sk-1")]
    assert (made["name"], made["status"], made["endpoint_type"]) == ("Ollama Server A", "pending", "ollama")
    assert (made["notes"], made["capabilities"], made["model_count"]) == ("n", ["embeddings"], 0)
    assert "sk-1" not in str(made)
    one = await desk.shown(f"/endpoints/{made['id']}")
    assert one == made | {"models": []}
    assert (await desk.shown(f"/endpoints/{made['id']}/models")) == {"endpoint_id": made["id"], "models": []}


async def test_what_does_not_answer_is_registered_as_well(desk: Desk, sight: Sight) -> None:
    sight.found = ProbeError("connection refused")
    made = await desk.made("/endpoints", A)
    assert (made["status"], made["endpoint_type"]) == ("pending", "unknown")


async def test_lists_are_narrowed_by_status_and_type(desk: Desk, sight: Sight) -> None:
    made = await desk.made("/endpoints", A)
    everything = await desk.shown("/endpoints")
    assert everything["total"] == len(everything["endpoints"]) == 2
    assert [each["id"] for each in (await desk.shown("/endpoints?status=pending"))["endpoints"]] == [made["id"]]
    assert [each["name"] for each in (await desk.shown("/endpoints?type=vllm"))["endpoints"]] == ["gpu-a"]
    assert (await desk.shown("/endpoints?status=error"))["total"] == 0


async def test_what_is_not_named_stays(desk: Desk, sight: Sight) -> None:
    made = await desk.made("/endpoints", A | {"notes": "n", "health_check_interval_secs": 10})
    one = f"/endpoints/{made['id']}"
    sight.asked.clear()
    changed = await desk.done("PUT", one, {"name": "B", "inference_timeout_secs": 7})
    assert (changed["name"], changed["notes"], changed["health_check_interval_secs"]) == ("B", "n", 10)
    assert (changed["inference_timeout_secs"], sight.asked) == (7, [])
    assert (await desk.done("PUT", one, {"notes": None}))["notes"] is None
    assert await desk.done("PUT", one, {"base_url": made["base_url"]}) == await desk.done("PUT", one, {})
    sight.found = ProbeResult("vllm", (), frozenset())
    moved = await desk.done("PUT", one, {"base_url": "http://192.168.1.101:8000/"})
    assert (moved["base_url"], moved["endpoint_type"]) == ("http://192.168.1.101:8000", "vllm")
    await desk.done("DELETE", one)
    assert await desk.refused("DELETE", one) == (404, "Endpoint not found")


async def test_a_key_is_kept_until_it_is_taken_away(desk: Desk, sight: Sight) -> None:
    made = await desk.made("/endpoints", A | {"api_key": "sk-1"})
    store = desk.house.plane.store
    assert store is not None
    for body, has_api_key in (({"name": "B"}, True), ({"api_key": None}, True), ({"api_key": ""}, False)):
        await desk.done("PUT", f"/endpoints/{made['id']}", body)
        found = await store.read(lambda connection: find_backend_by_name(connection, "B"))
        assert found is not None
        assert found.has_api_key is has_api_key


async def test_a_test_says_what_was_found_and_lets_the_workers_look(desk: Desk, sight: Sight) -> None:
    path = f"/endpoints/{id_of('gpu-a')}/test"
    assert await desk.done("POST", path) == {
        "success": True,
        "latency_ms": 12.5,
        "error": None,
        "models_found": ["llama3.2", "nomic-embed"],
        "endpoint_info": {"model_count": 2},
    }
    assert desk.told == [("POST", "/backends/gpu-a/probe")]
    sight.found, sight.has_answer = ProbeError("connection refused"), False
    failed = await desk.done("POST", path)
    assert (failed["success"], failed["error"], failed["latency_ms"]) == (False, "connection refused", None)
    assert (failed["models_found"], failed["endpoint_info"]) == ([], None)


async def test_a_sync_says_what_is_new(desk: Desk, sight: Sight) -> None:
    sight.found = ProbeResult("vllm", (ModelInfo("m1", b"{}", 4096), ModelInfo("m9-embed", b"{}")), frozenset())
    synced = await desk.done("POST", "/endpoints/gpu-a/sync")
    assert (synced["added"], synced["removed"], synced["updated"]) == (1, 1, 1)
    first, second = synced["synced_models"]
    assert (first["model_id"], first["max_tokens"], first["capabilities"]) == ("m1", 4096, ["chat"])
    assert (second["capabilities"], second["last_checked"]) == (["embeddings"], "2025-10-09T08:53:20Z")


@pytest.mark.parametrize(("has_answer", "status"), [(True, 502), (False, 503)])
async def test_a_sync_with_nobody_fails(desk: Desk, sight: Sight, has_answer: bool, status: int) -> None:
    sight.found, sight.has_answer = ProbeError("HTTP 500"), has_answer
    assert await desk.refused("POST", "/endpoints/gpu-a/sync") == (status, "Failed to sync models: HTTP 500")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (A | {"name": " "}, 400),
        (A | {"name": "taken"}, 400),
        (A | {"name": "gpu-a"}, 409),
        (A | {"base_url": "http://taken:1/"}, 409),
        (A | {"base_url": "ftp://x"}, 400),
        (A | {"base_url": "http://u:p@x"}, 400),
        (A | {"health_check_interval_secs": 9}, 400),
        (A | {"health_check_interval_secs": 301}, 400),
        (A | {"inference_timeout_secs": 0}, 400),
        (A | {"api_key": "two words"}, 400),
        (A | {"capabilities": ["flying"]}, 422),
        ({"name": "A"}, 422),
    ],
)
async def test_what_no_endpoint_is_like(desk: Desk, sight: Sight, body: object, status: int) -> None:
    await desk.made("/endpoints", {"name": "taken", "base_url": "http://taken:1"})
    assert (await desk.refused("POST", "/endpoints", body))[0] == status


async def test_the_configured_are_shown_and_stay(desk: Desk, sight: Sight) -> None:
    one = await desk.shown(f"/endpoints/{id_of('gpu-a')}")
    assert (one["name"], one["status"], one["source"]) == ("gpu-a", "online", "configuration")
    assert "secret" not in str(one)
    for method in ("PUT", "DELETE"):
        assert await desk.status(method, f"/endpoints/{one['id']}", {"name": "x"}) == 409


async def test_the_configured_are_shown_without_a_database(bare_desk: Desk) -> None:
    assert (await bare_desk.shown("/endpoints"))["total"] == 1
