"""Messages as Anthropic's SDK writes them, block by block (types of anthropic-sdk-python 2.11, 2026)."""

from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import (
    File,
    Image,
    Message,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.anthropic.blocks import read_messages, read_system
from mrproxy.dialects.anthropic.fields import Members, Notes
from mrproxy.errors import ClientError, Code

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAE="


def read(role: str, content: Any) -> tuple[list[Message], tuple[str, ...]]:
    notes = Notes()
    message = Members(msgspec.json.encode({"role": role, "content": content}), "messages.0")
    return read_messages([message], notes), notes.all()


def parts(role: str, *blocks: dict[str, Any]) -> tuple[Any, ...]:
    (message,), warnings = read(role, list(blocks))
    assert warnings == ()
    return message.parts


def test_a_string_is_one_text() -> None:
    assert read("user", "hi")[0] == [Message(Role.USER, (Text("hi"),))]
    assert read("assistant", "hi")[0] == [Message(Role.ASSISTANT, (Text("hi"),))]
    assert read("system", "hi")[0] == [Message(Role.SYSTEM, (Text("hi"),))]
    assert read("user", "")[0] == read("user", [])[0] == [Message(Role.USER, ())]


def test_the_system_prompt_is_a_string_or_texts() -> None:
    notes = Notes()
    assert read_system(None, notes) == read_system(msgspec.Raw(b'""'), notes) == []
    assert read_system(msgspec.Raw(b'"s"'), notes) == [Message(Role.SYSTEM, (Text("s"),))]
    blocks = msgspec.Raw(b'[{"type":"text","text":"a"},{"type":"text","text":"b"}]')
    assert read_system(blocks, notes) == [Message(Role.SYSTEM, (Text("a"), Text("b")))]
    with pytest.raises(ClientError) as caught:
        read_system(msgspec.Raw(b'[{"type":"image","source":{}}]'), notes)
    assert caught.value.param == "system.0"


def test_images_are_data_or_addresses() -> None:
    data = {"type": "base64", "media_type": "image/jpeg", "data": PNG}
    assert parts(
        "user",
        {"type": "image", "source": data},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "image", "source": {"type": "url", "url": f"data:image/png;base64,{PNG}"}},
    ) == (Image("image/png", PNG), Image(url="https://x/y.png"), Image("image/png", PNG))


def test_documents_keep_their_titles() -> None:
    assert parts(
        "user",
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "t"}, "title": "T"},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}, "citations": {"enabled": False}},
        {"type": "document", "source": {"type": "file", "file_id": "f"}, "context": "about it"},
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        },
    ) == (
        File(media_type="application/pdf", data="aGk="),
        File(name="T", media_type="text/plain", text="t"),
        File(url="https://x/y.pdf"),
        Text("about it"),
        File(file_id="f"),
        File(media_type="text/plain", text="a\n\nb"),
    )


def test_search_results_are_said_in_words() -> None:
    block = {"type": "search_result", "title": "T", "source": "https://x", "content": [{"type": "text", "text": "c"}]}
    assert parts("user", block) == (Text("T\nhttps://x\n\nc"),)


def test_what_an_assistant_did_is_kept() -> None:
    assert parts(
        "assistant",
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "x", "citations": None},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"ä": 1}, "caller": {"type": "direct"}},
    ) == (Thinking("t", "s"), RedactedThinking("d"), Text("x"), ToolCall("t1", "f", '{"ä":1}'))


def test_tool_results_become_messages_of_their_own() -> None:
    messages, warnings = read(
        "user",
        [
            {"type": "tool_result", "tool_use_id": "t1", "content": "ok"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
            {"type": "text", "text": "go"},
            {
                "type": "tool_result",
                "tool_use_id": "t3",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image", "source": {"type": "url", "url": "https://x"}},
                ],
            },
        ],
    )
    assert warnings == ()
    assert messages == [
        Message(Role.TOOL, (ToolResult("t1", (Text("ok"),)),)),
        Message(Role.TOOL, (ToolResult("t2", (), is_error=True),)),
        Message(Role.USER, (Text("go"),)),
        Message(Role.TOOL, (ToolResult("t3", (Text("x"), Image(url="https://x"))),)),
    ]


@pytest.mark.parametrize(
    ("block", "warning"),
    [
        ({"type": "text", "text": "x", "citations": [{"type": "char_location"}]}, "text.citations"),
        ({"type": "text", "text": "x", "parsed_output": {}}, "text.parsed_output"),
        (
            {"type": "document", "source": {"type": "file", "file_id": "f"}, "citations": {"enabled": True}},
            "document.citations",
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://x"}, "transformations": {}}, "image.trans"),
        ({"type": "image", "source": {"type": "url", "url": "https://x", "new": 1}}, "image.source.new"),
        ({"type": "tool_result", "tool_use_id": "t", "toolset_name": "x"}, "tool_result.toolset_name"),
    ],
)
def test_what_is_ignored_is_said(block: dict[str, Any], warning: str) -> None:
    (said,) = read("user", [block])[1]
    assert said.startswith(warning)
    assert "is ignored" in said


@pytest.mark.parametrize(
    ("role", "block", "param"),
    [
        ("user", {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}, "content.0"),
        ("assistant", {"type": "web_search_tool_result", "tool_use_id": "x", "content": {}}, "content.0"),
        ("user", {"type": "container_upload", "file_id": "f"}, "content.0"),
        ("user", {"type": "tool_use", "id": "x", "name": "f", "input": {}}, "content.0"),
        ("assistant", {"type": "tool_result", "tool_use_id": "x"}, "content.0"),
        ("assistant", {"type": "image", "source": {"type": "url", "url": "https://x"}}, "content.0"),
        ("system", {"type": "document", "source": {}}, "content.0"),
        ("user", {"type": "image", "source": {"type": "file", "file_id": "f"}}, "content.0.source.type"),
        ("user", {"type": "image", "source": {"type": "base64", "data": "?"}}, "content.0.source.data"),
        ("user", {"type": "document", "source": {"type": "tape"}}, "content.0.source.type"),
        (
            "user",
            {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": {}}]}},
            "content.0.source.content.0",
        ),
        (
            "user",
            {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "tool_reference", "tool_name": "f"}]},
            "content.0.content.0",
        ),
        ("assistant", {"type": "tool_use", "id": "", "name": "f", "input": {}}, "content.0.id"),
        ("assistant", {"type": "tool_use", "id": "x", "name": "f", "input": "{}"}, "content.0.input"),
        (
            "assistant",
            {"type": "tool_use", "id": "x", "name": "f", "input": {}, "caller": {"type": "code_execution_20260120"}},
            "content.0.caller.type",
        ),
        ("user", {"type": "text"}, "content.0.text"),
        ("user", {"text": "x"}, "content.0.type"),
    ],
)
def test_what_no_engine_understands_is_refused_by_its_place(role: str, block: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        read(role, [block])
    assert caught.value.code in (Code.INVALID_FIELD, Code.MISSING_FIELD)
    assert caught.value.param == f"messages.0.{param}"
