"""Tools both ways, and what becomes of a choice. Shapes: ollama docs/api.md, v0.17.4 (February 2026)."""

import json
from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import ChatRequest, Tool, ToolChoice, ToolMode
from mrproxy.dialects.ollama.fields import Fields
from mrproxy.dialects.ollama.tools import read_tools, write_tools
from mrproxy.errors import ClientError

SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"city":{"type":"string"}}}')
WEATHER = Tool("weather", "Of a city", SCHEMA)
CLOCK = Tool("clock")


def read(*tools: Any) -> tuple[Tool, ...]:
    return read_tools(Fields(json.dumps({"tools": tools}).encode()))


def written(**more: Any) -> tuple[list[str], list[str]]:
    """The names of the tools that are sent, and the warnings."""
    body: dict[str, Any] = {}
    warnings: list[str] = []
    write_tools(ChatRequest(model="m", messages=(), tools=(WEATHER, CLOCK), **more), body, warnings)
    return [tool["function"]["name"] for tool in body.get("tools", [])], warnings


def test_tools_are_read_with_their_schemas_unread() -> None:
    asked = {"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": {"a": [1]}}}
    bare = {"function": {"name": "clock", "description": "", "parameters": None}}
    assert read(asked, bare) == (Tool("weather", "Of a city", msgspec.Raw(b'{"a": [1]}')), CLOCK)
    assert read_tools(Fields(b'{"tools":null}')) == ()


@pytest.mark.parametrize("wrong", [{"type": "function"}, {"function": {}}, {"function": "weather"}, 5])
def test_tools_without_a_name_are_refused(wrong: Any) -> None:
    with pytest.raises(ClientError) as caught:
        read(wrong)
    assert (caught.value.param or "").startswith("tools[0]")


def test_a_tool_that_takes_nothing_says_so() -> None:
    body: dict[str, Any] = {}
    write_tools(ChatRequest(model="m", messages=(), tools=(WEATHER, CLOCK)), body, [])
    assert json.loads(msgspec.json.encode(body["tools"])) == [
        {"type": "function", "function": {
            "name": "weather", "description": "Of a city", "parameters": json.loads(bytes(SCHEMA)),
        }},
        {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
    ]  # fmt: skip


def test_a_choice_is_emulated_as_far_as_it_goes() -> None:
    assert written() == written(tool_choice=ToolChoice(ToolMode.AUTO)) == (["weather", "clock"], [])
    assert written(tool_choice=ToolChoice(ToolMode.NONE)) == ([], [])
    names, warnings = written(tool_choice=ToolChoice(ToolMode.REQUIRED))
    assert (names, len(warnings)) == (["weather", "clock"], 1)
    names, warnings = written(tool_choice=ToolChoice(ToolMode.NAMED, "clock"))
    assert (names, len(warnings)) == (["clock"], 1)


def test_a_choice_of_a_tool_that_is_not_there_is_refused() -> None:
    with pytest.raises(ClientError) as caught:
        written(tool_choice=ToolChoice(ToolMode.NAMED, "nothing"))
    assert caught.value.param == "tool_choice"


def test_what_cannot_be_promised_is_warned_of() -> None:
    assert written(parallel_tool_calls=True)[1] == []
    assert written(parallel_tool_calls=False)[1] == ["parallel_tool_calls is ignored: Ollama cannot forbid them"]
    warnings: list[str] = []
    write_tools(ChatRequest(model="m", messages=(), tools=(Tool("t", strict=True),)), {}, warnings)
    assert warnings == ["strict is ignored: Ollama does not hold arguments to a tool's schema"]
