"""What Ollama's surfaces for other clients would leave out of a request is seen, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.surface import Surface
from mrproxy.dialects.ollama.compatibility import passes_over

WEB = "https://example.org/a.png"
DATA = "data:image/png;base64,iVBORw0KGgo="
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"strict": True}}}}
SCHEMA = {"schema": {"type": "object", "description": "inner"}, "name": "s", "strict": True}


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields).encode()


def said(*content: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)} | more]


READ: list[dict[str, Any]] = [
    {},
    {
        "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5, "seed": 1, "stop": ["x"],
        "temperature": 0, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": True,
        "top_logprobs": 2, "reasoning_effort": "low", "reasoning": {"effort": "low"},
    },
    {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "auto", "parallel_tool_calls": True},
    {"tools": [{"type": "function", "function": FUNCTION | {"strict": False}}], "tool_choice": None},
    {"n": 1, "user": None, "logit_bias": None, "store": False, "modalities": ["text"], "tools": None},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    {"stream_options": {"include_usage": True, "include_obfuscation": False}},
    {"messages": said({"type": "text", "text": f"see {WEB}"}, {"type": "image_url", "image_url": {"url": DATA}})},
    {"messages": said({"type": "image_url", "image_url": {"url": DATA, "detail": "auto"}})},
    {"messages": said({"type": "image_url", "image_url": DATA})},
    {"messages": said({"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}})},
    {
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "assistant", "content": None, "refusal": None, "function_call": None, "audio": None,
                "annotations": None, "reasoning": "t", "tool_calls": [{"id": "1", "function": {"name": "f"}}],
            },
            {"role": "tool", "tool_call_id": "1", "name": "f", "content": "http://inside.a.text"},
        ]
    },
]  # fmt: skip
BEYOND: list[dict[str, Any]] = [
    {"tool_choice": "none"},
    {"tool_choice": "required"},
    {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"parallel_tool_calls": False},
    {"max_completion_tokens": 5},
    {"logit_bias": {"1": 2}},
    {"n": 2},
    {"user": "u"},
    {"store": True},
    {"metadata": {"a": "b"}},
    {"top_k": 3},
    {"guided_json": {}},
    {"keep_alive": 0},
    {"response_format": {"type": "grammar"}},
    {"response_format": {"type": "json_schema"}, "n": 2},
    {"response_format": {"type": "json_schema", "json_schema": SCHEMA | {"description": "d"}}},
    {"stream_options": {"include_obfuscation": True}},
    {"stream_options": {"chunk_size": 1}},
    {"tools": [{"type": "function", "function": FUNCTION | {"strict": True}}]},
    {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
    {"messages": [{"role": "developer", "content": "d"}]},
    {"messages": [{"role": "user", "name": "ann", "content": "hi"}]},
    {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "t"}]},
    {"messages": [{"role": "assistant", "content": "a", "refusal": "no"}]},
    {"messages": said({"type": "text", "text": "t"}, cache_control={"type": "ephemeral"})},
    {"messages": said({"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}})},
    {"messages": said({"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": WEB}})},
    {"messages": said({"type": "image_url", "image_url": WEB})},
    {"messages": said({"type": "image_url", "image_url": {"url": "HTTP://example.org/a.png"}})},
    {"messages": said({"type": "image_url", "image_url": {"url": DATA, "detail": "high"}})},
    {"messages": 7},
]


@pytest.mark.parametrize("fields", READ)
def test_a_chat_of_which_ollama_reads_everything_needs_no_other_words(fields: dict[str, Any]) -> None:
    assert not passes_over(Surface.CHAT, chat(**fields))


@pytest.mark.parametrize("fields", BEYOND)
def test_a_chat_that_says_more_than_ollama_reads_is_seen(fields: dict[str, Any]) -> None:
    assert passes_over(Surface.CHAT, chat(**fields))


@pytest.mark.parametrize(
    "body",
    [
        rb'{"model":"m","messages":[],"tool\u005fchoice":"none"}',
        rb'{"model":"m","messages":[{"role":"\u0064eveloper","content":"d"}]}',
        rb'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"\u0068ttps://example.org/a"}]}]}',
        b'{"messages":[],"tool_choice":"auto","tool_choice":"none"}',
        b'{ "messages" : [ { "content" : [ { "image_url" : { "url" : "http://a/" } } ] } ] }',
    ],
)
def test_how_it_is_spelled_makes_no_difference(body: bytes) -> None:
    assert passes_over(Surface.CHAT, body)


@pytest.mark.parametrize(
    ("body", "is_beyond"),
    [
        (b'{"model":"m","prompt":"p","suffix":"s","logprobs":1,"best_of":1,"echo":false,"n":1}', False),
        (b'{"model":"m","prompt":"p","best_of":2}', True),
        (b'{"model":"m","prompt":"p","echo":true}', True),
        (b'{"model":"m","prompt":"p","user":"u"}', True),
    ],
)
def test_a_completion_is_looked_at_by_its_fields(body: bytes, is_beyond: bool) -> None:
    assert passes_over(Surface.TEXT, body) is is_beyond


def test_an_embedding_is_looked_at_by_its_fields() -> None:
    assert not passes_over(Surface.EMBEDDINGS, b'{"model":"m","input":["a"],"dimensions":3,"encoding_format":"base64"}')
    assert passes_over(Surface.EMBEDDINGS, b'{"model":"m","input":["a"],"truncate_prompt_tokens":-1}')


IMAGE = {"type": "image", "source": {"type": "url", "url": WEB}}
INLINE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


@pytest.mark.parametrize(
    ("fields", "is_beyond"),
    [
        ({"tool_choice": {"type": "auto"}}, False),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": False}}, False),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, True),
        ({"tool_choice": {"type": "any"}}, True),
        ({"tool_choice": {"type": "tool", "name": "f"}}, True),
        ({"tool_choice": {"type": "none"}}, True),
        ({"metadata": {"user_id": "u"}, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}, False),
        ({"messages": said({"type": "text", "text": WEB}, INLINE)}, False),
        ({"messages": said(IMAGE)}, True),
        ({"messages": said({"type": "tool_result", "tool_use_id": "1", "content": [IMAGE]})}, True),
        ({"messages": said({"type": "image"})}, False),
        ({"messages": said({"type": "document", "source": {"type": "url", "url": WEB}})}, False),
    ],
)
def test_of_messages_tool_choices_and_images_elsewhere_are_seen(fields: dict[str, Any], is_beyond: bool) -> None:
    assert passes_over(Surface.MESSAGES, chat(**fields)) is is_beyond


@pytest.mark.parametrize(
    ("fields", "is_beyond"),
    [
        ({"input": WEB}, False),
        ({"input": "i", "tool_choice": "auto", "parallel_tool_calls": True}, False),
        ({"input": "i", "tool_choice": "required"}, True),
        ({"input": "i", "tool_choice": {"type": "function", "name": "f"}}, True),
        ({"input": "i", "parallel_tool_calls": False}, True),
        ({"input": said({"type": "input_text", "text": WEB}, {"type": "input_image", "image_url": DATA})}, False),
        ({"input": said({"type": "input_image", "image_url": WEB, "detail": "auto"})}, True),
        ({"input": said({"type": "input_image", "file_id": "f"})}, False),
        (
            {
                "input": [
                    {
                        "type": "function_call_output",
                        "call_id": "1",
                        "output": [{"type": "input_image", "image_url": WEB}],
                    }
                ]
            },
            True,
        ),
    ],
)
def test_of_responses_tool_choices_and_images_elsewhere_are_seen(fields: dict[str, Any], is_beyond: bool) -> None:
    assert passes_over(Surface.RESPONSES, json.dumps({"model": "m"} | fields).encode()) is is_beyond


def test_deep_nesting_is_not_followed() -> None:
    deep: dict[str, Any] = IMAGE
    for _ in range(3):
        deep = {"type": "tool_result", "content": [deep]}
    assert not passes_over(Surface.MESSAGES, chat(messages=said(deep)))


@pytest.mark.parametrize("surface", Surface)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a":' + b"[" * 50_000, b'{"\xff":1}'])
def test_what_cannot_be_read_is_for_the_engine_to_refuse(surface: Surface, body: bytes) -> None:
    assert not passes_over(surface, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "source", "image_url", "url", "function", "name", "output"]),
            inner,
        )
    ),
    max_leaves=8,
)
NAMES = ["messages", "input", "tools", "tool_choice", "response_format", "stream_options", "n"]


@given(st.sampled_from(Surface), st.dictionaries(st.sampled_from(NAMES), JSON))
def test_whatever_is_in_it_there_is_an_answer(surface: Surface, body: dict[str, Any]) -> None:
    assert passes_over(surface, json.dumps(body).encode()) in (True, False)
