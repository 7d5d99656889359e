"""Tools, tool_choice and text.format, as OpenAI's API reference gives them (2026)."""

import json
from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import FormatKind, ResponseFormat, Tool, ToolChoice, ToolMode
from mrproxy.dialects.responses.reading import ABSENT, Warnings
from mrproxy.dialects.responses.tools import decode_text_config, decode_tool_choice, decode_tools
from mrproxy.errors import ClientError

TOOLS = (Tool("f"), Tool("g"))


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_functions_are_flat() -> None:
    schema = {"type": "object"}
    given = [
        {"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": True},
        {"type": "function", "name": "g", "parameters": None},
    ]
    assert decode_tools(raw(given), Warnings()) == (Tool("f", "d", raw(schema), True), Tool("g"))
    assert decode_tools(ABSENT, Warnings()) == ()


@pytest.mark.parametrize(
    "kind",
    ["web_search", "file_search", "code_interpreter", "computer", "mcp", "custom", "image_generation", "local_shell"],
)
def test_hosted_tools_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ClientError, match=f"'{kind}'") as caught:
        decode_tools(raw([{"type": "function", "name": "f"}, {"type": kind, "name": "x"}]), Warnings())
    assert (caught.value.status, caught.value.param) == (400, "tools[1].type")


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "function"}, "tools[0].name"),
        ({"type": "function", "function": {"name": "f"}}, "tools[0].name"),
        ({"name": "f"}, "tools[0].type"),
        ({"type": "function", "name": "f", "parameters": []}, "tools[0].parameters"),
        ({"type": "function", "name": "f", "strict": "yes"}, "tools[0].strict"),
    ],
)
def test_a_wrong_tool_is_refused_with_its_place(tool: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode_tools(raw([tool]), Warnings())
    assert caught.value.param == param


def test_what_has_no_meaning_here_is_warned_of() -> None:
    warnings = Warnings()
    decode_tools(raw([{"type": "function", "name": "f", "defer_loading": True, "async": None}]), warnings)
    decode_text_config(raw({"verbosity": "low", "colour": "red"}), warnings)
    assert warnings.said() == (
        "defer_loading of a function is ignored: no engine knows it",
        "text.colour is ignored: no engine knows it",
        "text.verbosity is ignored: no chat engine has it",
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("auto", ToolChoice(ToolMode.AUTO)),
        ("none", ToolChoice(ToolMode.NONE)),
        ("required", ToolChoice(ToolMode.REQUIRED)),
        ({"type": "function", "name": "g"}, ToolChoice(ToolMode.NAMED, "g")),
    ],
)
def test_choices_are_canonical(given: Any, expected: ToolChoice | None) -> None:
    assert decode_tool_choice(raw(given), TOOLS) == (expected, TOOLS)


@pytest.mark.parametrize(("mode", "expected"), [("auto", ToolMode.AUTO), ("required", ToolMode.REQUIRED)])
def test_only_allowed_tools_are_told_to_the_engine(mode: str, expected: ToolMode) -> None:
    given = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "g"}]}
    assert decode_tool_choice(raw(given), TOOLS) == (ToolChoice(expected), (Tool("g"),))


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("any", "tool_choice"),
        (3, "tool_choice"),
        ({"type": "function"}, "tool_choice.name"),
        ({"type": "function", "name": "h"}, "tool_choice.name"),
        ({"type": "web_search_preview"}, "tool_choice.type"),
        ({"type": "allowed_tools", "mode": "none", "tools": []}, "tool_choice.mode"),
        ({"type": "allowed_tools", "mode": "auto"}, "tool_choice.tools"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}, "tool_choice.tools[0].type"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "h"}]},
            "tool_choice.tools[0].name",
        ),
    ],
)
def test_a_wrong_choice_is_refused_with_its_place(given: Any, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode_tool_choice(raw(given), TOOLS)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ({}, None),
        ({"format": {"type": "text"}}, ResponseFormat(FormatKind.TEXT)),
        ({"format": {"type": "json_object"}}, ResponseFormat(FormatKind.JSON_OBJECT)),
        (
            {"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True, "description": "d"}},
            ResponseFormat(FormatKind.JSON_SCHEMA, raw({"a": 1}), "n", True, "d"),
        ),
    ],
)
def test_formats_are_canonical(given: Any, expected: ResponseFormat | None) -> None:
    assert decode_text_config(raw(given), Warnings()) == expected


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"format": {"type": "grammar"}}, "text.format.type"),
        ({"format": {"type": "json_schema", "schema": {}}}, "text.format.name"),
        ({"format": {"type": "json_schema", "name": "n"}}, "text.format.schema"),
        ({"format": {"type": "json_schema", "name": "n", "schema": 3}}, "text.format.schema"),
        ({"format": 3}, "text.format"),
    ],
)
def test_a_wrong_format_is_refused_with_its_place(given: Any, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode_text_config(raw(given), Warnings())
    assert caught.value.param == param
