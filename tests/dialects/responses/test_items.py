"""Input items to messages, as OpenAI's API reference gives them (`input`, 2026)."""

import json
from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import (
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
from mrproxy.dialects.responses.items import decode_input
from mrproxy.dialects.responses.reading import Warnings
from mrproxy.errors import ClientError


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def find_nothing(item_id: str) -> None:
    return None


def messages(*items: dict[str, Any]) -> tuple[Message, ...]:
    return decode_input(raw(items), find_nothing, Warnings())[0]


def test_a_string_is_one_message_of_the_user_and_an_item() -> None:
    found, items = decode_input(raw("hé"), find_nothing, Warnings())
    assert found == (Message(Role.USER, (Text("hé"),)),)
    assert decode_input(raw([json.loads(bytes(items[0]))]), find_nothing, Warnings())[0] == found


@pytest.mark.parametrize("role", ["user", "system", "developer", "assistant"])
def test_messages_keep_their_roles(role: str) -> None:
    expected = (Message(Role(role), (Text("a"),)),)
    assert messages({"role": role, "content": "a"}) == expected
    assert messages({"type": "message", "role": role, "content": [{"type": "input_text", "text": "a"}]}) == expected


def test_a_turn_with_reasoning_text_and_calls_is_one_message_and_results_follow_it() -> None:
    found = messages(
        {"role": "user", "content": "weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "I look.", "annotations": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": '{"x":1}'},
        {"type": "function_call_output", "call_id": "a", "output": "sunny"},
        {
            "type": "function_call_output",
            "call_id": "b",
            "output": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
            ],
        },
        {"role": "user", "content": "thanks"},
    )
    calls = (ToolCall("a", "f", "{}"), ToolCall("b", "g", '{"x":1}'))
    assert found == (
        Message(Role.USER, (Text("weather?"),)),
        Message(Role.ASSISTANT, (Thinking("hm"), Text("I look."), Refusal("no"), *calls)),
        Message(Role.TOOL, (ToolResult("a", (Text("sunny"),), name="f"),)),
        Message(Role.TOOL, (ToolResult("b", (Text("see"), Image("image/png", "AAAA")), name="g"),)),
        Message(Role.USER, (Text("thanks"),)),
    )


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"summary": [{"type": "summary_text", "text": "s"}]}, Thinking("s")),
        ({"summary": [{"type": "summary_text", "text": "s"}], "content": [{"type": "reasoning_text", "text": "c"}]},
         Thinking("c")),
        ({"summary": [], "encrypted_content": "signature.abc"}, Thinking("", "abc")),
        ({"summary": [], "encrypted_content": "redacted.abc"}, RedactedThinking("abc")),
    ],
)  # fmt: skip
def test_reasoning_is_what_was_thought(item: dict[str, Any], expected: Thinking | RedactedThinking) -> None:
    assert messages({"type": "reasoning", "id": "rs_1"} | item) == (Message(Role.ASSISTANT, (expected,)),)


def test_reasoning_that_another_server_sealed_is_ignored_with_a_warning() -> None:
    warnings = Warnings()
    items = [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}]
    assert decode_input(raw(items), find_nothing, warnings)[0] == ()
    assert warnings.said() == ("encrypted_content of reasoning is ignored: it was not made here",)


def test_references_are_resolved() -> None:
    stored = {"type": "message", "id": "msg_1", "role": "user", "content": "stored"}
    kept = {"msg_1": raw(stored)}
    for reference in ({"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}):
        found, items = decode_input(raw([reference]), kept.get, Warnings())
        assert found == (Message(Role.USER, (Text("stored"),)),)
        assert json.loads(bytes(items[0])) == stored


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "input[0]"),
        ({"type": "item_reference"}, "input[0].id"),
        ({"type": "web_search_call", "id": "ws_1", "status": "completed"}, "input[0].type"),
        ({"type": "custom_tool_call", "call_id": "a", "name": "f", "input": ""}, "input[0].type"),
        ({}, "input[0].role"),
        ({"role": "tool", "content": "a"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": None}, "input[0].content"),
        ({"role": "user", "content": 3}, "input[0].content"),
        ({"role": "user", "content": [{"type": "nothing"}]}, "input[0].content[0].type"),
        (
            {"role": "assistant", "content": [{"type": "input_image", "image_url": "https://x"}]},
            "input[0].content[0].type",
        ),
        ({"type": "function_call", "name": "f", "arguments": ""}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "", "name": "f", "arguments": ""}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "a", "arguments": ""}, "input[0].name"),
        ({"type": "function_call", "call_id": "a", "name": "f"}, "input[0].arguments"),
        ({"type": "function_call_output", "output": "x"}, "input[0].call_id"),
        ({"type": "function_call_output", "call_id": "a"}, "input[0].output"),
        (
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "refusal", "refusal": "n"}]},
            "input[0].output[0].type",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(item: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        messages(item)
    assert caught.value.param == param


def test_what_has_no_meaning_here_is_warned_of() -> None:
    warnings = Warnings()
    item = {"type": "message", "role": "assistant", "content": "a", "phase": "commentary", "status": "completed"}
    decode_input(raw([item]), find_nothing, warnings)
    assert warnings.said() == ("phase of message is ignored: no engine knows it",)
