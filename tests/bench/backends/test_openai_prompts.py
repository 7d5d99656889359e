import msgspec
import pytest

from bench.backends.openai_json import ChatRequest, CompletionRequest
from bench.backends.openai_prompts import read_chat, read_completion
from bench.backends.prompts import Refusal

TOOL = {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
CALLED = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "a", "arguments": '{"b":1}'}}]}


def chat(*messages, is_ollama=False, **fields):
    body = {"model": "m", "messages": messages or ({"role": "user", "content": "hi"},)} | fields
    return read_chat(msgspec.json.decode(msgspec.json.encode(body), type=ChatRequest), is_ollama)


def test_a_conversation_is_read():
    read = chat(
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "look: "}, IMAGE, {"type": "text", "text": "?"}]},
        CALLED,
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "sunny"}]},
        tools=[TOOL],
        stop="x",
        max_tokens=9,
        max_completion_tokens=7,
        parallel_tool_calls=False,
    )
    heard = read.conversation
    assert (heard.text, heard.images, heard.results) == ("look: ?", [5], ["sunny"])
    assert (read.tools, read.stops, read.limit, read.is_parallel) == ({"a": {"type": "object"}}, ("x",), 7, False)


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning_effort": "none"}, ""),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "on"),
        ({"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"}, "high"),
        ({"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "high"}, ""),
        ({}, ""),
    ],
)
def test_thinking_is_asked_for_in_several_ways(fields, effort):
    assert chat(**fields).effort == effort


@pytest.mark.parametrize(
    ("fields", "schema"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, True),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}}}}, {"a": 1}),
        ({"guided_json": {"b": 1}}, {"b": 1}),
        ({"guided_json": '{"b":1}'}, {"b": 1}),
        ({"structured_outputs": {"json": {"c": 1}}}, {"c": 1}),
    ],
)
def test_a_schema_is_found_where_engines_look_for_it(fields, schema):
    assert chat(**fields).schema == schema


@pytest.mark.parametrize(
    ("choice", "forced", "may_call"),
    [
        ("auto", None, True),
        ("none", None, False),
        ("required", "", True),
        ({"type": "function", "function": {"name": "a"}}, "a", True),
    ],
)
def test_tool_choice_is_vllms_and_unknown_to_ollama(choice, forced, may_call):
    read = chat(tools=[TOOL], tool_choice=choice)
    assert (read.forced, read.may_call) == (forced, may_call)
    ignored = chat(tools=[TOOL], tool_choice=choice, is_ollama=True)
    assert (ignored.forced, ignored.may_call) == (None, True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tool_choice": "required"}, "`tools` must be set"),
        ({"tools": [TOOL], "tool_choice": {"function": {"name": "b"}}}, "does not match"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice must be"),
        ({"tools": [{"type": "function"}]}, "a function with a name"),
        ({"response_format": {"type": "json_schema"}}, "with a schema"),
        ({"stop": [1]}, "stop must be"),
        ({"n": 0}, "n must be"),
    ],
)
def test_fields_vllm_refuses(fields, message):
    with pytest.raises(Refusal, match=message):
        chat(**fields)


@pytest.mark.parametrize(
    ("message", "wording"),
    [
        ({"role": "robot", "content": ""}, "unknown role"),
        ({"role": "user", "content": None}, "valid string"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "Unknown part type"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "Field required"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}, "cannot identify"),
        (CALLED | {"tool_calls": [{"function": {"name": "a", "arguments": "{"}}]}, "must be a JSON object"),
        (CALLED | {"tool_calls": [{"function": {"name": "a", "arguments": {}}}]}, "must be a JSON object"),
    ],
)
def test_messages_vllm_refuses(message, wording):
    with pytest.raises(Refusal, match=wording):
        chat(message)


@pytest.mark.parametrize(
    ("part", "wording"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "URLs are not currently supported"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}, "invalid image input"),
        ({"type": "file"}, "invalid message format"),
    ],
)
def test_ollama_takes_images_as_data_only(part, wording):
    with pytest.raises(Refusal, match=wording):
        chat({"role": "user", "content": [part]}, is_ollama=True)


def test_ollama_knows_few_efforts():
    assert chat(reasoning={"effort": "low"}, is_ollama=True).effort == "low"
    with pytest.raises(Refusal, match="invalid reasoning value"):
        chat(reasoning_effort="minimal", is_ollama=True)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("hi", ["hi"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], ["3 token ids"]),
        ([[1], [2, 3]], ["1 token ids", "2 token ids"]),
    ],
)
def test_a_completion_has_a_prompt_or_several(given, texts):
    body = msgspec.json.encode({"model": "m", "prompt": given, "stop": ["."], "n": 2, "logprobs": 1})
    prompts = read_completion(msgspec.json.decode(body, type=CompletionRequest))
    assert [prompt.conversation.text for prompt in prompts] == texts
    assert [(prompt.choices, prompt.logprobs, prompt.stops) for prompt in prompts] == [(2, 1, (".",))] * len(texts)


def test_a_prompt_that_is_none_is_refused():
    with pytest.raises(Refusal, match="prompt must be"):
        read_completion(CompletionRequest("m", msgspec.Raw(b"5")))
