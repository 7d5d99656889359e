"""Messages for engines. Shapes: OpenAI API reference (2026), vLLM chat_utils.py, llama.cpp server-common.cpp (2026)."""

from typing import Any

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
from mrproxy.dialects.openai.conversations import write_messages
from mrproxy.dialects.openai.engines import engine_of
from mrproxy.errors import ClientError

IMAGE = Image("image/png", "AAAA")
IMAGE_SAID = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def write(kind: str, *messages: Message) -> tuple[list[dict[str, Any]], list[str]]:
    warnings: list[str] = []
    return write_messages(messages, engine_of(kind), warnings), warnings


def said(kind: str, role: Role, *parts: Part) -> dict[str, Any]:
    return write(kind, Message(role, parts))[0][0]


def test_a_text_alone_is_a_string_and_parts_are_parts() -> None:
    assert said("vllm", Role.USER, Text("hi")) == {"role": "user", "content": "hi"}
    assert said("vllm", Role.USER) == {"role": "user", "content": ""}
    assert said("vllm", Role.USER, Text("see"), IMAGE, Audio("wav", "BBBB"))["content"] == [
        {"type": "text", "text": "see"},
        IMAGE_SAID,
        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
    ]


def test_an_image_is_said_by_its_url_or_its_data() -> None:
    web = Image(url="https://x", detail="low")
    assert said("vllm", Role.USER, web)["content"] == [
        {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}
    ]


@pytest.mark.parametrize(
    ("file", "inner"),
    [
        (
            File("a.pdf", "application/pdf", "AAAA"),
            {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        ),
        (File(data="AAAA"), {"file_data": "AAAA"}),
        (File(file_id="file-1"), {"file_id": "file-1"}),
    ],
)
def test_files_are_said_to_those_who_read_them(file: File, inner: dict[str, str]) -> None:
    assert said("openai", Role.USER, file)["content"] == [{"type": "file", "file": inner}]
    with pytest.raises(ClientError) as caught:
        said("vllm", Role.USER, file)
    assert caught.value.param == "messages[0].content[0]"


def test_a_file_elsewhere_is_fetched_for_nobody() -> None:
    with pytest.raises(ClientError):
        said("openai", Role.USER, File(url="https://x"))


def test_a_file_that_is_text_is_text_to_everyone() -> None:
    for kind in ("openai", "vllm"):
        assert said(kind, Role.USER, File(text="hi"))["content"] == [{"type": "text", "text": "hi"}]
        assert said(kind, Role.USER, File("a.txt", text="hi"))["content"] == [{"type": "text", "text": "a.txt:\nhi"}]


def test_templates_get_one_system_prompt() -> None:
    messages = (
        Message(Role.SYSTEM, (Text("a"), Text("b"))),
        Message(Role.DEVELOPER, (Text("c"),)),
        Message(Role.USER, (Text("hi"),)),
        Message(Role.SYSTEM, (Text("d"),)),
    )
    assert write("vllm", *messages)[0] == [
        {"role": "system", "content": "a\n\nb\n\nc"},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "d"},
    ]
    assert [message["role"] for message in write("openai", *messages)[0]] == ["system", "developer", "user", "system"]
    assert said("llamacpp", Role.DEVELOPER, Text("x"))["role"] == "system"


def test_system_prompts_with_pictures_are_not_joined() -> None:
    messages = (Message(Role.SYSTEM, (Text("a"), IMAGE)), Message(Role.SYSTEM, (Text("b"),)))
    assert len(write("vllm", *messages)[0]) == 2


def test_an_assistants_turn() -> None:
    call = ToolCall("c1", "f", "{}")
    call_said = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert said("vllm", Role.ASSISTANT, Thinking("a"), Thinking("b"), Text("hi"), call) == {
        "role": "assistant",
        "content": "hi",
        "tool_calls": [call_said],
        "reasoning_content": "a\nb",
    }
    assert said("vllm", Role.ASSISTANT, call) == {"role": "assistant", "content": None, "tool_calls": [call_said]}
    assert said("vllm", Role.ASSISTANT) == {"role": "assistant", "content": ""}


def test_openai_has_no_place_for_earlier_thinking() -> None:
    turn = Message(Role.ASSISTANT, (Thinking("hm"), RedactedThinking("x"), Text("hi")))
    messages, warnings = write("openai", turn, turn)
    assert messages[0] == {"role": "assistant", "content": "hi"}
    assert [warning.split(" ")[0] for warning in warnings] == ["redacted", "thinking"]
    assert len(write("vllm", turn)[1]) == 1


def test_a_refusal_is_text_where_there_is_no_refusing() -> None:
    assert said("openai", Role.ASSISTANT, Refusal("no"))["content"] == [{"type": "refusal", "refusal": "no"}]
    assert said("llamacpp", Role.ASSISTANT, Refusal("no"))["content"] == [{"type": "text", "text": "no"}]


def test_what_tools_show_follows_their_texts() -> None:
    first = ToolResult("c1", (Text("see"), IMAGE), name="f")
    second = ToolResult("c2", (Text("x"), Text("y")), is_error=True)
    messages, warnings = write(
        "vllm",
        Message(Role.TOOL, (first,)),
        Message(Role.TOOL, (second,)),
        Message(Role.USER, (Text("and?"),)),
    )
    assert messages == [
        {"role": "tool", "tool_call_id": "c1", "content": "see", "name": "f"},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}],
        },
        {"role": "user", "content": [{"type": "text", "text": "Shown by the tool call c1:"}, IMAGE_SAID]},
        {"role": "user", "content": "and?"},
    ]
    assert [warning.split(" ")[0] for warning in warnings] == ["is_error"]
    last = write("openai", Message(Role.TOOL, (first,)))[0]
    assert [message["role"] for message in last] == ["tool", "user"]
    assert "name" not in last[0]


@pytest.mark.parametrize("kind", ["vllm", "llamacpp"])
def test_files_are_refused_by_place(kind: str) -> None:
    with pytest.raises(ClientError) as caught:
        said(kind, Role.USER, Text("x"), File(data="AAAA"))
    assert caught.value.param == "messages[0].content[1]"
    assert said(kind, Role.USER, File(text="x"))["content"] == [{"type": "text", "text": "x"}]
    assert said("openai", Role.USER, File(data="AAAA"))["content"] == [{"type": "file", "file": {"file_data": "AAAA"}}]
