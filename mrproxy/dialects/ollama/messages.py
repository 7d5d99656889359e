"""Pure. The messages of /api/chat, both ways.

1. A message is one text, with images that stand before it and calls that come after it. What other dialects interleave
   more than that becomes consecutive messages, as in Ollama's own OpenAI surface.
2. Calls had no ids before v0.13, and results were matched by the tool's name. A decoder gives ids, and finds the call
   that a result without one belongs to: the first of that name that has no result yet, else the first.
3. An encoder says both, the name and the id.

Source: ollama api/types.go (Message, ToolCall), server/prompt.go, openai/openai.go, v0.17.4 (February 2026).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import assert_never

import msgspec

from mrproxy.canonical.conversation import (
    Audio,
    File,
    Image,
    Message,
    Part,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.media import image_of_base64
from mrproxy.dialects.ollama.fields import OBJECT, Fields, invalid, is_said
from mrproxy.dialects.unreadable import UNREADABLE

_ROLES = {role.value: role for role in Role}


class _Function(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


_messages = msgspec.json.Decoder(list[_Message])


# Decoding


def read_messages(fields: Fields) -> tuple[Message, ...]:
    calls = _Calls()
    asked = fields.take("messages", _messages) or ()
    return tuple(_read(message, f"messages[{number}]", calls) for number, message in enumerate(asked))


def _read(asked: _Message, place: str, calls: "_Calls") -> Message:
    role = _ROLES.get(asked.role.lower())
    if role is None:
        raise invalid(f"{place}.role", "Expected system, user, assistant or tool")
    parts: list[Text | Image] = [*read_images(asked.images, f"{place}.images")]
    if asked.content:
        parts.append(Text(asked.content))
    if role is Role.TOOL:
        result = calls.answer(asked.tool_call_id or "", asked.tool_name or "")
        return Message(role, (ToolResult(result.id, tuple(parts), name=asked.tool_name or result.name),))
    if role is not Role.ASSISTANT:
        for name, said in (("tool_calls", asked.tool_calls), ("thinking", asked.thinking)):
            if said:
                raise invalid(f"{place}.{name}", "Expected only in messages of the assistant")
    thinking = (Thinking(asked.thinking),) if asked.thinking else ()
    made = [calls.make(call, f"{place}.tool_calls[{number}]") for number, call in enumerate(asked.tool_calls or ())]
    return Message(role, (*thinking, *parts, *made))


def read_images(images: list[str] | None, param: str) -> tuple[Image, ...]:
    return tuple(image_of_base64(image, param) for image in images or ())


class _Calls:
    """Who was called, so that results find their calls."""

    __slots__ = ("_count", "_open")

    def __init__(self) -> None:
        self._count = 0
        self._open: list[ToolCall] = []

    def make(self, asked: _Call, place: str) -> ToolCall:
        raw = bytes(asked.function.arguments) if is_said(asked.function.arguments) else b"{}"
        if raw[:1] != b"{":
            raise invalid(f"{place}.function.arguments", "Expected an object")
        call = ToolCall(asked.id or self._new_id(), asked.function.name, raw.decode())
        self._open.append(call)
        return call

    def answer(self, call_id: str, name: str) -> ToolCall:
        found = next((call for call in self._open if call.id == call_id or (not call_id and call.name == name)), None)
        if found is None and not (call_id or name) and self._open:
            found = self._open[0]
        if found is None:
            return ToolCall(call_id or self._new_id(), name, "{}")
        self._open.remove(found)
        return found

    def _new_id(self) -> str:
        """Nine letters and digits: what the strictest of templates (Mistral's) asks of an id."""
        self._count += 1
        return f"call{self._count:05d}"


# Encoding


def write_messages(messages: Sequence[Message], warnings: list[str]) -> list[dict[str, object]]:
    names: dict[str, str] = {}
    written: list[dict[str, object]] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message.name is not None:
            _warn(warnings, "the name of a message is ignored: Ollama's messages have none")
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        written += [_result(result, names, place, warnings) for result in results]
        if not results:
            written += _turn(message, place, warnings)
        names |= {part.id: part.name for part in message.parts if isinstance(part, ToolCall)}
    return written


def _result(result: ToolResult, names: dict[str, str], place: str, warnings: list[str]) -> dict[str, object]:
    if result.is_error:
        _warn(warnings, "is_error of a tool's result is ignored: Ollama has none")
    written = _said("tool", _sayable(result.parts, place, warnings))
    if name := result.name or names.get(result.call_id):
        written["tool_name"] = name
    written["tool_call_id"] = result.call_id
    return written


def _turn(message: Message, place: str, warnings: list[str]) -> list[dict[str, object]]:
    role = "system" if message.role is Role.DEVELOPER else message.role.value
    groups = _grouped(_sayable(message.parts, place, warnings))
    written = [_said(role, group) for group in groups]
    thoughts = [part.text for part in message.parts if isinstance(part, Thinking)]
    if thoughts:
        written[0]["thinking"] = "\n".join(thoughts)
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    if calls:
        written[-1]["tool_calls"] = [_call(index, call, warnings) for index, call in enumerate(calls)]
    return written


def _sayable(parts: Iterable[Part], place: str, warnings: list[str]) -> list[Text | Image]:
    """The texts and images in their order; what stands elsewhere is passed over, what cannot be said is refused."""
    kept: list[Text | Image] = []
    for part in parts:
        match part:
            case Text():
                kept.append(part)
            case Image():
                kept.append(checked_image(part, place))
                if part.detail is not None:
                    _warn(warnings, "the detail of an image is ignored: Ollama has none")
            case Refusal():
                kept.append(Text(part.text))
            case RedactedThinking():
                _warn(warnings, "redacted thinking is ignored: only its provider can read it")
            case Thinking(signature=signature) if signature:
                _warn(warnings, "the signature of thinking is ignored: Ollama has none")
            case Audio():
                raise invalid(place, "Ollama takes no audio")
            case File():
                raise invalid(place, "Ollama takes no files")
            case Thinking() | ToolCall() | ToolResult():
                pass
            case _:
                assert_never(part)
    return kept


def checked_image(image: Image, place: str) -> Image:
    """Raises ClientError for one that is still elsewhere."""
    if not image.data:
        raise invalid(place, "Ollama takes images as data, not as addresses")
    return image


def _grouped(parts: list[Text | Image]) -> list[list[Text | Image]]:
    """One group if images and texts do not alternate more than once; else a new one with each image after a text."""
    turns = sum(type(former) is not type(latter) for former, latter in pairwise(parts))
    if turns <= 1:
        return [parts]
    groups = [parts[:1]]
    for former, latter in pairwise(parts):
        if isinstance(former, Text) and isinstance(latter, Image):
            groups.append([])
        groups[-1].append(latter)
    return groups


def _said(role: str, parts: list[Text | Image]) -> dict[str, object]:
    written: dict[str, object] = {
        "role": role,
        "content": "\n".join(part.text for part in parts if isinstance(part, Text)),
    }
    images = [part.data for part in parts if isinstance(part, Image)]
    if images:
        written["images"] = images
    return written


def _call(index: int, call: ToolCall, warnings: list[str]) -> dict[str, object]:
    """A model that broke off wrote no object. A conversation must be able to go on from there."""
    arguments = call.arguments.strip() or "{}"
    try:
        OBJECT.decode(arguments)
        written = msgspec.Raw(arguments.encode())
    except UNREADABLE:
        _warn(warnings, "arguments of a tool call that are no JSON object are sent as the member INVALID_JSON of one")
        written = msgspec.Raw(msgspec.json.encode({"INVALID_JSON": call.arguments}))
    return {"id": call.id, "function": {"index": index, "name": call.name, "arguments": written}}


def _warn(warnings: list[str], warning: str) -> None:
    if warning not in warnings:
        warnings.append(warning)
