"""Ollama's own SDK for Python through the front door."""

import json
from collections.abc import Iterator
from zlib import crc32

import httpx
import ollama
import pytest

from tests.front_door.conftest import EXPIRED_KEY, ONCE, House
from tests.front_door.gateway import MESSAGES, Gateway, mock_control

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

CHAT = {"model": "llama3.2", "messages": MESSAGES, "options": {"num_predict": 5}}


@pytest.fixture
def headers() -> httpx.Headers:
    """Those of the last answer; the SDK itself shows none."""
    return httpx.Headers()


@pytest.fixture
def client(gateway: Gateway, headers: httpx.Headers) -> Iterator[ollama.Client]:
    hooks = {"response": [lambda response: headers.update(response.headers)]}
    with gateway.open_ollama(event_hooks=hooks) as client:
        yield client


# Answers


def test_a_chat_is_answered_and_accounted_exactly(gateway: Gateway, client: ollama.Client, headers: httpx.Headers):
    answer = client.chat(**CHAT)
    assert answer.message.content.count("t") == 5
    assert (answer.done, answer.eval_count) == (True, 5)
    assert headers["x-mrproxy-backend"] == "mock-ollama"
    assert headers["server-timing"].startswith("queue;dur=")
    record = gateway.record_of(headers["x-request-id"])
    assert (record.dialect, record.operation, record.stream) == ("ollama", "chat", False)
    assert (record.usage_state, record.prompt_tokens, record.completion_tokens) == (
        "exact",
        answer.prompt_eval_count,
        5,
    )


def test_a_chat_streams_each_token(gateway: Gateway, client: ollama.Client, headers: httpx.Headers):
    parts = list(client.chat(**CHAT, stream=True))
    assert len([part for part in parts if part.message.content]) == 5
    assert (parts[-1].done, parts[-1].done_reason) == (True, "length")
    record = gateway.record_of(headers["x-request-id"])
    assert (record.stream, record.usage_state, record.completion_tokens) == (True, "exact", 5)


def test_a_text_is_generated(client: ollama.Client):
    answer = client.generate(model="llama3.2:latest", prompt="one", options={"num_predict": 4})
    assert answer.response.count("t") == 4
    assert answer.eval_count == 4


def test_a_text_is_generated_token_by_token(client: ollama.Client):
    parts = list(client.generate(model="llama3.2", prompt="one", options={"num_predict": 4}, stream=True))
    assert len([part for part in parts if part.response]) == 4


def test_embeddings_are_those_of_the_engine(
    house: House, gateway: Gateway, client: ollama.Client, headers: httpx.Headers
):
    answer = client.embed(model="llama3.2", input=["one", "two"])
    with ollama.Client(host=house.ollama_url, trust_env=False) as direct:
        assert direct.embed(model="llama3.2", input=["one", "two"]).embeddings == answer.embeddings
    record = gateway.record_of(headers["x-request-id"])
    assert (record.operation, record.prompt_tokens) == ("embed", answer.prompt_eval_count)
    assert client.embeddings(model="llama3.2", prompt="one").embedding == answer.embeddings[0]


def test_a_model_is_loaded_without_a_prompt(client: ollama.Client):
    assert client.generate(model="llama3.2").done_reason == "load"


def test_a_model_is_unloaded(client: ollama.Client):
    assert client.generate(model="llama3.2", keep_alive=0).done_reason == "unload"


def test_models_are_listed_shown_and_seen_running(gateway: Gateway, client: ollama.Client, headers: httpx.Headers):
    client.generate(model="llama3.2")
    listed = {model.model: model for model in client.list().models}
    assert sorted(listed) == ["asleep", "llama3.2:latest", "mock-8b", "org/model-7b", "scripted"]
    assert listed["llama3.2:latest"].details.quantization_level == "Q4_K_M"
    shown = client.show("llama3.2")
    assert shown.modelinfo["general.architecture"] == "llama"
    record = gateway.record_of(headers["x-request-id"])
    assert (record.operation, record.usage_state) == ("show", "absent")
    running = client.ps().models
    assert {model.model for model in running} <= {"llama3.2:latest"}


def test_the_version_is_the_backends(gateway: Gateway):
    assert gateway.ask("GET", "/api/version").json() == {"version": "0.13.0"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_greets_as_ollama_does(gateway: Gateway, method: str):
    answer = gateway.ask(method, "/", key="")
    assert (answer.status, answer.headers["content-length"]) == (200, "17")
    assert answer.body == (b"Ollama is running" if method == "GET" else b"")


async def test_the_async_sdk_streams_on_trio_as_well(gateway: Gateway):
    client = gateway.open_async_ollama()
    try:
        stream = await client.chat(**CHAT, stream=True)
        assert len([part async for part in stream if part.message.content]) == 5
        assert (await client.chat(**CHAT)).eval_count == 5
        assert "llama3.2:latest" in [model.model for model in (await client.list()).models]
    finally:
        await client.close()


def test_a_stream_has_the_fingerprint_of_what_the_engine_sent(house: House, gateway: Gateway):
    answer = gateway.ask("POST", "/api/chat", {**CHAT, "options": {"num_predict": 9}})
    sent = mock_control(house.ollama_url, "sent")
    assert [9, len(answer.body), crc32(answer.body)] in sent.values()
    assert len(answer.body.splitlines()) == 10


def test_the_callers_request_id_is_echoed_and_journalled(gateway: Gateway):
    answer = gateway.ask("POST", "/api/chat", CHAT, headers={"X-Request-Id": "ollama/1"})
    assert answer.headers["x-request-id"] == "ollama/1"
    assert gateway.record_of("ollama/1").status == 200


# Refusals


def test_400_is_the_sdks_response_error(client: ollama.Client, headers: httpx.Headers):
    with pytest.raises(ollama.ResponseError, match="invalid value for 'options") as caught:
        client._request_raw("POST", "/api/chat", json={**CHAT, "options": {"num_predict": "many"}})
    assert caught.value.status_code == 400
    assert headers["x-request-id"]


@pytest.mark.parametrize("key", ["mr_unknown", EXPIRED_KEY])
def test_401_is_the_sdks_response_error(gateway: Gateway, key: str):
    with gateway.open_ollama(key) as client, pytest.raises(ollama.ResponseError) as caught:
        client.chat(**CHAT)
    assert caught.value.status_code == 401


@pytest.mark.parametrize("streams", [False, True])
def test_404_is_the_sdks_response_error(client: ollama.Client, streams: bool):
    with pytest.raises(ollama.ResponseError, match="model 'no-such-model' not found") as caught:
        list(client.chat(model="no-such-model", messages=MESSAGES, stream=streams))
    assert caught.value.status_code == 404


def test_429_is_the_sdks_response_error_and_says_when_to_come_back(gateway: Gateway, headers: httpx.Headers):
    hooks = {"response": [lambda response: headers.update(response.headers)]}
    with gateway.open_ollama(ONCE[2], event_hooks=hooks) as client:
        assert list(client.chat(**CHAT, stream=True))
        with pytest.raises(ollama.ResponseError) as caught:
            list(client.chat(**CHAT, stream=True))
    assert caught.value.status_code == 429
    assert 1 <= int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-remaining-requests"] == "0"


def test_503_of_the_engine_is_the_sdks_response_error(gateway: Gateway):
    with gateway.open_ollama() as client:
        client._client.headers["x-mock-fault"] = "status_503"
        with pytest.raises(ollama.ResponseError, match="mock fault") as caught:
            client.chat(**CHAT)
    assert caught.value.status_code == 503


@pytest.mark.parametrize("path", ["/api/pull", "/api/delete"])
def test_housekeeping_of_models_is_refused(gateway: Gateway, path: str):
    answer = gateway.ask("POST" if path == "/api/pull" else "DELETE", path, {"model": "llama3.2"})
    assert answer.status == 501
    assert "not offered" in json.dumps(answer.json())


def test_a_stream_that_breaks_ends_in_the_sdks_error(gateway: Gateway):
    received = 0
    with gateway.open_ollama() as client:
        client._client.headers.update({"x-mock-fault": "reset_stream:3", "x-request-id": "ollama-broken"})
        with pytest.raises(ollama.ResponseError):
            for part in client.chat(**CHAT, stream=True):
                received += bool(part.message.content)
    assert received == 3
    record = gateway.record_of("ollama-broken")
    assert (record.code, record.usage_state, record.completion_tokens) == ("backend_failed", "partial", 3)
