"""Lists, versions and greetings come from what probes know: merged, filtered by key, and without asking a backend."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mrproxy.config import Key
from tests.fakes.caller import Answer, request
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.loop_engine import FakeEngine, run_engine

pytestmark = pytest.mark.slow

NARROW = "key-of-one-model"


@asynccontextmanager
async def three_engines(directory: Path) -> AsyncIterator[tuple[Gateway, list[FakeEngine]]]:
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(run_engine("a", "vllm", ["shared", "org/own"])),
            await stack.enter_async_context(run_engine("b", "vllm", ["shared"])),
            await stack.enter_async_context(run_engine("c", "ollama", ["llama:latest", "shared"])),
        ]
        keys = (Key(name="narrow", key=NARROW, models=("shared",)),)
        yield await stack.enter_async_context(run_gateway(directory, *engines, keys=keys)), engines


async def get(gateway: Gateway, path: str, *lines: str, method: str = "GET", key: str | None = None) -> Answer:
    caller = await gateway.connect()
    asked = request(path, b"", *lines, method=method, key=key) if key else request(path, b"", *lines, method=method)
    await caller.send(asked)
    return await caller.read_answer(has_body=method != "HEAD")


async def test_a_model_of_several_backends_is_listed_once_in_each_dialect(tmp_path):
    async with three_engines(tmp_path) as (gateway, _):
        openai = (await get(gateway, "/v1/models")).json["data"]
        assert [model["id"] for model in openai] == ["llama:latest", "org/own", "shared"]
        ollama = (await get(gateway, "/api/tags")).json["models"]
        assert [model["name"] for model in ollama] == ["llama:latest", "org/own", "shared"]
        running = (await get(gateway, "/api/ps")).json["models"]
        assert sorted(model["name"] for model in running) == ["llama:latest", "shared"]


async def test_a_list_asks_no_backend(tmp_path):
    async with three_engines(tmp_path) as (gateway, engines):
        before = [dict(engine.probes) for engine in engines]
        for path in ("/v1/models", "/api/tags", "/api/ps", "/api/version", "/"):
            assert (await get(gateway, path)).status == 200
        assert [engine.probes for engine in engines] == before
        assert all(not engine.turns for engine in engines)


async def test_a_key_sees_the_models_it_may_use_and_no_others(tmp_path):
    async with three_engines(tmp_path) as (gateway, _):
        for path, field in (("/v1/models", "data"), ("/api/tags", "models"), ("/api/ps", "models")):
            listed = (await get(gateway, path, key=NARROW)).json[field]
            assert [model.get("id") or model["name"] for model in listed] == ["shared"]
        assert (await get(gateway, "/v1/models/org/own", key=NARROW)).status == 404


@pytest.mark.parametrize("path", ["/v1/models/org/own", "/v1/models/org%2Fown"])
async def test_an_id_with_a_slash_may_be_escaped_or_not(tmp_path, path):
    async with three_engines(tmp_path) as (gateway, _):
        assert (await get(gateway, path)).json["id"] == "org/own"


async def test_ollamas_short_name_is_the_latest(tmp_path):
    async with three_engines(tmp_path) as (gateway, _):
        assert (await get(gateway, "/v1/models/llama")).json["id"] == "llama:latest"


async def test_an_unknown_model_is_404(tmp_path):
    async with three_engines(tmp_path) as (gateway, _):
        answer = await get(gateway, "/v1/models/no/such")
        assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")


async def test_lists_need_a_key_and_greetings_do_not(tmp_path):
    async with three_engines(tmp_path) as (gateway, _):
        statuses = {
            path: (await get(gateway, path, key="wrong")).status for path in ("/v1/models", "/api/tags", "/api/ps")
        }
        assert set(statuses.values()) == {401}
        assert (await get(gateway, "/", key="wrong")).payload == b"Ollama is running"
        assert (await get(gateway, "/api/version", key="wrong")).json == {"version": "0.12.0"}


async def test_head_tells_the_length_of_what_it_does_not_send(tmp_path):
    async with three_engines(tmp_path) as (gateway, _):
        whole, bare = await get(gateway, "/v1/models"), await get(gateway, "/v1/models", method="HEAD")
        assert bare.headers["content-length"] == str(len(whole.payload))


async def test_options_says_what_is_allowed_and_grants_it_to_browsers(tmp_path):
    async with three_engines(tmp_path) as (gateway, _):
        plain = await get(gateway, "/api/chat", method="OPTIONS", key="wrong")
        assert (plain.status, plain.headers["allow"]) == (204, "POST, OPTIONS")
        asked = ("Origin: https://a.example", "Access-Control-Request-Headers: x-own")
        browser = await get(gateway, "/api/chat", *asked, method="OPTIONS")
        assert browser.headers["access-control-allow-headers"] == "x-own"
        assert browser.headers["access-control-allow-methods"] == "POST, OPTIONS"


async def test_lists_are_not_journalled(tmp_path):
    async with three_engines(tmp_path) as (gateway, _):
        await get(gateway, "/v1/models")
        assert gateway.records() == []
