"""Chat completions asked. Shapes: OpenAI API reference, "Create chat completion" (2026)."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.conversation import (
    ChatRequest,
    Message,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    ThinkingWish,
    Tool,
    ToolChoice,
    ToolMode,
)
from mrproxy.dialects.codec import Target
from mrproxy.dialects.openai.requests import decode_chat, encode_chat
from mrproxy.errors import ClientError
from tests.dialects.openai import wishes
from tests.fuzzing import fuzz, mutated

KINDS = ("openai", "vllm", "llamacpp")
HELLO = (Message(Role.USER, (Text("hi"),)),)


def asked(**more: Any) -> ChatRequest:
    return decode_chat(json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | more).encode())


def told(kind: str, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = encode_chat(ChatRequest(model="m", messages=HELLO, **more), Target(kind, "theirs"))
    return json.loads(encoded.body), encoded.warnings


def test_the_least_that_can_be_asked() -> None:
    assert asked() == ChatRequest(model="m", messages=HELLO, include_usage=False)
    assert told("vllm") == ({"model": "theirs", "messages": [{"role": "user", "content": "hi"}]}, ())


@pytest.mark.parametrize("kind", KINDS)
@fuzz(30)
@given(data=st.data())
def test_what_the_dialect_can_say_comes_back_unchanged(kind: str, data: st.DataObject) -> None:
    request = data.draw(wishes.chats(kind))
    encoded = encode_chat(request, Target(kind, "m"))
    assert encoded.warnings == ()
    assert decode_chat(encoded.body) == request


def test_every_field_has_its_word() -> None:
    request = asked(
        temperature=0.5, top_p=0.9, top_k=3, min_p=0.1, typical_p=0.7, max_completion_tokens=9, max_tokens=8, seed=1,
        stop="x", presence_penalty=1, frequency_penalty=-1, repeat_penalty=1.1, logit_bias={"5": 1}, logprobs=True,
        top_logprobs=2, n=2,
    )  # fmt: skip
    assert request.sampling == Sampling(
        temperature=0.5, top_p=0.9, top_k=3, min_p=0.1, typical_p=0.7, max_tokens=9, seed=1, stop=("x",),
        presence_penalty=1, frequency_penalty=-1, repetition_penalty=1.1, logit_bias=msgspec.Raw(b'{"5": 1}'),
        logprobs=True, top_logprobs=2, n=2,
    )  # fmt: skip


@pytest.mark.parametrize(("bound", "expected"), [(7, 7), (-1, None), (None, None), (0, 0)])
def test_a_negative_bound_is_none(bound: int | None, expected: int | None) -> None:
    assert asked(max_tokens=bound).sampling.max_tokens == expected


def test_the_bound_has_each_engines_name() -> None:
    sampling = Sampling(max_tokens=5)
    assert told("openai", sampling=sampling)[0]["max_completion_tokens"] == 5
    assert told("vllm", sampling=sampling)[0]["max_tokens"] == 5
    assert told("llamacpp", sampling=sampling)[0]["max_tokens"] == 5


def test_what_an_engine_cannot_choose_by_is_warned_of() -> None:
    sampling = Sampling(top_k=1, min_p=0.1, typical_p=0.2, repetition_penalty=1.1)
    body, warnings = told("openai", sampling=sampling)
    assert body.keys() == {"model", "messages"}
    assert warnings == tuple(
        f"{name} is ignored: OpenAI's API has none" for name in ("top_k", "min_p", "typical_p", "repetition_penalty")
    )
    body, warnings = told("vllm", sampling=sampling)
    assert (body["top_k"], body["repetition_penalty"]) == (1, 1.1)
    assert warnings == ("typical_p is ignored: vLLM has none",)
    body, warnings = told("llamacpp", sampling=sampling)
    assert (body["typical_p"], body["repeat_penalty"], warnings) == (0.2, 1.1, ())


def test_usage_is_always_asked_for_and_the_callers_wish_is_kept() -> None:
    assert told("vllm", streams=True, include_usage=False)[0]["stream_options"] == {"include_usage": True}
    assert "stream_options" not in told("vllm")[0]
    assert not asked(stream=True).include_usage
    request = asked(stream=True, stream_options={"include_usage": True, "include_obfuscation": False, "x": 1})
    assert request.streams
    assert request.include_usage
    assert request.warnings == ("stream_options.x is ignored",)


# Thinking


@pytest.mark.parametrize(
    ("said", "wish"),
    [
        ({"reasoning_effort": "high"}, ThinkingWish(effort="high")),
        ({"reasoning_effort": "none"}, ThinkingWish(enabled=False, effort="none")),
        ({"chat_template_kwargs": {"enable_thinking": False}}, ThinkingWish(enabled=False)),
        (
            {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": True}},
            ThinkingWish(enabled=True, effort="low"),
        ),
        ({"chat_template_kwargs": {"thinking": True}}, None),
        ({"chat_template_kwargs": "x"}, None),
        ({}, None),
    ],
)
def test_a_wish_to_think_is_understood(said: dict[str, Any], wish: ThinkingWish | None) -> None:
    assert asked(**said).thinking == wish


def test_other_template_arguments_stay() -> None:
    request = asked(chat_template_kwargs={"enable_thinking": True, "x": [1]})
    assert request.extras == {"chat_template_kwargs": msgspec.Raw(b'{"x":[1]}')}
    body = json.loads(encode_chat(request, Target("vllm", "m")).body)
    assert body["chat_template_kwargs"] == {"enable_thinking": True, "x": [1]}


@pytest.mark.parametrize(
    ("kind", "wish", "said", "warnings"),
    [
        ("openai", ThinkingWish(effort="high"), {"reasoning_effort": "high"}, 0),
        ("openai", ThinkingWish(enabled=False), {"reasoning_effort": "none"}, 0),
        ("openai", ThinkingWish(enabled=True), {}, 1),
        ("openai", ThinkingWish(enabled=True, budget_tokens=1024), {}, 2),
        ("vllm", ThinkingWish(effort="high"), {"reasoning_effort": "high"}, 0),
        ("vllm", ThinkingWish(enabled=True, effort="high"), {"reasoning_effort": "high"}, 0),
        ("vllm", ThinkingWish(enabled=False), {"chat_template_kwargs": {"enable_thinking": False}}, 0),
        ("vllm", ThinkingWish(effort="none"), {"chat_template_kwargs": {"enable_thinking": False}}, 0),
        (
            "vllm",
            ThinkingWish(enabled=True, budget_tokens=9),
            {"chat_template_kwargs": {"enable_thinking": True}},
            1,
        ),
        (
            "llamacpp",
            ThinkingWish(enabled=True, budget_tokens=9),
            {"chat_template_kwargs": {"enable_thinking": True}, "thinking_budget_tokens": 9},
            0,
        ),
    ],
)
def test_each_engine_is_told_to_think_in_its_way(
    kind: str, wish: ThinkingWish, said: dict[str, Any], warnings: int
) -> None:
    body, warned = told(kind, thinking=wish)
    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == said
    assert len(warned) == warnings


# What belongs to others


def test_extras_go_to_the_engine_and_nulls_are_nothing() -> None:
    request = asked(guided_json={"type": "object"}, stop_token_ids=[1], x=None)
    assert request.extras == {
        "guided_json": msgspec.Raw(b'{"type": "object"}'),
        "stop_token_ids": msgspec.Raw(b"[1]"),
    }
    for kind in KINDS:
        encoded = encode_chat(request, Target(kind, "m"))
        assert json.loads(encoded.body)["guided_json"] == {"type": "object"}
        assert encoded.warnings == ()


def test_other_dialects_fields_are_warned_of() -> None:
    raw = msgspec.Raw(b"1")
    body, warnings = told("vllm", extras={"think": raw, "cache_control": raw, "model": raw})
    assert body["model"] == "theirs"
    assert warnings == (
        "think is ignored: vLLM has no such field",
        "cache_control is ignored: vLLM has no such field",
        "model is ignored: the request says it otherwise",
    )


def test_what_is_said_to_ollama_alone_is_warned_of_or_shared() -> None:
    more: dict[str, Any] = {
        "context_length": 4096,
        "keep_alive": msgspec.Raw(b'"5m"'),
        "engine_options": {"num_gpu": msgspec.Raw(b"1"), "mirostat": msgspec.Raw(b"2"), "num_keep": msgspec.Raw(b"3")},
    }
    assert [warning.split()[0] for warning in told("vllm", **more)[1]] == [
        "num_ctx", "keep_alive", "num_gpu", "mirostat", "num_keep",
    ]  # fmt: skip
    body, warnings = told("llamacpp", **more)
    assert (body["mirostat"], body["n_keep"]) == (2, 3)
    assert [warning.split()[0] for warning in warnings] == ["num_ctx", "keep_alive", "num_gpu"]


def test_names_that_nobody_reads_inside_messages_and_tools_are_warned_of() -> None:
    part = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    request = asked(
        messages=[{"role": "user", "content": [part], "x": 1, "name": None}],
        tools=[{"type": "function", "function": {"name": "f", "y": 1}, "defer_loading": True}],
    )
    assert request.messages == HELLO
    assert request.warnings == (
        "cache_control in messages is ignored",
        "x in messages is ignored",
        "defer_loading in tools is ignored",
        "y in tools is ignored",
    )


# Refusals


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": None}, "messages"),
        ({"model": ""}, "model"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "friend", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"chat_template_kwargs": {"x": 1}, "stop": 1}, "stop"),
    ],
)
def test_a_mistake_is_named(more: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        asked(**more)
    assert (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"messages":' + b"[" * 50000, b'"x"'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        decode_chat(body)
    assert caught.value.status == 400


def test_a_tool_that_is_not_there_cannot_be_demanded() -> None:
    for choice in (ToolChoice(ToolMode.REQUIRED), ToolChoice(ToolMode.NAMED, "f")):
        with pytest.raises(ClientError) as caught:
            told("vllm", tool_choice=choice)
        assert caught.value.param == "tool_choice"
    assert told("openai", tool_choice=ToolChoice(ToolMode.AUTO), parallel_tool_calls=True)[0].keys() == {
        "model",
        "messages",
    }
    assert "tools" in told("openai", tools=(Tool("f"),))[0]


def test_formats_are_said() -> None:
    assert asked(response_format={"type": "text"}).response_format == ResponseFormat(wishes.FormatKind.TEXT)


# Fuzzing

EXAMPLES = [
    json.dumps(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "ü"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hi", "cache_control": {}},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                        {"type": "file", "file": {"file_data": "data:a/b;base64,AAAA", "filename": "x"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                        {"id": "2", "type": "function", "function": {"name": "f", "arguments": {"x": "y"}}},
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "x"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
            "chat_template_kwargs": {"enable_thinking": True},
            "stream": True,
            "stream_options": {"include_usage": True},
            "logit_bias": {"1": 2},
        }
    ).encode()
]
SNIPPETS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"null",
    b"\xff",
    b"\\u",
    b"1e999",
    b'"role":',
    b'"type":"custom"',
]


def fuzz_request(body: bytes) -> None:
    """Invariant: a request is decoded and can be said to some engine, or is refused; nothing else is raised."""
    try:
        request = decode_chat(body)
        for kind in KINDS:
            encode_chat(request, Target(kind, "m"))
    except ClientError:
        pass


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"openai chat request": fuzz_request}


@fuzz(75)
@given(mutated(EXAMPLES, SNIPPETS))
def test_whatever_is_asked_is_answered_or_refused(body: bytes) -> None:
    fuzz_request(body)
