"""SIGTERM: what runs is finished, and what cannot be finished in time ends with an error in its own dialect."""

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import ollama
import openai
import pytest

from mrproxy.link.records import JournalRecord
from tests.front_door.gateway import (
    KEY,
    MESSAGES,
    Gateway,
    backend_table,
    count_tokens,
    eventually,
    key_table,
    run_gateway,
    run_mock,
)

pytestmark = pytest.mark.slow

CHAT = {"model": "mock-8b", "messages": MESSAGES}
LONG = {**CHAT, "max_tokens": 5000, "stream": True}
Start = Callable[[float], AbstractContextManager[Gateway]]


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two engines; one of them has a second name with a single slot."""
    directory = tmp_path_factory.mktemp("engines")
    with ExitStack() as stack:
        both = ("--model=mock-8b", "--model=single", "--itl-ms=5")
        vllm = stack.enter_context(run_mock("vllm", directory, *both))
        native = stack.enter_context(run_mock("ollama", directory, "--model=llama3.2", "--itl-ms=5", "--load-ms=1"))
        tables = backend_table("mock-vllm", "vllm", vllm, models=["mock-8b"])
        tables += backend_table("single", "vllm", vllm, models=["single"], max_concurrent=1)
        yield tables + backend_table("mock-ollama", "ollama", native)


@pytest.fixture
def start(backends: str, tmp_path: Path) -> Start:
    """A gateway with so many seconds to drain."""

    @contextmanager
    def start(drain_seconds: float) -> Iterator[Gateway]:
        config = f"drain_seconds = {drain_seconds}\n{backends}{key_table(KEY, 'ada')}"
        with run_gateway(tmp_path / "gateway", config) as gateway:
            yield gateway

    return start


def terminate(gateway: Gateway) -> None:
    gateway.child.process.send_signal(signal.SIGTERM)


def the_end(gateway: Gateway) -> int:
    """The exit code; it must come by itself."""
    return gateway.child.process.wait(15)


def records_by_id(gateway: Gateway) -> dict[str, JournalRecord]:
    return {record.request_id: record for record in gateway.records()}


def gateway_is_busy(gateway: Gateway, requests: int) -> None:
    def holds() -> bool | None:
        status = gateway.ask("GET", "/status").json()
        return status["in_flight"] + status["waiting"] == requests or None

    eventually(holds, f"there are not {requests} requests under way")


def test_what_runs_at_sigterm_is_finished_and_then_the_gateway_ends(start: Start):
    with ExitStack() as stack:
        gateway = stack.enter_context(start(30))
        client, native = stack.enter_context(gateway.open_openai()), stack.enter_context(gateway.open_ollama())
        idle, pool = stack.enter_context(gateway.connect()), stack.enter_context(ThreadPoolExecutor(1))
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        asked = pool.submit(gateway.ask, "POST", "/v1/chat/completions", {**CHAT, "max_tokens": 250})
        chunks = client.chat.completions.create(**CHAT, max_tokens=200, stream=True)
        parts = native.chat(model="llama3.2", messages=MESSAGES, options={"num_predict": 200}, stream=True)
        tokens, words = count_tokens([next(chunks)]), bool(next(parts).message.content)
        gateway_is_busy(gateway, 3)
        terminate(gateway)
        assert idle.recv(65536) == b""  # at once, while the others go on
        assert tokens + count_tokens(chunks) == 200
        assert words + sum(bool(part.message.content) for part in parts) == 200
        assert asked.result().json()["usage"]["completion_tokens"] == 250
        assert the_end(gateway) == 0
    assert [record.usage_state for record in gateway.records()] == ["exact"] * 3


def test_an_answer_that_runs_at_sigterm_tells_that_its_connection_closes(start: Start):
    with start(30) as gateway, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.ask, "POST", "/v1/chat/completions", {**CHAT, "max_tokens": 100})
        gateway_is_busy(gateway, 1)
        terminate(gateway)
        assert asked.result().headers.get("connection") == "close"


def test_what_runs_beyond_the_deadline_ends_with_an_error_in_its_own_dialect(start: Start):
    with ExitStack() as stack:
        gateway = stack.enter_context(start(0.5))
        client, native = stack.enter_context(gateway.open_openai()), stack.enter_context(gateway.open_ollama())
        pool = stack.enter_context(ThreadPoolExecutor(2))
        bare = pool.submit(gateway.ask, "POST", "/v1/chat/completions", LONG)
        whole = pool.submit(gateway.ask, "POST", "/v1/chat/completions", {**LONG, "stream": False})
        chunks = client.chat.completions.create(**LONG, extra_headers={"X-Request-Id": "cut-openai"})
        native._client.headers["x-request-id"] = "cut-ollama"
        parts = native.chat(model="llama3.2", messages=MESSAGES, options={"num_predict": 5000}, stream=True)
        next(chunks), next(parts)
        gateway_is_busy(gateway, 4)
        terminate(gateway)
        with pytest.raises(openai.APIError, match="shutting down") as caught:
            count_tokens(chunks)
        assert caught.value.code == "draining"
        with pytest.raises(ollama.ResponseError, match="shutting down"):
            list(parts)
        # As bytes, the stream is a whole HTTP answer.
        *_, error, done, end = bare.result().body.split(b"\n\n")
        assert (done, end) == (b"data: [DONE]", b"")
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "draining"
        # What has not begun to answer still gets a status.
        assert (whole.result().status, whole.result().json()["error"]["code"]) == (503, "draining")
        assert int(whole.result().headers["retry-after"]) >= 1
        assert the_end(gateway) == 0
    records = records_by_id(gateway)
    assert {record.code for record in records.values()} == {"draining"}
    # Whoever has a tokenizer is still asked how long the prompt was; Ollama has none.
    for request_id, state in (("cut-openai", "counted"), ("cut-ollama", "partial")):
        assert records[request_id].usage_state == state
        assert records[request_id].completion_tokens >= 1


def test_a_request_that_still_waits_at_the_deadline_is_503_and_not_silence(start: Start):
    single = {**LONG, "model": "single"}
    with start(0.5) as gateway, gateway.open_openai() as client, ThreadPoolExecutor(1) as pool:
        chunks = client.chat.completions.create(**single)
        next(chunks)
        waiting = pool.submit(gateway.ask, "POST", "/v1/chat/completions", single)
        gateway_is_busy(gateway, 2)
        terminate(gateway)
        with pytest.raises(openai.APIError, match="shutting down"):
            count_tokens(chunks)
        assert waiting.result().status == 503
        assert the_end(gateway) == 0
    assert sorted(record.code for record in gateway.records()) == ["draining", "draining"]


def test_a_second_sigterm_ends_it_at_once(start: Start):
    with start(30) as gateway, gateway.open_openai() as client:
        chunks = client.chat.completions.create(**LONG)
        next(chunks)
        terminate(gateway)
        gateway.wait_for('"event":"draining","connections"')
        terminate(gateway)
        assert the_end(gateway) is not None
        chunks.close()
