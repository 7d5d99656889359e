"""Conversations of any dialect as Anthropic's alternating turns."""

from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import (
    Audio,
    File,
    Image,
    Message,
    Part,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.anthropic.fields import Notes
from mrproxy.dialects.anthropic.turns import read_arguments, write_messages, write_system
from mrproxy.errors import ClientError


def user(*parts: Part) -> Message:
    return Message(Role.USER, parts)


def assistant(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, parts)


def result(call_id: str, *parts: Text | Image | File) -> Message:
    return Message(Role.TOOL, (ToolResult(call_id, parts),))


def write(*messages: Message, warnings: int = 0) -> list[dict[str, Any]]:
    notes = Notes()
    turns: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(write_messages(messages, notes)))
    assert len(notes.all()) == warnings, notes.all()
    return turns


def blocks(message: Message, warnings: int = 0) -> list[dict[str, Any]]:
    first = [] if message.role is Role.USER else [user(Text("hi"))]
    turn = write(*first, message, warnings=warnings)[-1]
    content = turn["content"]
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def test_messages_of_one_role_are_joined() -> None:
    assert write(user(Text("a")), user(Text("b")), assistant(Text("c")), assistant(Text("d")), user(Text("e"))) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
        {"role": "user", "content": "e"},
    ]


def test_tool_results_are_the_users_and_come_first() -> None:
    calls = assistant(Text(""), ToolCall("c1", "f", '{"a": 1}'), ToolCall("c2", "g", ""))
    assert write(user(Text("hi")), calls, result("c1", Text("x")), user(Text("and")), result("c2")) == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "x"},
                {"type": "tool_result", "tool_use_id": "c2"},
                {"type": "text", "text": "and"},
            ],
        },
    ]


def test_what_says_nothing_is_no_turn() -> None:
    assert write(user(Text("a")), assistant(Text("")), user(Text("b"))) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]
    with pytest.raises(ClientError) as caught:
        write(Message(Role.SYSTEM, (Text("s"),)), user(Text("")))
    assert caught.value.param == "messages"


def test_pictures_and_papers() -> None:
    parts = user(
        Image("image/png", "aGk="),
        Image(url="https://x"),
        File(media_type="application/pdf", data="aGk=", name="T"),
        File(media_type="text/markdown; charset=utf-8", data="aGk="),
        File(text="t"),
        File(url="https://x"),
        File(file_id="f"),
    )
    assert blocks(parts) == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://x"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            "title": "T",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "t"}},
        {"type": "document", "source": {"type": "url", "url": "https://x"}},
        {"type": "document", "source": {"type": "file", "file_id": "f"}},
    ]
    assert blocks(user(Image(url="https://x", detail="auto"))) == blocks(user(Image(url="https://x", detail="low")), 1)


@pytest.mark.parametrize(
    "message",
    [
        user(Audio("wav", "aGk=")),
        user(File(media_type="application/zip", data="aGk=")),
        user(File(media_type="text/plain", data="/w==")),
        assistant(Image(url="https://x")),
        assistant(File(text="x")),
    ],
)
def test_what_cannot_be_said_is_refused(message: Message) -> None:
    with pytest.raises(ClientError) as caught:
        blocks(message)
    assert caught.value.param == "messages"


def test_thinking_goes_back_only_with_its_signature() -> None:
    parts = assistant(Thinking("t", "s"), RedactedThinking("d"), Refusal("no"))
    assert blocks(parts) == [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "no"},
    ]
    assert blocks(assistant(Thinking("t"), Text("x")), warnings=1) == [{"type": "text", "text": "x"}]


def test_results_hold_pictures_and_say_that_they_failed() -> None:
    failed = Message(Role.TOOL, (ToolResult("c", (Text("a"), Image(url="https://x")), is_error=True, name="f"),))
    assert write(failed)[0]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "c",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "url", "url": "https://x"}},
            ],
            "is_error": True,
        }
    ]


def test_a_name_is_said_to_be_ignored() -> None:
    assert write(Message(Role.USER, (Text("hi"),), "bob"), warnings=1) == [{"role": "user", "content": "hi"}]


def test_arguments_that_are_no_object_are_shown_as_such() -> None:
    assert blocks(assistant(ToolCall("c", "f", '{"a":')), warnings=1)[0]["input"] == {"INVALID_JSON": '{"a":'}


@pytest.mark.parametrize("text", ['{"a":', "[1]", '"x"', "1", "{} {}", "{'a': 1}", "[" * 9000, '{"a":"\ud800"}'])
def test_only_objects_are_arguments(text: str) -> None:
    assert read_arguments(text) == {"INVALID_JSON": text}


def test_no_arguments_are_an_empty_object() -> None:
    assert read_arguments("") == read_arguments(" \n") == read_arguments("{}") == msgspec.Raw(b"{}")


# System


def system(*messages: Message, instruction: str | None = None, warnings: int = 0) -> Any:
    notes = Notes()
    said = write_system(messages, instruction, notes)
    assert len(notes.all()) == warnings
    return said


def test_one_system_text_is_a_string_and_several_are_blocks() -> None:
    first, second = Message(Role.SYSTEM, (Text("a"),)), Message(Role.DEVELOPER, (Text("b"), Text("")))
    assert system(user(Text("hi"))) is None
    assert system(first) == "a"
    assert system(first, second) == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert system(first, instruction="i") == [{"type": "text", "text": "a"}, {"type": "text", "text": "i"}]
    assert system(instruction="i") == "i"


def test_a_system_message_that_moves_is_said() -> None:
    assert system(user(Text("hi")), Message(Role.SYSTEM, (Text("a"),)), warnings=1) == "a"


def test_system_messages_are_text() -> None:
    with pytest.raises(ClientError):
        system(Message(Role.SYSTEM, (Image(url="https://x"),)))
