"""Pure. Input items to messages: what several items of one assistant's turn say becomes one message.

A chat knows messages; Responses knows items (`turns.py` says which of them make one message).
Reasoning that only its provider can read, or that it signed, travels in `encrypted_content`, behind a word that tells
ours from another server's.
Source: OpenAI API reference, "Create a model response", `input` (2026); the SDK's `response_input_item_param`.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from mrproxy.canonical.conversation import (
    Audio,
    File,
    Image,
    Message,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.responses.parts import decode_content, decode_texts
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
from mrproxy.dialects.responses.turns import AssistantTurn
from mrproxy.errors import ClientError, Code

SIGNED = "signature."
REDACTED = "redacted."

FindItem: TypeAlias = Callable[[str], msgspec.Raw | None]


class _Item(msgspec.Struct):
    """All kinds of items in one."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: msgspec.Raw = ABSENT
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: msgspec.Raw = ABSENT
    summary: msgspec.Raw = ABSENT
    encrypted_content: str | None = None


_ROLES = {
    "user": Role.USER,
    "system": Role.SYSTEM,
    "developer": Role.DEVELOPER,
    "assistant": Role.ASSISTANT,
}
# `id` and `status` are the API's book-keeping.
_COMMON = frozenset(("type", "id", "status"))
_FIELDS = {
    "message": _COMMON | {"role", "content"},
    "function_call": _COMMON | {"call_id", "name", "arguments"},
    "function_call_output": _COMMON | {"call_id", "output", "name"},
    "reasoning": _COMMON | {"summary", "content", "encrypted_content"},
}

_item = msgspec.json.Decoder(_Item)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def decode_input(
    given: msgspec.Raw, find_item: FindItem, warnings: Warnings, name: str = "input"
) -> tuple[tuple[Message, ...], tuple[msgspec.Raw, ...]]:
    """The messages, and the items they were made from, references resolved. Raises ClientError."""
    found = read_text_or(_raws, given, name)
    if isinstance(found, str):
        return (Message(Role.USER, (Text(found),)),), (_user_item(found),)
    turns = _Turns(warnings)
    items: list[msgspec.Raw] = []
    for number, given_item in enumerate(found):
        place = f"{name}[{number}]"
        item, raw = _resolve(given_item, place, find_item)
        turns.add(item, raw, place)
        items.append(raw)
    return turns.finish(), tuple(items)


def decode_kept(items: Iterable[msgspec.Raw]) -> tuple[Message, ...]:
    """The messages of items that were read here before, or made here."""
    turns = _Turns(Warnings())
    for raw in items:
        turns.add(_item.decode(raw), raw, "item")
    return turns.finish()


def _user_item(text: str) -> msgspec.Raw:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return msgspec.Raw(msgspec.json.encode(item))


def _resolve(raw: msgspec.Raw, place: str, find_item: FindItem) -> tuple[_Item, msgspec.Raw]:
    """The item, or the one that it refers to. The type may be left out of references and of messages."""
    item = read(_item, raw, place)
    is_reference = item.type == "item_reference" or (item.type is None and item.role is None and item.id is not None)
    if not is_reference:
        return item, raw
    if item.id is None:
        raise missing(f"{place}.id")
    stored = find_item(item.id)
    if stored is None:
        raise ClientError(Code.INVALID_FIELD, f"item with id '{item.id}' not found", param=place)
    return read(_item, stored, place), stored


class _Turns:
    """Messages as they grow."""

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings
        self._messages: list[Message] = []
        self._turn = AssistantTurn()
        self._names: dict[str, str] = {}

    def finish(self) -> tuple[Message, ...]:
        self._messages += self._turn.end()
        return tuple(self._messages)

    def add(self, item: _Item, raw: msgspec.Raw, place: str) -> None:
        kind = item.type or "message"
        known = _FIELDS.get(kind)
        if known is None:
            raise invalid(f"{place}.type", f"items of type '{kind}' are not supported")
        for name, value in read_fields(raw, place).items():
            if name not in known and is_given(value):
                self._warnings.ignore(f"{name} of {kind}", "no engine knows it")
        match kind:
            case "message":
                self._add_message(item, place)
            case "function_call":
                self._add_call(item, place)
            case "function_call_output":
                self._add_result(item, place)
            case _:
                self._add_reasoning(item, place)

    def _add_message(self, item: _Item, place: str) -> None:
        role = _ROLES.get(item.role or "")
        if role is None:
            raise invalid(f"{place}.role", f"'{item.role}' is not supported") if item.role else missing(f"{place}.role")
        if not is_given(item.content):
            raise missing(f"{place}.content")
        parts = decode_content(item.content, f"{place}.content", self._warnings)
        if role is not Role.ASSISTANT:
            self._messages += self._turn.end()
            self._messages.append(Message(role, parts))
            return
        said: list[Text | Refusal] = []
        for number, part in enumerate(parts):
            if not isinstance(part, Text | Refusal):
                raise invalid(f"{place}.content[{number}].type", "an assistant says text")
            said.append(part)
        self._turn.say(said)

    def _add_call(self, item: _Item, place: str) -> None:
        if item.call_id is None or item.name is None or item.arguments is None:
            lacking = next(name for name in ("call_id", "name", "arguments") if getattr(item, name) is None)
            raise missing(f"{place}.{lacking}")
        if not item.call_id:
            raise invalid(f"{place}.call_id", "empty")
        self._names[item.call_id] = item.name
        self._turn.call(ToolCall(item.call_id, item.name, item.arguments))

    def _add_result(self, item: _Item, place: str) -> None:
        if not item.call_id:
            raise missing(f"{place}.call_id")
        if not is_given(item.output):
            raise missing(f"{place}.output")
        parts: list[Text | Image | File] = []
        for number, part in enumerate(decode_content(item.output, f"{place}.output", self._warnings)):
            if isinstance(part, Audio | Refusal):
                raise invalid(f"{place}.output[{number}].type", "a function returns texts, images and files")
            parts.append(part)
        self._messages += self._turn.end()
        name = item.name or self._names.get(item.call_id, "")
        self._messages.append(Message(Role.TOOL, (ToolResult(item.call_id, tuple(parts), name=name),)))

    def _add_reasoning(self, item: _Item, place: str) -> None:
        text = ""
        if is_given(item.content):
            text = decode_texts(item.content, f"{place}.content", self._warnings)
        if not text and is_given(item.summary):
            text = decode_texts(item.summary, f"{place}.summary", self._warnings)
        sealed = item.encrypted_content or ""
        part: Thinking | RedactedThinking
        if sealed.startswith(REDACTED):
            part = RedactedThinking(sealed.removeprefix(REDACTED))
        elif sealed.startswith(SIGNED):
            part = Thinking(text, sealed.removeprefix(SIGNED))
        else:
            if sealed:
                self._warnings.ignore("encrypted_content of reasoning", "it was not made here")
            if not text:
                return
            part = Thinking(text)
        self._turn.think(part)
