"""/api/chat asked. Shapes: ollama docs/api.md and docs/openapi.yaml, v0.17.4 (February 2026)."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.conversation import (
    Audio,
    ChatRequest,
    Message,
    Role,
    Sampling,
    Text,
    TextRequest,
    ThinkingWish,
    Tool,
)
from mrproxy.canonical.deltas import FinishReason
from mrproxy.dialects.codec import Target
from mrproxy.dialects.ollama.requests import decode_chat, encode_chat, load_reason
from mrproxy.errors import ClientError
from tests.dialects.ollama.wishes import CHATS, PNG
from tests.fuzzing import fuzz, mutated

TARGET = Target("ollama", "gpt-oss")
HELLO = (Message(Role.USER, (Text("hi"),)),)


def asked(**more: Any) -> ChatRequest:
    return decode_chat(json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | more).encode())


def told(target: Target = TARGET, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = encode_chat(ChatRequest(**{"model": "m", "messages": HELLO} | more), target)
    return json.loads(encoded.body), encoded.warnings


def test_the_least_that_can_be_asked_streams() -> None:
    assert asked() == ChatRequest(model="m", messages=HELLO, streams=True)
    assert asked(stream=False) == ChatRequest(model="m", messages=HELLO)
    assert told() == ({"model": "gpt-oss", "messages": [{"role": "user", "content": "hi"}], "stream": False}, ())


def test_every_field_has_its_place() -> None:
    request = asked(
        tools=[{"type": "function", "function": {"name": "f"}}], think="low", keep_alive="5m", truncate=False,
        options={"temperature": 0, "num_ctx": 64, "num_gpu": 1}, logprobs=True, unknown=1, nothing=None,
    )  # fmt: skip
    assert request == ChatRequest(
        model="m",
        messages=HELLO,
        tools=(Tool("f"),),
        sampling=Sampling(temperature=0.0, logprobs=True),
        thinking=ThinkingWish(enabled=True, effort="low"),
        streams=True,
        keep_alive=msgspec.Raw(b'"5m"'),
        context_length=64,
        engine_options={"num_gpu": msgspec.Raw(b"1")},
        extras={"truncate": msgspec.Raw(b"false"), "unknown": msgspec.Raw(b"1")},
    )


@fuzz(50)
@given(CHATS)
def test_what_the_dialect_can_say_comes_back_unchanged(request: ChatRequest) -> None:
    encoded = encode_chat(request, TARGET)
    assert encoded.warnings == ()
    assert decode_chat(encoded.body) == request


def test_what_the_sdk_sends_is_understood() -> None:
    sent = ollama._types.ChatRequest(
        model="m",
        messages=[{"role": "user", "content": "hi", "images": [PNG]}],
        tools=[ollama.Tool(function=ollama.Tool.Function(name="f", parameters=ollama.Tool.Function.Parameters()))],
        stream=False,
        format="",
        options=ollama.Options(temperature=0.5),
    ).model_dump(exclude_none=True)
    request = decode_chat(json.dumps(sent).encode())
    assert [tool.name for tool in request.tools] == ["f"]
    assert (request.sampling, request.response_format, request.streams) == (Sampling(0.5), None, False)


def test_what_is_encoded_is_what_the_sdk_would_send() -> None:
    body, _ = told(tools=(Tool("f"),), thinking=ThinkingWish(enabled=True), sampling=Sampling(stop=("x",)))
    ollama._types.ChatRequest.model_validate(body)


def test_the_configured_context_length_is_in_every_request() -> None:
    body, warnings = told(Target("ollama", "m", 8192))
    assert (body["options"], warnings) == ({"num_ctx": 8192}, ())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"stream": "yes"}, "stream"),
        ({"options": {"top_k": "x"}}, "options.top_k"),
        ({"think": "hard"}, "think"),
        ({"format": 5}, "format"),
        ({"tools": {}}, "tools"),
        ({"logprobs": 1}, "logprobs"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        asked(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_changes_the_meaning_is_refused() -> None:
    for more in ({"sampling": Sampling(n=2)}, {"messages": (Message(Role.USER, (Audio("wav", "AAAA"),)),)}):
        with pytest.raises(ClientError) as caught:
            told(**more)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("keep_alive", "reason"),
    [(None, FinishReason.LOAD), (b'"5m"', FinishReason.LOAD), (b"0", FinishReason.UNLOAD)],
)
def test_nothing_asked_loads_or_unloads(keep_alive: bytes | None, reason: FinishReason) -> None:
    kept = msgspec.Raw(keep_alive) if keep_alive is not None else None
    assert load_reason(ChatRequest(model="m", messages=(), keep_alive=kept)) is reason
    assert load_reason(TextRequest(model="m", prompts=("",), raw=False, keep_alive=kept)) is reason
    assert load_reason(ChatRequest(model="m", messages=HELLO, keep_alive=kept)) is None
    assert load_reason(TextRequest(model="m", prompts=("x",), raw=False, keep_alive=kept)) is None


# The fuzzer. Invariant: whatever a body holds, it is a request or a ClientError, and what was decoded can be encoded
# or is refused.

EXAMPLES = [
    b'{"model":"m","messages":[{"role":"user","content":"hi","images":["iVBORw0KGgo="]}],"stream":false}',
    b'{"model":"m","messages":[{"role":"assistant","thinking":"t","tool_calls":[{"id":"i","function":{"name":"f",'
    b'"arguments":{"a":[1,2]}}}]},{"role":"tool","tool_name":"f","content":"x"}],"think":"low","format":"json"}',
    b'{"model":"m","messages":[],"keep_alive":"0s","tools":[{"type":"function","function":{"name":"f","parameters":'
    b'{"type":"object"}}}],"options":{"num_ctx":64,"stop":["a"],"temperature":0.5,"seed":-1},"logprobs":true}',
]
SNIPPETS = [b"null", b"{}", b"[", b'"', b"\xff", b"1e999", b"-", b'"options":', b'{"role":"tool"}', b"\\ud800"]


def fuzz_request(data: bytes) -> None:
    with contextlib.suppress(ClientError):
        encode_chat(decode_chat(data), Target("ollama", "m", 64))


@fuzz(100)
@given(mutated(EXAMPLES, SNIPPETS) | st.binary(max_size=40))
def test_nothing_but_client_errors(data: bytes) -> None:
    fuzz_request(data)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"ollama chat request": fuzz_request}
