"""Ollama's wire format, as bytes and through the Ollama SDK."""

import json

import ollama
import pytest

from bench.backends.ollama import Ollama, parse_keep_alive
from bench.backends.settings import EngineSettings
from bench.backends.work import Reply, Timing, Work
from bench.http1 import Request


class NoResidency:
    def __init__(self):
        self.unloaded = []

    def resident(self):
        return [("llama3.2:latest", 60.0)]

    def num_ctx(self, _model):
        return 8192

    def unload(self, model):
        self.unloaded.append(model)


def dialect():
    return Ollama(EngineSettings("ollama", ("llama3.2", "qwen3:8b")), NoResidency())


def ask(path, body, method=b"POST", made=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (made or dialect()).answer(Request(method, path, b"", data), 1_700_000_000)


def body_of(reply):
    assert isinstance(reply, Reply)
    return json.loads(reply.data.split(b"\r\n\r\n", 1)[1])


CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]}


def test_streaming_is_the_default_and_events_are_dated_lines():
    work = ask(b"/api/chat", CHAT)
    assert isinstance(work, Work)
    assert work.stream
    event = work.event % (b"2026-01-01T00:00:00.000000000Z", 42)
    assert event.endswith(b"}\n")
    assert list(json.loads(event)) == ["model", "created_at", "message", "done"]
    assert json.loads(event)["message"] == {"role": "assistant", "content": "t0000000000000000042 "}


def test_the_last_event_has_durations_and_counts():
    work = ask(b"/api/generate", {"model": "qwen3:8b", "prompt": "hi", "options": {"num_predict": 7}})
    assert isinstance(work, Work)
    timing = Timing(arrived_ns=1_000, load_ns=500, started_ns=2_000, first_ns=5_000, ended_ns=9_000)
    last = json.loads(work.closing(timing, 7).events[0])
    assert (last["response"], last["done"], last["done_reason"]) == ("", True, "length")
    assert (last["total_duration"], last["load_duration"]) == (8_000, 500)
    assert (last["prompt_eval_duration"], last["eval_count"], last["eval_duration"]) == (3_000, 7, 4_000)


def test_an_empty_prompt_loads_and_with_keep_alive_zero_unloads():
    made = dialect()
    load = ask(b"/api/generate", {"model": "llama3.2"}, made=made)
    assert isinstance(load, Work)
    assert (load.stream, load.completion_tokens) == (False, 0)
    assert b'"done_reason":"load"' in load.whole(Timing(0), 0)
    unload = ask(b"/api/chat", {"model": "llama3.2", "messages": [], "keep_alive": 0}, made=made)
    assert body_of(unload)["done_reason"] == "unload"
    assert made._residency.unloaded == ["llama3.2:latest"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (b"/api/chat", {"messages": []}, 400, "model is required"),
        (b"/api/chat", b"", 400, "missing request body"),
        (b"/api/chat", {"model": "nope"}, 404, "model 'nope' not found"),
        (b"/api/show", {"model": "nope"}, 404, "model 'nope' not found"),
        (b"/api/embed", {"model": "nope", "input": "a"}, 404, "model 'nope' not found"),
        (b"/api/embeddings", {"model": "nope", "prompt": "a"}, 404, "model 'nope' not found"),
    ],
)
def test_errors_are_one_string(path, body, status, message):
    reply = ask(path, body)
    assert isinstance(reply, Reply)
    assert reply.status == status
    assert body_of(reply) == {"error": message}


def test_a_full_queue_is_worded_as_ollama_does():
    reply = dialect().busy(1, b"/api/chat")
    assert reply.status == 503
    assert body_of(reply)["error"] == "server busy, please try again.  maximum pending requests exceeded"


def test_the_root_says_that_it_runs():
    reply = ask(b"/", b"", b"GET")
    assert isinstance(reply, Reply)
    assert reply.data.endswith(b"\r\n\r\nOllama is running")
    head = ask(b"/", b"", b"HEAD")
    assert isinstance(head, Reply)
    assert head.data.endswith(b"Content-Length: 17\r\n\r\n")


def test_unknown_paths_get_gins_page():
    reply = ask(b"/nowhere", b"", b"GET")
    assert isinstance(reply, Reply)
    assert (reply.status, reply.data.endswith(b"404 page not found")) == (404, True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300.0), ("1h30m", 5400.0), ("500ms", 0.5), ("-1m", -60.0), (30, 30), (-1, -1), (None, None), ("10s", 10.0)],
)
def test_keep_alive_is_a_number_or_a_go_duration(text, seconds):
    assert parse_keep_alive(text) == seconds


@pytest.fixture
def client(ollama_mock):
    made = ollama.Client(host=ollama_mock.url)
    yield made
    made._client.close()


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_reads_chat_and_generate(client):
    options = {"num_predict": 3}
    answer = client.chat("llama3.2", CHAT["messages"], options=options)
    assert answer.message.content.count("t0") == 3
    assert (answer.eval_count, answer.done_reason) == (3, "length")
    assert client.generate("qwen3:8b", "hi", options=options).response.count("t0") == 3
    chunks = list(client.chat("llama3.2", CHAT["messages"], options=options, stream=True))
    assert [chunk.done for chunk in chunks] == [False, False, False, True]
    assert chunks[-1].eval_count == 3
    assert len(list(client.generate("llama3.2", "hi", options=options, stream=True))) == 4


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_reads_embeddings_lists_and_models(client):
    assert len(client.embed("llama3.2", ["a", "b"]).embeddings) == 2
    assert len(client.embeddings("llama3.2", "a").embedding) == 8
    assert [model.model for model in client.list().models] == ["llama3.2:latest", "qwen3:8b"]
    assert client.show("llama3.2").details.family == "llama"
    client.generate("llama3.2", "hi", options={"num_predict": 1})
    assert "llama3.2:latest" in [model.model for model in client.ps().models]


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_raises_its_own_error(client):
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("nope", CHAT["messages"])
    assert caught.value.status_code == 404
