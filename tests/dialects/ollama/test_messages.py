"""Messages both ways. Shapes: ollama docs/api.md and api/types.go, v0.17.4 (February 2026)."""

import json
from typing import Any

import pytest

from mrproxy.canonical.conversation import (
    Audio,
    File,
    Image,
    Message,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.ollama.fields import Fields
from mrproxy.dialects.ollama.messages import read_messages, write_messages
from mrproxy.errors import ClientError
from tests.dialects.ollama.wishes import PNG

PICTURE = Image("image/png", PNG)


def read(*messages: Any) -> tuple[Message, ...]:
    return read_messages(Fields(json.dumps({"messages": messages}).encode()))


def written(*messages: Message) -> tuple[list[dict[str, Any]], list[str]]:
    warnings: list[str] = []
    return write_messages(messages, warnings), warnings


def told(*parts: Any, role: Role = Role.USER) -> list[dict[str, Any]]:
    return written(Message(role, parts))[0]


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": {}}} | more


def test_images_stand_before_the_text_and_thinking_before_both() -> None:
    assert read({"role": "USER", "content": "What is it?", "images": [PNG, PNG]}) == (
        Message(Role.USER, (PICTURE, PICTURE, Text("What is it?"))),
    )
    assert read({"role": "assistant", "content": "A pig.", "thinking": "Hm.", "images": None}) == (
        Message(Role.ASSISTANT, (Thinking("Hm."), Text("A pig."))),
    )


def test_nothing_said_is_no_part() -> None:
    assert read({"role": "user", "content": ""}, {"role": "assistant", "content": None}, {"role": "system"}) == (
        Message(Role.USER, ()), Message(Role.ASSISTANT, ()), Message(Role.SYSTEM, ()),
    )  # fmt: skip
    assert told() == [{"role": "user", "content": ""}]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"role": "control"}, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": "user", "content": [{"type": "text", "text": "x"}]}, "messages[0].content"),
        ({"role": "user", "images": ["https://example.org/a.png"]}, "messages[0].images"),
        ({"role": "user", "images": ["data:image/png;base64," + PNG]}, "messages[0].images"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[0].tool_calls[0].function"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
         "messages[0].tool_calls[0].function.arguments"),
        (5, "messages[0]"),
    ],
)  # fmt: skip
def test_what_ollama_would_refuse_is_refused_by_name(wrong: Any, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        read(wrong)
    assert caught.value.param == param


def test_calls_without_ids_get_some_and_results_find_them_by_name() -> None:
    messages = read(
        {"role": "assistant", "content": "", "tool_calls": [call("a"), call("b"), call("a"), call("c", id="own")]},
        {"role": "tool", "content": "B", "tool_name": "b"},
        {"role": "tool", "content": "A1", "tool_name": "a"},
        {"role": "tool", "content": "A2", "tool_name": "a"},
        {"role": "tool", "content": "C", "tool_call_id": "own"},
        {"role": "tool", "content": "?", "tool_name": "z"},
    )
    ids = [part.id for part in messages[0].parts if isinstance(part, ToolCall)]
    assert ids == ["call00001", "call00002", "call00003", "own"]
    assert [message.parts[0] for message in messages[1:]] == [
        ToolResult("call00002", (Text("B"),), name="b"),
        ToolResult("call00001", (Text("A1"),), name="a"),
        ToolResult("call00003", (Text("A2"),), name="a"),
        ToolResult("own", (Text("C"),), name="c"),
        ToolResult("call00004", (Text("?"),), name="z"),
    ]


def test_a_result_without_name_and_id_answers_the_first_open_call() -> None:
    messages = read(
        {"role": "assistant", "tool_calls": [call("a"), call("b")]},
        {"role": "tool", "content": "A"},
        {"role": "tool", "content": "B"},
        {"role": "tool", "content": "?"},
    )
    results = [message.parts[0] for message in messages[1:]]
    assert [(result.call_id, result.name) for result in results if isinstance(result, ToolResult)] == [
        ("call00001", "a"), ("call00002", "b"), ("call00003", ""),
    ]  # fmt: skip


def test_arguments_are_kept_as_they_were_written() -> None:
    (message,) = read_messages(
        Fields(
            b'{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"x": 1.50}}},'
            b'{"function":{"name":"g","arguments":null}},{"function":{"name":"h"}}]}]}'
        )
    )
    assert [part.arguments for part in message.parts if isinstance(part, ToolCall)] == ['{"x": 1.50}', "{}", "{}"]


def test_calls_are_written_with_index_id_and_an_object() -> None:
    said, warnings = written(
        Message(
            Role.ASSISTANT,
            (Thinking("Hm."), Text("Wait."), ToolCall("i", "f", ' {"a": 1}'), ToolCall("j", "g", "")),
        ),
        Message(Role.TOOL, (ToolResult("j", (Text("x"), Text("y"), PICTURE)),)),
        Message(Role.TOOL, (ToolResult("k", (), name="h"),)),
    )
    calls = said[0].pop("tool_calls")
    assert [(each["id"], each["function"]["index"], each["function"]["name"]) for each in calls] == [
        ("i", 0, "f"), ("j", 1, "g"),
    ]  # fmt: skip
    assert [bytes(each["function"]["arguments"]) for each in calls] == [b'{"a": 1}', b"{}"]
    assert said == [
        {"role": "assistant", "content": "Wait.", "thinking": "Hm."},
        {"role": "tool", "content": "x\ny", "images": [PNG], "tool_name": "g", "tool_call_id": "j"},
        {"role": "tool", "content": "", "tool_name": "h", "tool_call_id": "k"},
    ]
    assert warnings == []


@pytest.mark.parametrize("arguments", ["[1]", '{"a":', "null", "x", '"{}"'])
def test_arguments_that_are_no_object_are_sent_in_one(arguments: str) -> None:
    said, warnings = written(Message(Role.ASSISTANT, (ToolCall("i", "f", arguments), ToolCall("j", "f", arguments))))
    assert json.loads(bytes(said[0]["tool_calls"][0]["function"]["arguments"])) == {"INVALID_JSON": arguments}
    assert len(warnings) == 1


def test_texts_and_images_share_a_message_while_they_do_not_alternate() -> None:
    assert told(Text("a"), Text("b"), PICTURE) == [{"role": "user", "content": "a\nb", "images": [PNG]}]
    assert told(PICTURE, PICTURE, Text("a")) == [{"role": "user", "content": "a", "images": [PNG, PNG]}]
    assert told(Text("a"), PICTURE, Text("b"), PICTURE, PICTURE, Text("c")) == [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b", "images": [PNG]},
        {"role": "user", "content": "c", "images": [PNG, PNG]},
    ]


def test_thinking_leads_and_calls_close_what_had_to_be_divided() -> None:
    said = told(Thinking("t"), PICTURE, Text("a"), PICTURE, Text("b"), ToolCall("i", "f", "{}"), role=Role.ASSISTANT)
    assert [sorted(message) for message in said] == [
        ["content", "images", "role", "thinking"], ["content", "images", "role", "tool_calls"],
    ]  # fmt: skip


def test_what_has_no_place_is_emulated_or_warned_of() -> None:
    said, warnings = written(
        Message(Role.DEVELOPER, (Text("Be brief."),), name="boss"),
        Message(Role.ASSISTANT, (Thinking("t", signature="s"), RedactedThinking("r"), Refusal("No."))),
        Message(Role.USER, (Image("image/png", PNG, detail="low"),), name="me"),
        Message(Role.TOOL, (ToolResult("i", (Text("x"),), is_error=True),)),
    )
    assert said == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "No.", "thinking": "t"},
        {"role": "user", "content": "", "images": [PNG]},
        {"role": "tool", "content": "x", "tool_call_id": "i"},
    ]
    assert warnings == [
        "the name of a message is ignored: Ollama's messages have none",
        "the signature of thinking is ignored: Ollama has none",
        "redacted thinking is ignored: only its provider can read it",
        "the detail of an image is ignored: Ollama has none",
        "is_error of a tool's result is ignored: Ollama has none",
    ]


@pytest.mark.parametrize(
    "part", [Audio("wav", "AAAA"), File(text="x"), Image(url="https://example.org/a.png"), ToolResult("i", (File(),))]
)
def test_what_ollama_cannot_take_in_is_refused(part: Any) -> None:
    with pytest.raises(ClientError) as caught:
        told(Text("Listen:"), part)
    assert caught.value.param == "messages[0]"
