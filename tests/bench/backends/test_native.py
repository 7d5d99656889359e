import json

import anthropic
import openai
import pytest

from bench.backends.build import id_source
from bench.backends.native import WithNative
from bench.backends.ollama import Ollama
from bench.backends.ollama_openai import OllamaWithOpenai
from bench.backends.settings import EngineSettings
from bench.backends.vllm import Vllm
from bench.backends.work import Counts, Reply, Work
from bench.http1 import Request
from bench.targets import open_mock

from .test_ollama import NoResidency

MESSAGE = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
RESPONSE = {"model": "m", "input": "hi"}


def ask(path, body=None, method=b"POST", kind="vllm", native=("messages", "responses"), error=None):
    settings = EngineSettings(kind, ("m",), native=native)
    engine = (
        Vllm(settings, id_source(1), lambda: Counts(0, 0, 0, 0))
        if kind == "vllm"
        else OllamaWithOpenai(settings, Ollama(settings, NoResidency()))
    )
    made = WithNative(settings, engine, id_source(2))
    outcome = made.answer(Request(method, path, b"", json.dumps(body).encode() if body else b""), 1)
    return made.error(error, "struck", 1) if error else outcome


def read(reply):
    assert isinstance(reply, Reply)
    return reply.status, json.loads(reply.data.split(b"\r\n\r\n", 1)[1])


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
@pytest.mark.parametrize(("path", "body"), [(b"/v1/messages", MESSAGE), (b"/v1/responses", RESPONSE)])
def test_further_routes_are_there_when_they_are_named(kind, path, body):
    work = ask(path, body, kind=kind)
    assert isinstance(work, Work)
    assert (work.num_ctx, work.head_at_once) == ((None, True) if kind == "vllm" else (4096, False))
    assert ask(path, method=b"GET", kind=kind).status == 405
    assert ask(path, body, kind=kind, native=()).status == 404


def test_everything_else_is_the_engines():
    assert read(ask(b"/v1/models", method=b"GET"))[0] == 200
    assert read(ask(b"/v1/messages/count_tokens", MESSAGE))[1]["input_tokens"] > 0
    assert ask(b"/v1/responses/resp_1", method=b"GET").status == 405
    assert ask(b"/v1/responses", RESPONSE, native=("messages",)).status == 404


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
def test_errors_are_worded_in_the_dialect_of_the_route(kind):
    assert read(ask(b"/v1/messages", MESSAGE | {"model": "x"}, kind=kind))[1]["type"] == "error"
    status, body = read(ask(b"/v1/responses", RESPONSE | {"model": "x"}, kind=kind))
    assert (status, body["error"]["param"]) == (404, "model")
    assert read(ask(b"/v1/messages", {"model": 5}, kind=kind))[0] == 400
    assert read(ask(b"/v1/messages", MESSAGE, kind=kind, error=503))[1]["type"] == "error"
    assert "error" in read(ask(b"/v1/chat/completions", {}, kind=kind, error=503))[1]


@pytest.mark.slow
@pytest.mark.sdk
@pytest.mark.parametrize("kind", ["vllm", "ollama"])
def test_both_sdks_read_one_engine(kind):
    options = ("--native", "messages,responses", "--itl-ms", "1", "--prefill-ms", "1", "--model", "m")
    with open_mock(kind, *options) as mock:
        with (
            anthropic.Anthropic(base_url=mock.url, api_key="k", max_retries=0) as client,
            client.messages.stream(**MESSAGE) as stream,
        ):
            assert stream.get_final_message().content[0].text.count("t0") == 5
        with (
            openai.OpenAI(base_url=f"{mock.url}/v1", api_key="k", max_retries=0) as client,
            client.responses.stream(**RESPONSE) as stream,
        ):
            assert stream.get_final_response().output_text == "You said: hi"
