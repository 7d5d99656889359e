"""Pure. Functions that a model may call, both ways. A choice among them is more than Ollama knows: it is emulated.

Source: ollama api/types.go (Tool, ToolFunction), docs/openapi.yaml (ToolDefinition), v0.17.4 (February 2026).
"""

import msgspec

from mrproxy.canonical.conversation import ChatRequest, Tool, ToolMode
from mrproxy.dialects.ollama.fields import Fields, invalid, is_said

_NOTHING = msgspec.Raw(b'{"type":"object","properties":{}}')


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()


class _Tool(msgspec.Struct):
    function: _Function
    type: str | None = None


_tools = msgspec.json.Decoder(list[_Tool])


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    return tuple(_tool(asked) for asked in fields.take("tools", _tools) or ())


def _tool(asked: _Tool) -> Tool:
    parameters = asked.function.parameters
    return Tool(
        name=asked.function.name,
        description=asked.function.description or None,
        parameters=parameters if is_said(parameters) else None,
    )


def write_tools(request: ChatRequest, body: dict[str, object], warnings: list[str]) -> None:
    """NONE: no tools are sent. NAMED: no other tool is. That the model must call cannot be said."""
    tools = _chosen(request, warnings)
    if request.parallel_tool_calls is False:
        warnings.append("parallel_tool_calls is ignored: Ollama cannot forbid them")
    if any(tool.strict for tool in tools):
        warnings.append("strict is ignored: Ollama does not hold arguments to a tool's schema")
    if tools:
        body["tools"] = [_written(tool) for tool in tools]


def _chosen(request: ChatRequest, warnings: list[str]) -> tuple[Tool, ...]:
    choice = request.tool_choice
    if choice is None or choice.mode is ToolMode.AUTO:
        return request.tools
    if choice.mode is ToolMode.NONE:
        return ()
    warnings.append("tool_choice is not enforced: Ollama lets the model decide whether it calls a tool")
    if choice.mode is ToolMode.REQUIRED:
        return request.tools
    named = tuple(tool for tool in request.tools if tool.name == choice.name)
    if not named:
        raise invalid("tool_choice", f"there is no tool {choice.name!r}")
    return named


def _written(tool: Tool) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    # Templates print what is there; without it they would say that the parameters are null.
    function["parameters"] = tool.parameters if tool.parameters is not None else _NOTHING
    return {"type": "function", "function": function}
