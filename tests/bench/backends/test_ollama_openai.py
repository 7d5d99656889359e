"""Ollama's OpenAI-compatible endpoints, as bytes and through the OpenAI SDK."""

import json

import openai
import pytest

from bench.backends.ollama import Ollama
from bench.backends.ollama_openai import OllamaWithOpenai
from bench.backends.settings import EngineSettings
from bench.backends.work import Reply, Timing, Work
from bench.http1 import Request

from .test_ollama import NoResidency


def ask(path, body, method=b"POST"):
    settings = EngineSettings("ollama", ("llama3.2",))
    made = OllamaWithOpenai(settings, Ollama(settings, NoResidency()))
    return made.answer(Request(method, path, b"", json.dumps(body).encode()), 1_700_000_000)


CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]}


def test_deltas_say_assistant_and_carry_ollamas_fingerprint():
    work = ask(b"/v1/chat/completions", CHAT | {"stream": True, "stream_options": {"include_usage": True}})
    assert isinstance(work, Work)
    event = json.loads((work.event % 7)[6:])
    assert list(event) == ["id", "object", "created", "model", "system_fingerprint", "choices"]
    assert event["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": "t0000000000000000007 "},
        "finish_reason": None,
    }
    assert work.opening == ()
    closing = work.closing(Timing(0), 3)
    assert json.loads(closing.events[1][6:])["usage"]["completion_tokens"] == 3
    assert closing.usage_index == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        (b"/v1/chat/completions", {"model": "nope", "messages": [1]}, 404, "not_found_error"),
        (b"/v1/chat/completions", {"model": "llama3.2", "messages": []}, 400, "invalid_request_error"),
        (b"/v1/completions", {"model": "llama3.2"}, 400, "invalid_request_error"),
        (b"/v1/embeddings", {"model": "nope", "input": "a"}, 404, "not_found_error"),
    ],
)
def test_errors_have_the_openai_shape_with_code_null(path, body, status, kind):
    reply = ask(path, body)
    assert isinstance(reply, Reply)
    error = json.loads(reply.data.split(b"\r\n\r\n", 1)[1])["error"]
    assert (reply.status, error["type"], error["code"]) == (status, kind, None)


def test_a_faults_error_has_the_shape_of_the_route_that_was_asked():
    settings = EngineSettings("ollama", ("llama3.2",))
    made = OllamaWithOpenai(settings, Ollama(settings, NoResidency()))
    errors = []
    for path in (b"/v1/chat/completions", b"/api/chat"):
        made.answer(Request(b"POST", path, b"", json.dumps(CHAT).encode()), 1_700_000_000)
        reply = made.error(503, "too much", 1_700_000_000, None, b"Retry-After: 1\r\n")
        assert b"\r\nRetry-After: 1\r\n" in reply.data
        errors.append(json.loads(reply.data.split(b"\r\n\r\n", 1)[1])["error"])
    assert errors == [{"message": "too much", "type": "api_error", "param": None, "code": None}, "too much"]


def test_everything_else_is_ollamas_own():
    reply = ask(b"/api/version", {}, b"GET")
    assert isinstance(reply, Reply)
    assert b'"version"' in reply.data


@pytest.mark.slow
@pytest.mark.sdk
def test_the_openai_sdk_works_against_ollama(ollama_mock):
    with openai.OpenAI(base_url=f"{ollama_mock.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(**CHAT, max_tokens=3)
        assert (answer.choices[0].message.content.count("t0"), answer.usage.completion_tokens) == (3, 3)
        with client.chat.completions.create(**CHAT, max_tokens=3, stream=True) as stream:
            assert sum("t0" in (chunk.choices[0].delta.content or "") for chunk in stream) == 3
        assert client.completions.create(model="llama3.2", prompt="a", max_tokens=2).choices[0].text.count("t0") == 2
        assert len(client.embeddings.create(model="llama3.2", input="a").data[0].embedding) == 8
        assert [model.id for model in client.models.list()] == ["llama3.2:latest", "qwen3:8b"]
        assert client.models.retrieve("qwen3:8b").id == "qwen3:8b"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**CHAT | {"model": "nope"})
