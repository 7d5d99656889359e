"""Pure. Tools, the choice among them, and the format of the text.

Functions only: a hosted tool (web_search, file_search, code_interpreter, computer use, mcp, image_generation, custom,
shell …) runs at OpenAI, and an answer that pretends to have used it would be another answer. They are refused by name.
`allowed_tools` is emulated: the engine is told of the allowed tools only.
Source: OpenAI API reference, "Create a model response", `tools`, `tool_choice`, `text` (2026).
"""

import msgspec

from mrproxy.canonical.conversation import FormatKind, ResponseFormat, Tool, ToolChoice, ToolMode
from mrproxy.dialects.responses.reading import (
    ABSENT,
    Warnings,
    invalid,
    is_given,
    missing,
    read,
    read_fields,
    read_text_or,
)


class _Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    mode: str | None = None
    tools: list[_Tool] | None = None


class _Format(msgspec.Struct):
    type: str
    name: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None
    description: str | None = None


class _TextConfig(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


_MODES = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.REQUIRED}
_TOOL_FIELDS = frozenset(_Tool.__struct_fields__)
_TEXT_FIELDS = frozenset(_TextConfig.__struct_fields__)

_tools = msgspec.json.Decoder(list[msgspec.Raw])
_tool = msgspec.json.Decoder(_Tool)
_choice = msgspec.json.Decoder(_Choice)
_text = msgspec.json.Decoder(_TextConfig)


def decode_tools(given: msgspec.Raw, warnings: Warnings) -> tuple[Tool, ...]:
    """Raises ClientError."""
    if not is_given(given):
        return ()
    raws = read(_tools, given, "tools")
    return tuple(_decode_tool(raw, f"tools[{number}]", warnings) for number, raw in enumerate(raws))


def _decode_tool(raw: msgspec.Raw, place: str, warnings: Warnings) -> Tool:
    tool = read(_tool, raw, place)
    if tool.type != "function":
        raise invalid(f"{place}.type", f"the tool '{tool.type}' is not available here; only functions are")
    if not tool.name:
        raise missing(f"{place}.name")
    for name, value in read_fields(raw, place).items():
        if name not in _TOOL_FIELDS and is_given(value):
            warnings.ignore(f"{name} of a function", "no engine knows it")
    parameters = tool.parameters if is_given(tool.parameters) else None
    if parameters is not None:
        read_fields(parameters, f"{place}.parameters")
    return Tool(tool.name, tool.description, parameters, tool.strict)


def decode_tool_choice(given: msgspec.Raw, tools: tuple[Tool, ...]) -> tuple[ToolChoice | None, tuple[Tool, ...]]:
    """The choice, and the tools that the engine may know. Raises ClientError."""
    if not is_given(given):
        return None, tools
    choice = read_text_or(_choice, given, "tool_choice")
    if isinstance(choice, str):
        mode = _MODES.get(choice)
        if mode is None:
            raise invalid("tool_choice", f"'{choice}' is none of auto, none, required")
        return ToolChoice(mode), tools
    if choice.type == "function":
        name = _require_known(choice.name, tools, "tool_choice.name")
        return ToolChoice(ToolMode.NAMED, name), tools
    if choice.type != "allowed_tools":
        raise invalid("tool_choice.type", f"the tool '{choice.type}' is not available here; only functions are")
    if choice.mode not in ("auto", "required"):
        raise invalid("tool_choice.mode", f"'{choice.mode}' is none of auto, required")
    if choice.tools is None:
        raise missing("tool_choice.tools")
    allowed = {_allowed_name(tool, tools, f"tool_choice.tools[{n}]") for n, tool in enumerate(choice.tools)}
    return ToolChoice(_MODES[choice.mode]), tuple(tool for tool in tools if tool.name in allowed)


def _allowed_name(tool: _Tool, tools: tuple[Tool, ...], place: str) -> str:
    if tool.type != "function":
        raise invalid(f"{place}.type", f"the tool '{tool.type}' is not available here; only functions are")
    return _require_known(tool.name, tools, f"{place}.name")


def _require_known(name: str | None, tools: tuple[Tool, ...], place: str) -> str:
    if not name:
        raise missing(place)
    if all(tool.name != name for tool in tools):
        raise invalid(place, f"'{name}' is not among the tools")
    return name


def decode_text_config(given: msgspec.Raw, warnings: Warnings) -> ResponseFormat | None:
    """Raises ClientError."""
    if not is_given(given):
        return None
    text = read(_text, given, "text")
    for name, value in read_fields(given, "text").items():
        if name not in _TEXT_FIELDS and is_given(value):
            warnings.ignore(f"text.{name}", "no engine knows it")
    if text.verbosity is not None:
        warnings.ignore("text.verbosity", "no chat engine has it")
    if text.format is None:
        return None
    match text.format.type:
        case "text":
            return ResponseFormat(FormatKind.TEXT)
        case "json_object":
            return ResponseFormat(FormatKind.JSON_OBJECT)
        case "json_schema":
            return _schema(text.format)
        case other:
            raise invalid("text.format.type", f"'{other}' is none of text, json_object, json_schema")


def _schema(given: _Format) -> ResponseFormat:
    if not given.name:
        raise missing("text.format.name")
    if not is_given(given.schema):
        raise missing("text.format.schema")
    read_fields(given.schema, "text.format.schema")
    return ResponseFormat(
        FormatKind.JSON_SCHEMA, given.schema, name=given.name, strict=given.strict, description=given.description
    )
