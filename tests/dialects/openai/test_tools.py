"""`tools` and `tool_choice` each way. Shapes: OpenAI API reference, "Create chat completion" (2026)."""

from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import Tool, ToolChoice, ToolMode
from mrproxy.dialects.openai.engines import engine_of
from mrproxy.dialects.openai.tools import Choice, CustomTool, FunctionTool, read_tools, warnings_of, write_tools
from mrproxy.errors import ClientError

TWO = b'[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g","strict":true}}]'


def read(tools: bytes, choice: bytes = b"null") -> tuple[tuple[Tool, ...], ToolChoice | None]:
    asked: list[FunctionTool | CustomTool] = msgspec.json.decode(tools, type=list[FunctionTool | CustomTool])
    chosen: Choice | None = msgspec.json.decode(choice, type=Choice | None)
    return read_tools(asked, chosen)


def write(kind: str, tools: tuple[Tool, ...], choice: ToolChoice | None) -> dict[str, Any]:
    body: dict[str, object] = {}
    write_tools(tools, choice, None, engine_of(kind), body)
    return msgspec.json.decode(msgspec.json.encode(body), type=dict[str, Any])


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        (b"null", None),
        (b'"auto"', ToolChoice(ToolMode.AUTO)),
        (b'"none"', ToolChoice(ToolMode.NONE)),
        (b'"required"', ToolChoice(ToolMode.REQUIRED)),
        (b'{"type":"function","function":{"name":"g"}}', ToolChoice(ToolMode.NAMED, "g")),
    ],
)
def test_every_choice_is_understood(said: bytes, choice: ToolChoice | None) -> None:
    assert read(TWO, said) == ((Tool("f"), Tool("g", strict=True)), choice)


def test_allowed_tools_are_those_tools_alone() -> None:
    allowed = b'[{"type":"function","function":{"name":"g"}}]'
    said = b'{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":%b}}' % allowed
    assert read(TWO, said) == ((Tool("g", strict=True),), ToolChoice(ToolMode.REQUIRED))


@pytest.mark.parametrize(
    ("tools", "choice", "param"),
    [
        (b'[{"type":"custom","custom":{"name":"x"}}]', b"null", "tools[0]"),
        (TWO, b'{"type":"custom","custom":{"name":"x"}}', "tool_choice"),
    ],
)
def test_custom_tools_are_refused(tools: bytes, choice: bytes, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        read(tools, choice)
    assert caught.value.param == param


def test_an_engine_that_cannot_be_told_a_name_is_given_that_tool_alone() -> None:
    tools = (Tool("f"), Tool("g"))
    chosen = ToolChoice(ToolMode.NAMED, "g")
    assert write("vllm", tools, chosen)["tool_choice"] == {"type": "function", "function": {"name": "g"}}
    told = write("llamacpp", tools, chosen)
    assert [tool["function"]["name"] for tool in told["tools"]] == ["g"]
    assert told["tool_choice"] == "required"


def test_templates_see_parameters_always() -> None:
    assert write("openai", (Tool("f"),), None)["tools"][0]["function"] == {"name": "f"}
    assert write("vllm", (Tool("f"),), None)["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {},
    }


def test_names_that_nobody_reads_are_warned_of() -> None:
    assert warnings_of(msgspec.Raw(TWO)) == []
    given = b'[{"type":"function","function":{"name":"f","x":1},"y":2}]'
    assert warnings_of(msgspec.Raw(given)) == ["x in tools is ignored", "y in tools is ignored"]
