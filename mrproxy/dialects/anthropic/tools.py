"""Pure. Tools and the choice among them, both ways. Tools that Anthropic's servers run, or whose schema only its models
know, are refused: no engine here has them.

Source: Anthropic API reference, "Create a Message": `tools`, `tool_choice` (2026).
"""

from typing import Any

import msgspec

from mrproxy.canonical.conversation import ChatRequest, Tool, ToolChoice, ToolMode
from mrproxy.dialects.anthropic.fields import Members, Notes, begins, invalid

# Wishes about quality, economy and delivery.
_IGNORED = ("defer_loading", "eager_input_streaming", "input_examples")
_EMPTY_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')
_MODES = {
    "auto": ToolMode.AUTO,
    "any": ToolMode.REQUIRED,
    "none": ToolMode.NONE,
    "tool": ToolMode.NAMED,
}
_NAMES = {mode: name for name, mode in _MODES.items()}


def read_tools(tools: list[Members], notes: Notes) -> tuple[Tool, ...]:
    """Raises ClientError."""
    return tuple(_read_tool(tool, notes) for tool in tools)


def _read_tool(tool: Members, notes: Notes) -> Tool:
    kind = tool.text("type")
    if kind not in (None, "custom"):
        raise invalid(tool.path, f"tools of type {kind!r} exist in Anthropic's own service only")
    callers = tool.texts("allowed_callers")
    if callers and "direct" not in callers:
        raise invalid(tool.at("allowed_callers"), "tools can only be called directly here")
    for name in _IGNORED:
        if tool.raw(name) not in (None, msgspec.Raw(b"false")):
            notes.ignored(f"tools.{name}", "engines have none")
    notes.cache_control(tool.raw("cache_control"))
    schema = tool.required("input_schema")
    if not begins(schema, b"{"):
        raise invalid(tool.at("input_schema"), "must be an object")
    read = Tool(tool.required_text("name"), tool.text("description"), schema, tool.flag("strict"))
    notes.left_of(tool, "tools")
    return read


def read_choice(choice: Members | None, notes: Notes) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether calls may be parallel. Raises ClientError."""
    if choice is None:
        return None, None
    said = choice.required_text("type")
    mode = _MODES.get(said)
    if mode is None:
        raise invalid(choice.at("type"), f"{said!r} is none of auto, any, tool, none")
    name = choice.required_text("name") if mode is ToolMode.NAMED else ""
    is_single = choice.flag("disable_parallel_tool_use")
    notes.left_of(choice, "tool_choice")
    return ToolChoice(mode, name), None if is_single is None else not is_single


def write_tools(request: ChatRequest) -> dict[str, Any]:
    """The fields `tools` and `tool_choice`, as far as there is something to say. Raises ClientError."""
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.mode in (ToolMode.REQUIRED, ToolMode.NAMED):
            raise invalid("tool_choice", "there are no tools to choose from")
        return {}
    fields: dict[str, Any] = {"tools": [_write_tool(tool) for tool in request.tools]}
    parallel = request.parallel_tool_calls
    if choice is None and parallel is False:
        choice = ToolChoice(ToolMode.AUTO)
    if choice is not None:
        written: dict[str, Any] = {"type": _NAMES[choice.mode]}
        if choice.mode is ToolMode.NAMED:
            written["name"] = choice.name
        if parallel is not None and choice.mode is not ToolMode.NONE:
            written["disable_parallel_tool_use"] = not parallel
        fields["tool_choice"] = written
    return fields


def _write_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters or _EMPTY_SCHEMA}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written
