"""`POST /v1/responses`: every field maps, is refused, or is warned of (OpenAI API reference, 2026)."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import response_create_params

from mrproxy.canonical.conversation import Message, Role, Sampling, Text, ThinkingWish, ToolCall, ToolResult
from mrproxy.dialects.responses.requests import ResponsesRequest, decode_request, extend
from mrproxy.errors import ClientError, Code
from tests.fuzzing import fuzz, mutated

PLAIN = {"model": "m", "input": "hi"}
USER = Message(Role.USER, (Text("hi"),))
SYSTEM = Message(Role.SYSTEM, (Text("Be brief."),))


def decode(**fields: Any) -> ResponsesRequest:
    return decode_request(json.dumps(PLAIN | fields).encode())


def test_the_shortest_request() -> None:
    request = decode()
    assert (request.chat.model, request.chat.messages, request.chat.streams) == ("m", (USER,), False)
    assert (request.store, request.previous_response_id, request.instructions) == (True, None, None)
    assert request.chat.warnings == ()
    assert request.chat.extras == {}


def test_instructions_come_first_and_are_not_what_the_user_said() -> None:
    request = decode(instructions="Be brief.")
    assert request.chat.messages == (SYSTEM, USER)
    assert request.input_messages == (USER,)


def test_wishes_are_canonical() -> None:
    chat = decode(
        max_output_tokens=5,
        temperature=0.5,
        top_p=1,
        include=["message.output_text.logprobs"],
        top_logprobs=3,
        top_k=4,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=0.2,
        frequency_penalty=0.3,
        seed=7,
        stop=["a"],
        logit_bias={"1": 2},
        reasoning={"effort": "low"},
        parallel_tool_calls=False,
        user="u",
        stream=True,
    ).chat
    assert chat.sampling == Sampling(
        temperature=0.5,
        top_p=1,
        top_k=4,
        min_p=0.1,
        max_tokens=5,
        stop=("a",),
        seed=7,
        presence_penalty=0.2,
        frequency_penalty=0.3,
        repetition_penalty=1.1,
        logit_bias=chat.sampling.logit_bias,
        logprobs=True,
        top_logprobs=3,
    )
    assert chat.sampling.logit_bias == msgspec.Raw(b'{"1": 2}')
    assert chat.thinking == ThinkingWish(effort="low")
    assert (chat.parallel_tool_calls, chat.user, chat.streams, chat.include_usage) == (False, "u", True, True)
    assert chat.warnings == ()


def test_one_stop_is_as_good_as_a_list() -> None:
    assert decode(stop="a").chat.sampling.stop == ("a",)


def test_effort_none_turns_thinking_off() -> None:
    assert decode(reasoning={"effort": "none"}).chat.thinking == ThinkingWish(enabled=False, effort="none")
    assert decode(reasoning={}).chat.thinking is None


def test_fields_that_chat_completions_have_too_and_unknown_ones_are_extras() -> None:
    extras = {"service_tier": "flex", "prompt_cache_key": "k", "safety_identifier": "s", "priority": 3}
    found = decode(**extras, prompt_cache_retention=None).chat.extras
    assert {name: json.loads(bytes(value)) for name, value in found.items()} == extras


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"truncation": "auto"}, "truncation is ignored: a conversation is sent whole or not at all"),
        ({"context_management": [{"type": "compaction"}]}, "context_management is ignored: "),
        ({"prompt_cache_options": {"mode": "implicit"}}, "prompt_cache_options is ignored: "),
        ({"access_programs": {}}, "access_programs is ignored: "),
        ({"image": {}}, "image is ignored: "),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation is ignored: "),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary is ignored: "),
        ({"reasoning": {"generate_summary": "auto"}}, "reasoning.summary is ignored: "),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode is ignored: "),
        ({"text": {"verbosity": "low"}}, "text.verbosity is ignored: "),
        ({"top_logprobs": 2}, "top_logprobs is ignored: "),
    ],
)
def test_a_wish_that_is_not_granted_is_warned_of(fields: dict[str, Any], warning: str) -> None:
    (found,) = decode(**fields).chat.warnings
    assert found.startswith(warning)


@pytest.mark.parametrize(
    "fields",
    [
        {"truncation": "disabled"},
        {"stream_options": {"include_obfuscation": False}},
        {"include": ["reasoning.encrypted_content", "file_search_call.results"]},
        {"metadata": {"a": "b"}, "max_tool_calls": 3, "background": False, "store": True, "prompt": None},
    ],
)
def test_what_is_so_anyway_needs_no_warning(fields: dict[str, Any]) -> None:
    assert decode(**fields).chat.warnings == ()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": 3}, "conversation"),
        ({"conversation": {"name": "x"}}, "conversation.id"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"include": ["everything"]}, "include"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "5"}, "max_output_tokens"),
        ({"truncation": "sometimes"}, "truncation"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"temperature": "hot"}, "temperature"),
        ({"logit_bias": []}, "logit_bias"),
        ({"stop": 3}, "stop"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"reasoning": "much"}, "reasoning"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("name", "advice"), [("messages", "'input'"), ("response_format", "'text.format'"), ("n", "n")]
)
def test_fields_of_chat_completions_are_refused_with_the_name_they_have_here(name: str, advice: str) -> None:
    with pytest.raises(ClientError, match=advice) as caught:
        decode(**{name: 1})
    assert caught.value.param == name
    assert decode(**{name: None}).chat.extras == {}


def test_every_field_of_the_sdk_is_known() -> None:
    """None of them may slip into the extras, where an engine would find it."""
    fields = {
        name for name in response_create_params.ResponseCreateParamsStreaming.__annotations__ if name != "stream"
    } | set(response_create_params.ResponseCreateParamsBase.__annotations__)
    request = decode_request(json.dumps(dict.fromkeys(fields) | PLAIN).encode())
    assert request.chat.extras == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"m","input":"\xff"}', b'{"model":"m","x":"\xff"}'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ClientError):
        decode_request(body)


def test_a_continued_request_may_say_nothing_new() -> None:
    body = b'{"model":"m","previous_response_id":"resp_1"}'
    request = decode_request(body)
    assert (request.chat.messages, request.input_items) == ((), ())
    assert decode_request(body[:-1] + b',"input":[]}').previous_response_id == "resp_1"


def test_earlier_conversation_comes_between_instructions_and_input() -> None:
    earlier = (Message(Role.USER, (Text("a"),)), Message(Role.ASSISTANT, (Text("b"),)))
    request = decode(instructions="Be brief.", previous_response_id="resp_1")
    assert extend(request, earlier).messages == (SYSTEM, *earlier, USER)
    assert extend(decode(previous_response_id="resp_1"), earlier).messages == (*earlier, USER)


def test_a_result_gets_the_name_of_the_function_called_before() -> None:
    earlier = (Message(Role.ASSISTANT, (Text("x"), ToolCall("a", "f", "{}"))),)
    items = [{"type": "function_call_output", "call_id": name, "output": "1"} for name in ("a", "z")]
    request = decode(input=items, previous_response_id="resp_1")
    assert extend(request, earlier).messages[1:] == (
        Message(Role.TOOL, (ToolResult("a", (Text("1"),), name="f"),)),
        Message(Role.TOOL, (ToolResult("z", (Text("1"),)),)),
    )


def test_references_are_resolved_by_whoever_keeps_items() -> None:
    stored = {"m1": msgspec.Raw(b'{"role":"user","content":"stored"}')}
    body = json.dumps(PLAIN | {"input": [{"type": "item_reference", "id": "m1"}]}).encode()
    assert decode_request(body, stored.get).chat.messages == (Message(Role.USER, (Text("stored"),)),)
    with pytest.raises(ClientError) as caught:
        decode_request(body)
    assert caught.value.code is Code.INVALID_FIELD


# Fuzzing

_EXAMPLES = [
    json.dumps(PLAIN | fields).encode()
    for fields in (
        {"instructions": "x", "include": ["message.output_text.logprobs"], "top_logprobs": 2, "metadata": {"a": "b"}},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]}]},
        {
            "input": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "x"},
                {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "é"}]},
                {"type": "item_reference", "id": "x"},
            ]
        },
        {
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
            "reasoning": {"effort": "low", "summary": "auto"},
        },
    )
]
_SNIPPETS = [
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"\\",
    b"\xff",
    b"1e999",
    b"[" * 3000,
    b"-1",
    b'"type"',
    b"input_text",
    b"\\ud800",
]


def feed_request(data: bytes) -> None:
    """Invariant: a request or a ClientError, whatever the bytes."""
    with contextlib.suppress(ClientError):
        msgspec.json.encode(decode_request(data, lambda _: msgspec.Raw(b'{"role":"user","content":"x"}')))


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"responses-requests": feed_request}


@fuzz(100)
@given(mutated(_EXAMPLES, _SNIPPETS) | st.binary(max_size=60))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    feed_request(data)


@pytest.mark.parametrize("given", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_is_named_by_a_string_or_an_object_and_may_stand_without_input(given: Any) -> None:
    assert decode(conversation=given).conversation_id == "conv_1"
    body = json.dumps({"model": "m", "conversation": given}).encode()
    assert decode_request(body).input_items == ()
