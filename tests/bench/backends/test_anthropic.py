"""Anthropic's API, as bytes and through its SDK."""

import json

import anthropic
import pytest

from bench.backends.anthropic import Anthropic
from bench.backends.build import id_source
from bench.backends.settings import EngineSettings
from bench.backends.work import Reply, Work
from bench.http1 import Request
from bench.targets import open_mock

HEAD = b"post / http/1.1\r\nx-api-key: any\r\nanthropic-version: 2023-06-01"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def ask(path, body=None, method=b"POST", head=HEAD):
    made = Anthropic(EngineSettings("anthropic", ("claude-a", "claude-b")), id_source(1))
    return made.answer(Request(method, path, head, json.dumps(body).encode() if body else b""), 1_700_000_000)


def refusal_of(reply):
    assert isinstance(reply, Reply)
    body = json.loads(reply.data.split(b"\r\n\r\n", 1)[1])
    assert body["type"] == "error"
    return reply.status, body["error"]["type"]


MESSAGE = {"model": "claude-a", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("path", "body", "method", "head", "expected"),
    [
        (b"/v1/messages", MESSAGE, b"POST", b"post /", (401, "authentication_error")),
        (b"/v1/messages", MESSAGE, b"POST", b"post /\r\nx-api-key: k", (400, "invalid_request_error")),
        (b"/v1/messages", MESSAGE, b"POST", HEAD.replace(b"2023", b"1999"), (400, "invalid_request_error")),
        (b"/v1/messages", MESSAGE | {"model": "x"}, b"POST", HEAD, (404, "not_found_error")),
        (b"/v1/messages", MESSAGE | {"n": 2}, b"POST", HEAD, (400, "invalid_request_error")),
        (b"/v1/messages", None, b"POST", HEAD, (400, "invalid_request_error")),
        (b"/v1/messages", None, b"GET", HEAD, (405, "api_error")),
        (b"/v1/messages/count_tokens", MESSAGE | {"model": "x"}, b"POST", HEAD, (404, "not_found_error")),
        (b"/v1/models/x", None, b"GET", HEAD, (404, "not_found_error")),
        (b"/v1/chat/completions", MESSAGE, b"POST", HEAD, (404, "not_found_error")),
    ],
)
def test_refusals(path, body, method, head, expected):
    assert refusal_of(ask(path, body, method, head)) == expected


def test_a_message_is_work_and_its_head_has_a_request_id():
    work = ask(b"/v1/messages", MESSAGE | {"stream": True})
    assert isinstance(work, Work)
    assert b"request-id: req_" in work.head


def test_too_much_is_overloaded():
    made = Anthropic(EngineSettings("anthropic", ("m",)), id_source(1))
    assert refusal_of(made.busy(1, b"/v1/messages")) == (529, "overloaded_error")


@pytest.fixture(scope="module")
def client():
    with open_mock(
        "anthropic", "--itl-ms", "1", "--prefill-ms", "1", "--model", "claude-a", "--model", "claude-b"
    ) as mock:
        with anthropic.Anthropic(base_url=mock.url, api_key="any", max_retries=0) as made:
            yield made


def user(content):
    return [{"role": "user", "content": content}]


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_reads_messages_and_streams(client):
    message = client.messages.create(model="claude-a", max_tokens=4, messages=user("hi"))
    assert (message.content[0].text.count("t0"), message.stop_reason) == (4, "max_tokens")
    with client.messages.stream(model="claude-a", max_tokens=4, messages=user("hi")) as stream:
        assert "".join(stream.text_stream).count("t0") == 4
        assert stream.get_final_message().usage.output_tokens == 4


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_holds_a_conversation_with_tools_and_thinking(client):
    tools = [{"name": "weather", "input_schema": SCHEMA}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    history = user('call:weather{"city": "Zürich"}')
    options = {"model": "claude-a", "max_tokens": 2000, "tools": tools, "thinking": thinking}
    with client.messages.stream(messages=history, **options) as stream:
        asked = stream.get_final_message()
    thought, call = asked.content
    assert (thought.type, call.input, asked.stop_reason) == ("thinking", {"city": "Zürich"}, "tool_use")
    history += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    answer = client.messages.create(messages=history, **options)
    assert answer.content[-1].text == "The tools said: sunny"
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result`"):
        client.messages.create(messages=[*history[:2], *user("and?")], **options)


@pytest.mark.slow
@pytest.mark.sdk
def test_the_sdk_counts_lists_and_raises(client):
    counted = client.messages.count_tokens(model="claude-a", messages=user("hi"))
    assert (
        counted.input_tokens
        == client.messages.create(model="claude-a", max_tokens=1, messages=user("hi")).usage.input_tokens
    )
    assert [model.id for model in client.models.list()] == ["claude-a", "claude-b"]
    assert client.models.retrieve("claude-b").display_name == "Claude B"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="x", max_tokens=1, messages=user("hi"))
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(model="claude-a!status_429", max_tokens=1, messages=user("hi"))
    with (
        pytest.raises(anthropic.APIStatusError, match="error_event"),
        client.messages.stream(model="claude-a!error_event", max_tokens=9, messages=user("hi")) as stream,
    ):
        stream.get_final_message()
