"""The OpenAI SDK through the gateway to a real engine."""

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from bench.children import program, wait_until
from tests.real_engine.conftest import MODEL, Gateway, open_client

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(120)]

DEPARTURE = "Disconnected from client"  # what llama-cpp-python logs
MESSAGES = [{"role": "user", "content": "Say something."}]


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with gateway.open_client() as client:
        yield client


def journal(gateway: Gateway) -> list[dict[str, object]]:
    command = program("mrproxy", "journal", "cat", "--json", f"--data-dir={gateway.data_dir}")
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def last_record(gateway: Gateway, request_id: str) -> dict[str, object]:
    """The record of a request, which is written when its last byte has gone, or shortly after its client has."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for record in journal(gateway):
            if record["request_id"] == request_id:
                return record
    raise AssertionError(f"no record of {request_id} in {journal(gateway)}")


def test_the_engines_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_chat_is_answered_and_accounted_exactly(gateway: Gateway, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES, max_tokens=12)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 12
    assert raw.headers["x-mrproxy-backend"] == "engine-a"
    record = last_record(gateway, raw.headers["x-request-id"])
    assert (record["status"], record["usage_state"], record["completion_tokens"]) == (200, "exact", 12)
    assert record["prompt_tokens"] == answer.usage.prompt_tokens


def test_a_chat_streams_token_by_token(gateway: Gateway, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES, max_tokens=50, stream=True)
    chunks = list(raw.parse())
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) == 50
    assert chunks[-1].choices[0].finish_reason == "length"
    record = last_record(gateway, raw.headers["x-request-id"])
    assert (record["status"], record["stream"], record["code"]) == (200, True, "")
    assert record["completion_tokens"] != 0


def test_completions_stream_what_the_engine_says_without_a_gateway(gateway: Gateway, client: openai.OpenAI) -> None:
    asked = {"model": MODEL, "prompt": "one", "max_tokens": 30, "seed": 3, "temperature": 0, "stream": True}
    through = "".join(chunk.choices[0].text for chunk in client.completions.create(**asked) if chunk.choices)
    with open_client(gateway.engines[0].url) as engine:
        direct = "".join(chunk.choices[0].text for chunk in engine.completions.create(**asked) if chunk.choices)
    assert through == direct
    assert through.strip()


def test_a_completion_without_a_stream_is_answered(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="one", max_tokens=5)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def test_an_unknown_model_is_the_sdks_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)


def test_what_the_engine_refuses_is_the_sdks_error_with_the_engines_words(client: openai.OpenAI) -> None:
    # llama-cpp-python 0.3 says 500 for a wrong value, and why; its status and its words are passed on.
    with pytest.raises(openai.InternalServerError, match="Input should be less than or equal to 1"):
        client.chat.completions.create(model=MODEL, messages=MESSAGES, top_p=7, max_tokens=1)


def test_a_wrong_key_is_the_sdks_authentication_error(gateway: Gateway) -> None:
    with gateway.open_client() as client, pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="mr_wrong").models.list()


def test_an_engine_that_is_busy_for_long_is_not_taken_for_dead(gateway: Gateway, client: openai.OpenAI) -> None:
    """While it streams, this engine answers no `/v1/models`: two probes fail, and the next request must still wait."""
    with ThreadPoolExecutor(1) as pool:
        chunks = client.completions.create(model=MODEL, prompt="one", max_tokens=14000, stream=True)
        began = time.monotonic()
        next(chunks)
        waiting = pool.submit(client.completions.create, model=MODEL, prompt="two", max_tokens=3)
        for _ in chunks:
            if time.monotonic() - began > 12:
                break
        states = httpx.get(f"{gateway.url}/status", trust_env=False).json()["backends"]
        chunks.close()
        assert waiting.result().usage.completion_tokens == 3
    assert [backend["state"] for backend in states] == ["routable"]


def test_the_engine_stops_when_the_client_leaves_mid_stream(gateway: Gateway, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=MESSAGES, max_tokens=12000, stream=True
    )
    stream = raw.parse()
    received = 0
    for chunk in stream:
        received += bool(chunk.choices and chunk.choices[0].delta.content)
        if received == 5:
            break
    engine = gateway.engines[0].child
    departures = engine.output().count(DEPARTURE)
    stream.close()
    wait_until(engine, lambda: engine.output().count(DEPARTURE) > departures, seconds=5, what="it logs no departure")
    record = last_record(gateway, raw.headers["x-request-id"])
    assert record["usage_state"] == "partial"
    assert isinstance(record["completion_tokens"], int)
    assert 5 <= record["completion_tokens"] < 12000
    # The engine works at one request at a time: an answer now proves that it really stopped.
    assert client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=3).choices
