import json

import msgspec
import pytest

from bench.backends.anthropic_prompts import MessagesRequest, count_input, read_prompt, sign
from bench.backends.prompts import URL_BYTES, Refusal

TOOL = {"name": "a", "input_schema": {"type": "object"}}
USER = {"role": "user", "content": "hi"}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "a", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]}


def image(**source):
    return {"type": "image", "source": source}


def read(*messages, version="2023-06-01", **fields):
    body = json.dumps({"model": "m", "max_tokens": 5000, "messages": messages or [USER]} | fields).encode()
    return read_prompt(msgspec.json.decode(body, type=MessagesRequest), body, version)


def test_a_conversation_is_read():
    png = image(type="base64", media_type="image/png", data="aGVsbG8=")
    thought = {"type": "thinking", "thinking": "hm", "signature": sign("hm")}
    prompt = read(
        {"role": "user", "content": [{"type": "text", "text": "look"}, png, image(type="url", url="https://x")]},
        USE | {"content": [thought, *USE["content"]]},
        RESULT,
        system=[{"type": "text", "text": "cached"}],
        tools=[TOOL],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        stop_sequences=["x"],
    )
    heard = prompt.conversation
    assert (heard.text, heard.images, heard.results) == ("look", [5, URL_BYTES], ["sunny"])
    assert (prompt.tools, prompt.is_parallel, prompt.stops, prompt.limit) == (
        {"a": {"type": "object"}},
        False,
        ("x",),
        5000,
    )
    assert prompt.is_cached


def test_words_beside_a_result_do_not_undo_it():
    said = read(
        USER, USE, {"role": "user", "content": [*RESULT["content"], {"type": "text", "text": "well?"}]}, tools=[TOOL]
    )
    assert (said.conversation.text, said.conversation.results) == ("well?", ["sunny"])


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "budget 2048"),
        ({"thinking": {"type": "adaptive"}}, "adaptive"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "disabled"}}, ""),
        ({}, ""),
    ],
)
def test_thinking_is_switched_on_and_measured(fields, effort):
    assert read(**fields).effort == effort


@pytest.mark.parametrize(
    ("choice", "forced", "may_call"),
    [("auto", None, True), ("any", "", True), ("none", None, False), ("tool", "a", True)],
)
def test_tool_choice(choice, forced, may_call):
    prompt = read(tools=[TOOL], tool_choice={"type": choice, "name": "a"})
    assert (prompt.forced, prompt.may_call) == (forced, may_call)


def test_a_schema_comes_with_output_config():
    assert read(output_config={"format": {"type": "json_schema", "schema": {"a": 1}}}).schema == {"a": 1}


THINKING = {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frequency_penalty": 1}, "frequency_penalty: Extra inputs are not permitted"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"temperature": 1.5}, r"temperature: range: 0\.\.1"),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        ({"tool_choice": {"type": "auto"}}, "while providing tools"),
        ({"thinking": THINKING | {"budget_tokens": 5}}, "greater than or equal to 1024"),
        ({"thinking": THINKING, "max_tokens": 1024}, "must be greater than"),
        ({"thinking": THINKING, "temperature": 0.5}, "only be set to 1"),
        ({"thinking": THINKING, "tools": [TOOL], "tool_choice": {"type": "any"}}, "forces tool use"),
        ({"tools": [TOOL | {"name": "a b"}]}, "should match pattern"),
        ({"tools": [{"name": "a"}]}, "input_schema"),
        ({"tools": [TOOL, TOOL]}, "must be unique"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "b"}}, "not found in provided tools"),
    ],
)
def test_fields_the_api_refuses(fields, message):
    with pytest.raises(Refusal, match=message):
        read(**fields)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "system", "content": "a"}], "Unexpected role"),
        ([{"role": "assistant", "content": "a"}], "must use the user role"),
        ([{"role": "user", "content": ""}], "non-empty content"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}]}], "must be non-empty"),
        ([USER, {"role": "assistant", "content": "so "}], "trailing whitespace"),
        ([USER, USE, USER], "without `tool_result`"),
        ([USER, RESULT], "unexpected `tool_use_id`"),
        ([USER, {"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]}, USER], "without `tool_result`"),
        ([{"role": "user", "content": [image(type="base64", media_type="image/png", data="%")]}], "invalid base64"),
        ([{"role": "user", "content": [image(type="base64", media_type="image/x", data="aGk=")]}], "media_type"),
        ([{"role": "user", "content": [image(type="file")]}], "expected tags"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "expected tags"),
        (
            [USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": "x"}]}],
            "signature",
        ),
    ],
)
def test_messages_the_api_refuses(messages, message):
    with pytest.raises(Refusal, match=message):
        read(*messages)


def test_engines_that_serve_the_route_too_mind_less():
    forged = {"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": "x"}]}
    assert read(USER, forged, frequency_penalty=1, temperature=2, max_tokens=None, version="").limit is None


def test_counting_ignores_all_but_what_is_read():
    short = count_input(b'{"messages":[{"role":"user","content":"a"}],"max_tokens":1}')
    assert short == count_input(
        b'{"messages":[{"role":"user","content":"a"}],"stream":true,"metadata":{"user_id":"x"}}'
    )
    assert short < count_input(b'{"messages":[{"role":"user","content":"a"}],"tools":[{"name":"a"}],"system":"b"}')


@pytest.mark.parametrize(
    ("messages", "fields", "message"),
    [
        ([USER], {"temperature": 1}, "temperature: Extra inputs are not permitted"),
        ([USER], {"top_k": 5}, "top_k: Extra inputs are not permitted"),
        ([{"role": "user", "content": [{"type": "text", "text": "a", "citations": [{}]}]}], {}, "citations"),
        ([USER, {"role": "assistant", "content": [{"type": "document"}]}, USER], {}, "`document` blocks"),
    ],
)
def test_the_newer_version_refuses_more(messages, fields, message):
    assert read(*messages, **fields).limit == 5000
    with pytest.raises(Refusal, match=message):
        read(*messages, version="2026-10-21", **fields)
