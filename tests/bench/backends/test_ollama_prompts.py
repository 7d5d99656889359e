import msgspec
import pytest

from bench.backends.ollama_prompts import GenerateRequest, read_format, read_prompt
from bench.backends.prompts import Refusal


def read(**body):
    return read_prompt(msgspec.json.decode(msgspec.json.encode(body), type=GenerateRequest), 7)


CALLED = {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": {"b": 1}}}]}


def test_a_chat_is_read():
    tool = {"type": "function", "function": {"name": "a", "parameters": {}}}
    messages = [
        {"role": "system", "content": "cached"},
        {"role": "user", "content": "look", "images": ["aGVsbG8="]},
        CALLED,
        {"role": "tool", "content": "sunny", "tool_name": "a"},
    ]
    prompt = read(messages=messages, tools=[tool], think="low", options={"stop": ["x"]}, format="json")
    heard = prompt.conversation
    assert (heard.text, heard.images, heard.results) == ("look", [5], ["sunny"])
    assert (prompt.tools, prompt.effort, prompt.stops, prompt.schema, prompt.limit) == (
        {"a": {}},
        "low",
        ("x",),
        True,
        7,
    )
    assert prompt.is_cached


def test_generate_has_one_prompt_and_its_images():
    prompt = read(prompt="hi", system="be brief", images=["aGk="], think=True)
    assert (prompt.conversation.text, prompt.conversation.images, prompt.effort) == ("hi", [2], "on")


@pytest.mark.parametrize(
    ("given", "schema"), [(None, None), ("", None), ("json", True), ({"type": "object"}, {"type": "object"})]
)
def test_format_is_json_or_a_schema(given, schema):
    assert read_format(given) == schema


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"format": "yaml", "prompt": "a"}, 'invalid format: "yaml"'),
        ({"think": "maximal", "prompt": "a"}, 'invalid think value: "maximal"'),
        ({"images": ["data:image/png;base64,aGk="], "prompt": "a"}, "illegal base64 data at input byte 4"),
        ({"images": ["aGk"], "prompt": "a"}, "illegal base64 data at input byte 3"),
        ({"options": {"stop": "x"}, "prompt": "a"}, '"stop" must be of type array'),
    ],
)
def test_what_ollama_refuses(body, message):
    with pytest.raises(Refusal, match=message):
        read(**body)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]},
    ],
)
def test_what_gos_decoder_refuses(message):
    with pytest.raises(msgspec.ValidationError):
        read(messages=[message])
