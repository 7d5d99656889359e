"""`POST /v1/messages`: every field maps, is refused, or is warned of (Anthropic API reference, 2026)."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.conversation import ChatRequest, Message, Role, Sampling, Text, ThinkingWish, Tool
from mrproxy.dialects.anthropic.count_tokens import decode_count_tokens
from mrproxy.dialects.anthropic.fields import NoThreads
from mrproxy.dialects.anthropic.requests import decode_chat, encode_chat
from mrproxy.dialects.codec import Target
from mrproxy.errors import ClientError, Code
from tests.dialects.anthropic.conversations import requests
from tests.fuzzing import fuzz, mutated

PLAIN = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
USER = Message(Role.USER, (Text("hi"),))
TARGET = Target("anthropic", "claude")


def decode(**fields: Any) -> ChatRequest:
    return decode_chat(json.dumps(PLAIN | fields).encode())


def encode(**fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    given: dict[str, Any] = {"model": "m", "messages": (USER,), "sampling": Sampling(max_tokens=5)} | fields
    encoded = encode_chat(ChatRequest(**given), TARGET)
    return json.loads(encoded.body), encoded.warnings


def test_the_shortest_request() -> None:
    assert decode() == ChatRequest(model="m", messages=(USER,), sampling=Sampling(max_tokens=5))


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_a_thread_is_refused_for_its_messages_are_not_the_whole_conversation(thread: dict[str, str]) -> None:
    with pytest.raises(NoThreads) as caught:
        decode(thread=thread)
    assert (caught.value.status, caught.value.param) == (400, "thread")
    assert decode(thread=None) == decode()


def test_every_field_is_canonical() -> None:
    request = decode(
        system="Be brief.",
        temperature=0.5,
        top_p=1,
        top_k=3,
        stop_sequences=["END"],
        stream=True,
        metadata={"user_id": "u"},
        thinking={"type": "enabled", "budget_tokens": 2000, "display": "summarized"},
        output_config={"effort": "low"},
        tools=[{"name": "f", "input_schema": {"type": "object"}}],
        seed=7,
        top_logprobs=None,
    )
    assert request == ChatRequest(
        model="m",
        messages=(Message(Role.SYSTEM, (Text("Be brief."),)), USER),
        sampling=Sampling(temperature=0.5, top_p=1.0, top_k=3, max_tokens=5, stop=("END",)),
        tools=(Tool("f", parameters=msgspec.Raw(b'{"type": "object"}')),),
        thinking=ThinkingWish(True, "low", 2000),
        streams=True,
        user="u",
        extras={"seed": msgspec.Raw(b"7")},
    )


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"cache_control": {"type": "ephemeral"}}, "cache_control"),
        ({"service_tier": "standard_only"}, "service_tier"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"speed": "fast"}, "speed"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"diagnostics": {}}, "diagnostics"),
        ({"user_profile_id": "x"}, "user_profile_id"),
        ({"metadata": {"user_id": "u", "more": 1}}, "metadata.more"),
        ({"output_config": {"task_budget": 1}}, "output_config.task_budget"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "thinking.display"),
        ({"messages": [{"role": "user", "content": "hi", "x": 1}]}, "message.x"),
    ],
)
def test_what_is_ignored_is_said(fields: dict[str, Any], warning: str) -> None:
    (said,) = decode(**fields).warnings
    assert said.startswith(f"{warning} is ignored: ")


def test_cache_control_everywhere_is_one_warning() -> None:
    marked = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    request = decode(
        system=[marked],
        messages=[{"role": "user", "content": [marked]}, {"role": "assistant", "content": [marked, marked]}],
        tools=[{"name": "f", "input_schema": {}, "cache_control": {"type": "ephemeral"}}],
        cache_control={"type": "ephemeral"},
    )
    assert len([said for said in request.warnings if "cache_control" in said]) == 1


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ""}, Code.MISSING_FIELD, "model"),
        ({"model": None}, Code.MISSING_FIELD, "model"),
        ({"max_tokens": None}, Code.MISSING_FIELD, "max_tokens"),
        ({"max_tokens": 0}, Code.INVALID_FIELD, "max_tokens"),
        ({"max_tokens": 2**70}, Code.INVALID_FIELD, "max_tokens"),
        ({"messages": None}, Code.MISSING_FIELD, "messages"),
        ({"messages": "hi"}, Code.INVALID_FIELD, "messages"),
        ({"messages": [{"role": "user"}]}, Code.MISSING_FIELD, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, Code.INVALID_FIELD, "messages.0.role"),
        ({"stream": "yes"}, Code.INVALID_FIELD, "stream"),
        ({"stop_sequences": ["a", 1]}, Code.INVALID_FIELD, "stop_sequences.1"),
        ({"temperature": "hot"}, Code.INVALID_FIELD, "temperature"),
        ({"metadata": {"user_id": 1}}, Code.INVALID_FIELD, "metadata.user_id"),
        ({"mcp_servers": [{"type": "url"}]}, Code.INVALID_FIELD, "mcp_servers"),
        ({"container": "c"}, Code.INVALID_FIELD, "container"),
        ({"thinking": {"type": "sometimes"}}, Code.INVALID_FIELD, "thinking.type"),
        ({"output_config": {"format": {"type": "xml"}}}, Code.INVALID_FIELD, "output_config.format.type"),
        ({"output_format": {"type": "json_schema"}}, Code.MISSING_FIELD, "output_format.schema"),
    ],
)
def test_what_is_wrong_is_refused_by_name(fields: dict[str, Any], code: Code, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode(**fields)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"\xff"}', b'{"x":"\xff","model":"m"}', b"[" * 9000])
def test_what_is_no_request_is_the_clients_mistake(body: bytes) -> None:
    with pytest.raises(ClientError):
        decode_chat(body)


def test_nothing_here_is_not_refused() -> None:
    assert decode(mcp_servers=[], container=None, stream=None, system=None).warnings == ()


def test_the_newer_format_wins() -> None:
    newer, older = {"type": "json_schema", "schema": {"a": 1}}, {"type": "json_schema", "schema": {"b": 1}}
    for fields, schema in (
        ({"output_config": {"format": newer}, "output_format": older}, b'{"a": 1}'),
        ({"output_config": {"effort": "low"}, "output_format": older}, b'{"b": 1}'),
        ({"output_format": older}, b'{"b": 1}'),
    ):
        wanted = decode(**fields).response_format
        assert wanted is not None
        assert wanted.schema == msgspec.Raw(schema)


# To an engine


def test_an_engine_gets_its_own_name_for_the_model_and_always_a_bound() -> None:
    body, warnings = encode(sampling=Sampling())
    assert body == {"model": "claude", "max_tokens": 8192, "messages": [{"role": "user", "content": "hi"}]}
    assert warnings == ("max_tokens was not given: Anthropic's API needs one, 8192 is sent",)


def test_what_other_dialects_can_say_is_warned_of() -> None:
    body, warnings = encode(
        keep_alive=msgspec.Raw(b"1"),
        context_length=4096,
        engine_options={"mirostat": msgspec.Raw(b"1")},
        extras={"guided_json": msgspec.Raw(b"{}")},
    )
    assert set(body) == {"model", "max_tokens", "messages"}
    assert warnings == tuple(
        f"{name} is ignored: Anthropic's API has none" for name in ("keep_alive", "num_ctx", "mirostat", "guided_json")
    )


@fuzz(75)
@given(requests())
def test_what_the_dialect_can_say_survives_the_way_out_and_back(request: ChatRequest) -> None:
    """Invariant: decode(encode(x)) == x, and nothing had to be left out."""
    encoded = encode_chat(request, Target("anthropic", request.model))
    assert encoded.warnings == ()
    assert decode_chat(encoded.body) == request


# Anything


def feed_request(data: bytes) -> None:
    """Invariant: a ClientError or a request, and what was read can be said to an engine, or is refused."""
    for reader in (decode_chat, decode_count_tokens):
        with contextlib.suppress(ClientError):
            encode_chat(reader(data), TARGET)


_EXAMPLES = [
    json.dumps(PLAIN).encode(),
    json.dumps(
        PLAIN
        | {
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "aGk="}}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t", "signature": "s"},
                        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "r"}]},
                        {"type": "document", "source": {"type": "content", "content": "x"}, "context": "c"},
                    ],
                },
            ],
            "tools": [{"name": "f", "input_schema": {}}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
            "stop_sequences": ["x"],
        }
    ).encode(),
]
_SNIPPETS = [b"null", b"[]", b"{}", b'""', b"1e400", b"\xff", b'"\\ud800"', b"[" * 3000, b",", b'"type":"image",']


@fuzz(75)
@given(mutated(_EXAMPLES, _SNIPPETS) | st.binary(max_size=60))
def test_any_body_is_a_request_or_the_clients_mistake(data: bytes) -> None:
    feed_request(data)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"anthropic-requests": feed_request}
