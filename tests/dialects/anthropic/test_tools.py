"""Tools and the choice among them, both ways."""

from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import ChatRequest, Tool, ToolChoice, ToolMode
from mrproxy.dialects.anthropic.fields import Members, Notes
from mrproxy.dialects.anthropic.tools import read_choice, read_tools, write_tools
from mrproxy.errors import ClientError

SCHEMA = msgspec.Raw(b'{"type":"object"}')
TOOL: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}


def read(tool: dict[str, Any]) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    notes = Notes()
    return read_tools([Members(msgspec.json.encode(tool), "tools.0")], notes), notes.all()


def write(**fields: Any) -> dict[str, Any]:
    written: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(write_tools(ChatRequest(model="m", messages=(), **fields)))
    )
    return written


def test_a_tool_is_a_function() -> None:
    assert read(TOOL) == ((Tool("f", parameters=SCHEMA),), ())
    full = TOOL | {"type": "custom", "description": "d", "strict": True, "allowed_callers": ["direct"]}
    assert read(full) == ((Tool("f", "d", SCHEMA, True),), ())


@pytest.mark.parametrize(
    ("field", "value", "warning"),
    [
        ("cache_control", {"type": "ephemeral"}, "cache_control"),
        ("defer_loading", True, "tools.defer_loading"),
        ("eager_input_streaming", True, "tools.eager_input_streaming"),
        ("input_examples", [{}], "tools.input_examples"),
        ("novelty", 1, "tools.novelty"),
    ],
)
def test_what_is_ignored_is_said(field: str, value: object, warning: str) -> None:
    tools, (said,) = read(TOOL | {field: value})
    assert tools == (Tool("f", parameters=SCHEMA),)
    assert said.startswith(f"{warning} is ignored: ")


def test_a_wish_that_is_off_is_none() -> None:
    assert read(TOOL | {"defer_loading": False, "eager_input_streaming": None})[1] == ()


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "web_search_20260318", "name": "web_search"}, "tools.0"),
        ({"type": "bash_20250124", "name": "bash"}, "tools.0"),
        ({"name": "f"}, "tools.0.input_schema"),
        ({"name": "f", "input_schema": "x"}, "tools.0.input_schema"),
        ({"input_schema": {}}, "tools.0.name"),
        (TOOL | {"allowed_callers": ["code_execution_20260120"]}, "tools.0.allowed_callers"),
    ],
)
def test_what_no_engine_has_is_refused(tool: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        read(tool)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("said", "choice", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(ToolMode.AUTO), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(ToolMode.REQUIRED), False),
        ({"type": "none"}, ToolChoice(ToolMode.NONE), None),
        (
            {"type": "tool", "name": "f", "disable_parallel_tool_use": False},
            ToolChoice(ToolMode.NAMED, "f"),
            True,
        ),
    ],
)
def test_the_choice_is_the_same_both_ways(said: dict[str, Any], choice: ToolChoice, parallel: bool | None) -> None:
    assert read_choice(Members(msgspec.json.encode(said), "tool_choice"), Notes()) == (choice, parallel)
    tools = (Tool("f", parameters=SCHEMA),)
    assert write(tools=tools, tool_choice=choice, parallel_tool_calls=parallel) == {
        "tools": [TOOL],
        "tool_choice": said,
    }


@pytest.mark.parametrize("said", [{"type": "tool"}, {"type": "some"}, {}])
def test_a_choice_that_is_none_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ClientError):
        read_choice(Members(msgspec.json.encode(said), "tool_choice"), Notes())


def test_one_call_at_a_time_needs_no_choice() -> None:
    tools = (Tool("f"),)
    single = {"type": "auto", "disable_parallel_tool_use": True}
    assert write(tools=tools, parallel_tool_calls=False)["tool_choice"] == single
    assert "tool_choice" not in write(tools=tools, parallel_tool_calls=True)
    assert write(tools=tools)["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    none = ToolChoice(ToolMode.NONE)
    assert write(tools=tools, tool_choice=none, parallel_tool_calls=False)["tool_choice"] == {"type": "none"}


def test_a_choice_without_tools_is_nothing_or_impossible() -> None:
    assert write(tool_choice=ToolChoice(ToolMode.AUTO), parallel_tool_calls=False) == {}
    with pytest.raises(ClientError) as caught:
        write(tool_choice=ToolChoice(ToolMode.REQUIRED))
    assert caught.value.param == "tool_choice"
