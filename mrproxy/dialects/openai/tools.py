"""Pure. `tools` and `tool_choice`.

Functions only: `custom` tools and the `functions` of 2023 are refused, since no other engine calls them and an answer
in their shape could not be given. `allowed_tools` is the same as giving those tools alone.
Source: OpenAI API reference, "Create chat completion" (2026).
"""

from typing import Literal, TypeAlias

import msgspec

from mrproxy.canonical.conversation import Tool, ToolChoice, ToolMode
from mrproxy.dialects.openai.engines import Engine
from mrproxy.dialects.openai.fields import decode, invalid, is_said, left_over, unknown_names

_TOOL_FIELDS = frozenset({"type", "function"})
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')


class Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


_FUNCTION_FIELDS = frozenset(Function.__struct_fields__)


class FunctionTool(msgspec.Struct, tag_field="type", tag="function"):
    function: Function


class CustomTool(msgspec.Struct, tag_field="type", tag="custom"):
    custom: msgspec.Raw


class _Name(msgspec.Struct):
    name: str


class NamedFunction(msgspec.Struct, tag_field="type", tag="function"):
    function: _Name


class _Allowed(msgspec.Struct):
    mode: Literal["auto", "required"]
    tools: list[NamedFunction]


class AllowedTools(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    allowed_tools: _Allowed


Choice: TypeAlias = Literal["none", "auto", "required"] | NamedFunction | CustomTool | AllowedTools

_MODES = {"none": ToolMode.NONE, "auto": ToolMode.AUTO, "required": ToolMode.REQUIRED}
_WORDS = {mode: word for word, mode in _MODES.items()}


def read_tools(
    asked: list[FunctionTool | CustomTool] | None, choice: Choice | None
) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    """Raises ClientError."""
    tools = tuple(_read_tool(tool, number) for number, tool in enumerate(asked or ()))
    match choice:
        case None:
            return tools, None
        case str():
            return tools, ToolChoice(_MODES[choice])
        case NamedFunction():
            return tools, ToolChoice(ToolMode.NAMED, choice.function.name)
        case AllowedTools():
            allowed = {tool.function.name for tool in choice.allowed_tools.tools}
            kept = tuple(tool for tool in tools if tool.name in allowed)
            return kept, ToolChoice(_MODES[choice.allowed_tools.mode])
        case CustomTool():
            raise invalid("tool_choice", "custom tools cannot be called here; use a function")


def _read_tool(tool: FunctionTool | CustomTool, number: int) -> Tool:
    if isinstance(tool, CustomTool):
        raise invalid(f"tools[{number}]", "custom tools cannot be called here; use a function")
    function = tool.function
    parameters = function.parameters if is_said(function.parameters) else None
    return Tool(function.name, function.description, parameters, function.strict)


class _Members(msgspec.Struct):
    function: dict[str, msgspec.Raw]


_members = msgspec.json.Decoder(list[_Members])


def warnings_of(tools: msgspec.Raw) -> list[str]:
    """A warning for each name in the tools that is not read. They were read before."""
    names = unknown_names(tools, _TOOL_FIELDS)
    for tool in decode(_members, tools):
        names |= left_over(tool.function, _FUNCTION_FIELDS).keys()
    return [f"{name} in tools is ignored" for name in sorted(names)]


def write_tools(
    tools: tuple[Tool, ...],
    choice: ToolChoice | None,
    parallel: bool | None,
    engine: Engine,
    body: dict[str, object],
) -> None:
    """Without tools nothing is said: OpenAI answers 400 to a choice of none. Raises ClientError."""
    if choice is not None:
        _require_choosable(tools, choice)
    if not tools:
        return
    if choice is not None and choice.mode is ToolMode.NAMED and not engine.has_named_tools:
        tools = tuple(tool for tool in tools if tool.name == choice.name)
        choice = ToolChoice(ToolMode.REQUIRED)
    body["tools"] = [{"type": "function", "function": _write_function(tool, engine)} for tool in tools]
    if choice is not None:
        named = {"type": "function", "function": {"name": choice.name}}
        body["tool_choice"] = named if choice.mode is ToolMode.NAMED else _WORDS[choice.mode]
    if parallel is not None:
        body["parallel_tool_calls"] = parallel


def _require_choosable(tools: tuple[Tool, ...], choice: ToolChoice) -> None:
    if choice.mode is ToolMode.REQUIRED and not tools:
        raise invalid("tool_choice", "there is no tool to call")
    if choice.mode is ToolMode.NAMED and all(tool.name != choice.name for tool in tools):
        raise invalid("tool_choice", f"there is no tool {choice.name} to call")


def _write_function(tool: Tool, engine: Engine) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    elif engine.is_template_based:  # llama.cpp and some templates read it without asking
        function["parameters"] = _NO_PARAMETERS
    if tool.strict is not None:
        function["strict"] = tool.strict
    return function
