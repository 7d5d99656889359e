"""Pure. Ollama's own chat and generate requests, read as Go's decoder and its routes read them.

Source: ollama/ollama api/types.go, server/routes.go, llm/server.go (main, read 2026-11). Images are raw base64,
arguments of calls are objects, content is a string: anything else is a 400. There is no `tool_choice`.
"""

import base64
import binascii
from typing import Any

import msgspec

from bench.backends.openai_prompts import read_tools
from bench.backends.prompts import Conversation, Prompt, Refusal, refuses_malformed

Json = Any
THINK_LEVELS = ("high", "medium", "low", "max")


class GenerateRequest(msgspec.Struct):
    """Of /api/chat and of /api/generate. What only a script can answer is merely noticed here."""

    model: str = ""
    prompt: str = ""
    messages: list[msgspec.Raw] | None = None
    stream: bool | None = None
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None
    tools: Any = None
    think: Any = None
    format: Any = None
    images: Any = None
    system: str = ""
    suffix: str = ""
    template: str = ""
    context: list[int] | None = None
    raw: bool = False

    @property
    def is_special(self) -> bool:
        return bool(
            self.tools
            or self.think
            or self.format
            or self.images
            or self.suffix
            or self.context
            or (self.options and self.options.get("stop"))
        )


class Function(msgspec.Struct):
    name: str = ""
    arguments: dict[str, Any] = {}


class ToolCall(msgspec.Struct):
    function: Function
    id: str = ""


class Message(msgspec.Struct):
    role: str
    content: str = ""
    thinking: str = ""
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str = ""
    tool_call_id: str = ""


_decode_message = msgspec.json.Decoder(Message).decode


@refuses_malformed
def read_prompt(wanted: GenerateRequest, limit: int | None) -> Prompt:
    """Raises Refusal or msgspec's errors for what the engine answers with 400."""
    heard = Conversation()
    heard.hear(wanted.system)
    if wanted.messages is None:
        heard.hear_user(wanted.prompt)
        heard.images += [_image_size(data) for data in wanted.images or ()]
    for raw in wanted.messages or ():
        _hear(heard, _decode_message(raw))
    stops = (wanted.options or {}).get("stop") or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise Refusal('option "stop" must be of type array')
    return Prompt(
        heard,
        tools=read_tools(wanted.tools),
        effort=_read_think(wanted.think),
        schema=read_format(wanted.format),
        stops=tuple(stops),
        limit=limit,
    )


def read_format(given: Json) -> Json:
    if given is None or given == "":
        return None
    if given == "json":
        return True
    if not isinstance(given, dict):
        raise Refusal(f'invalid format: "{given}"; expected "json" or a valid JSON Schema object')
    return given


def _read_think(think: Json) -> str:
    if think is None or isinstance(think, bool):
        return "on" if think else ""
    if think not in THINK_LEVELS:
        raise Refusal(f'invalid think value: "{think}" (must be "high", "medium", "low", true, or false)')
    return str(think)


def _hear(heard: Conversation, message: Message) -> None:
    heard.images += [_image_size(data) for data in message.images or ()]
    match message.role.lower():
        case "user":
            heard.hear_user(message.content)
        case "tool":
            heard.hear_result(message.content)
        case _:
            heard.hear(message.content)


def _image_size(data: Json) -> int:
    """Of raw base64; a data URL is none, and Go says where it stopped understanding."""
    try:
        return len(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError, TypeError) as exc:
        at = next((at for at, char in enumerate(str(data)) if not (char.isalnum() or char in "+/=")), len(str(data)))
        raise Refusal(f"illegal base64 data at input byte {at}") from exc
