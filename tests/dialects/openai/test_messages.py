"""Messages, decoded. Shapes: OpenAI API reference, "Create chat completion" (2026)."""

from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import (
    File,
    Image,
    Message,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.openai.messages import AskedMessage, read_messages, warnings_of
from mrproxy.errors import ClientError


def read(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return read_messages(msgspec.json.decode(msgspec.json.encode(messages), type=list[AskedMessage]))


def test_the_roles() -> None:
    for role in ("system", "developer", "user", "assistant"):
        assert read({"role": role, "content": "hi", "name": "n"}) == (Message(Role(role), (Text("hi"),), "n"),)


@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": ""}]])
def test_empty_text_is_no_part(content: object) -> None:
    assert read({"role": "user", "content": content}) == (Message(Role.USER, ()),)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_an_earlier_turn_keeps_its_thinking_its_refusal_and_its_calls(field: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    message = {"role": "assistant", "content": "hi", field: "hm", "refusal": "no", "tool_calls": [call]}
    parts = (Thinking("hm"), Text("hi"), Refusal("no"), ToolCall("c1", "f", '{"x":1}'))
    assert read(message) == (Message(Role.ASSISTANT, parts),)


def test_calls_are_made_whole() -> None:
    calls = [
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": {"name": "f", "arguments": {"x": [1]}}},
    ]
    assert read({"role": "assistant", "tool_calls": calls})[0].parts == (
        ToolCall("call_0_0", "f", "{}"),
        ToolCall("call_0_1", "f", '{"x":[1]}'),
    )


def test_a_tool_answers() -> None:
    image = {"type": "image_url", "image_url": "data:image/png;base64,AAAA"}
    message = {"role": "tool", "tool_call_id": "c1", "name": "f", "content": [{"type": "text", "text": "x"}, image]}
    result = ToolResult("c1", (Text("x"), Image("image/png", "AAAA")), name="f")
    assert read(message) == (Message(Role.TOOL, (result,)),)
    assert read({"role": "tool", "tool_call_id": "c1", "content": "x"})[0].parts == (ToolResult("c1", (Text("x"),)),)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            File("a.pdf", "application/pdf", "AAAA"),
        ),
        ({"file_data": "AAA"}, File(data="AAA=")),
        ({"file_id": "file-1", "filename": "a"}, File("a", file_id="file-1")),
        ({"file_id": "file-1", "file_data": "AAAA"}, File(data="AAAA", file_id="file-1")),
    ],
)
def test_a_file_is_its_data_or_its_id(file: dict[str, str], expected: File) -> None:
    assert read({"role": "user", "content": [{"type": "file", "file": file}]})[0].parts == (expected,)


def test_the_first_bytes_of_an_image_win_over_its_label() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,iVBORw0KGgo", "detail": "low"}}
    image = Image("image/png", "iVBORw0KGgo=", detail="low")
    assert read({"role": "user", "content": [part]})[0].parts == (image,)


_CUSTOM = {"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}}
_AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "name": "f", "content": "x"}, "messages[0]"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": ""}}, "messages[0]"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
        ({"role": "assistant", "tool_calls": [_CUSTOM]}, "messages[0].tool_calls[0]"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "tool", "tool_call_id": "c", "content": [_AUDIO]}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}, "messages[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "file:///x"}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,?"}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0].file"),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:x;base64"}}]},
            "messages[0].content[0].file.file_data",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(message: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        read(message)
    assert caught.value.param == param


def test_arguments_that_are_no_text_are_refused() -> None:
    raw = b'[{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":{"x":"\xff"}}}]}]'
    with pytest.raises(ClientError) as caught:
        read_messages(msgspec.json.decode(raw, type=list[AskedMessage]))
    assert caught.value.param == "messages[0].tool_calls[0].function.arguments"


def test_warnings_name_each_thing_once() -> None:
    raw = b'[{"role":"user","content":[{"type":"text","text":"","a":1}],"b":2},{"role":"user","content":"[","b":3}]'
    assert warnings_of(msgspec.Raw(raw)) == ["a in messages is ignored", "b in messages is ignored"]
