"""Pure. The canonical messages as an engine's `system` and `messages`.

Anthropic's turns alternate: messages of one role are joined, tool results are a user's blocks and come first in them,
and what the system and developers say stands in `system`. Empty texts are left out: its API refuses them.
Source: Anthropic API reference, "Create a Message" (2026); invalid arguments are wrapped as its "Fine-grained tool
streaming" says.
"""

import binascii
from typing import Any, assert_never

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
from mrproxy.dialects.anthropic.fields import Notes, invalid
from mrproxy.dialects.unreadable import UNREADABLE

Block = dict[str, Any]
_WIRE = {Role.USER: "user", Role.TOOL: "user", Role.ASSISTANT: "assistant"}


def write_system(messages: tuple[Message, ...], instruction: str | None, notes: Notes) -> str | list[Block] | None:
    """The `system` field: a string where there is one text. Raises ClientError."""
    texts: list[str] = []
    is_begun = False
    for message in messages:
        if message.role not in (Role.SYSTEM, Role.DEVELOPER):
            is_begun = True
            continue
        if is_begun:
            notes.add(f"a {message.role.value} message in the middle of the conversation is moved to its beginning")
        for part in message.parts:
            if not isinstance(part, Text):
                raise invalid("messages", f"a {message.role.value} message can hold text only")
            texts.append(part.text)
    texts = [text for text in [*texts, instruction or ""] if text]
    if len(texts) > 1:
        return [{"type": "text", "text": text} for text in texts]
    return texts[0] if texts else None


def write_messages(messages: tuple[Message, ...], notes: Notes) -> list[dict[str, Any]]:
    """Raises ClientError."""
    turns: list[tuple[str, list[Block]]] = []
    for message in messages:
        if message.role in (Role.SYSTEM, Role.DEVELOPER):
            continue
        if message.name is not None:
            notes.ignored("messages.name", "Anthropic's API has none")
        role = _WIRE[message.role]
        blocks = [block for part in message.parts for block in _blocks(part, message.role, notes)]
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    if not turns:
        raise invalid("messages", "Anthropic's API needs a message of the user")
    return [{"role": role, "content": _content(_results_first(blocks))} for role, blocks in turns]


def _results_first(blocks: list[Block]) -> list[Block]:
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def _content(blocks: list[Block]) -> str | list[Block]:
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        text: str = blocks[0]["text"]
        return text
    return blocks


def _blocks(part: Part, role: Role, notes: Notes) -> list[Block]:
    """A part as no block or one."""
    match part:
        case Text() | Refusal():
            return [{"type": "text", "text": part.text}] if part.text else []
        case Image():
            _only_asking(role, "an image")
            return [_image(part, notes)]
        case File():
            _only_asking(role, "a file")
            return [_document(part)]
        case Audio():
            raise invalid("messages", "Anthropic's API cannot hear audio")
        case Thinking() if part.signature:
            return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]
        case Thinking():
            notes.add("thinking of earlier turns is left out: Anthropic's API takes back only what it signed")
            return []
        case RedactedThinking():
            return [{"type": "redacted_thinking", "data": part.data}]
        case ToolCall():
            return [{"type": "tool_use", "id": part.id, "name": part.name, "input": write_input(part, notes)}]
        case ToolResult():
            return [_tool_result(part, notes)]
        case _:
            assert_never(part)


def _only_asking(role: Role, what: str) -> None:
    if role is Role.ASSISTANT:
        raise invalid("messages", f"an assistant message cannot hold {what} in Anthropic's API")


def _image(image: Image, notes: Notes) -> Block:
    if image.detail not in (None, "auto"):
        notes.ignored("image_url.detail", "Anthropic's API has none")
    if image.data:
        return {
            "type": "image",
            "source": {"type": "base64", "media_type": image.media_type or "image/png", "data": image.data},
        }
    return {"type": "image", "source": {"type": "url", "url": image.url}}


def _document(file: File) -> Block:
    block: Block = {"type": "document", "source": _document_source(file)}
    if file.name:
        block["title"] = file.name
    return block


def _document_source(file: File) -> Block:
    """PDF as it is, everything that is text as text. Raises ClientError."""
    if file.url:
        return {"type": "url", "url": file.url}
    if file.file_id:
        return {"type": "file", "file_id": file.file_id}
    if not file.data:
        return {"type": "text", "media_type": "text/plain", "data": file.text}
    kind = file.media_type.partition(";")[0].strip().lower()
    if kind in ("application/pdf", ""):
        return {"type": "base64", "media_type": "application/pdf", "data": file.data}
    if not kind.startswith("text/"):
        raise invalid("messages", f"Anthropic's API reads PDF and text, not {kind}")
    try:
        text = binascii.a2b_base64(file.data).decode()
    except ValueError:
        raise invalid("messages", f"a file of type {kind} is not UTF-8") from None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _tool_result(result: ToolResult, notes: Notes) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": result.call_id}
    inner = [each for part in result.parts for each in _blocks(part, Role.TOOL, notes)]
    if inner:
        block["content"] = _content(inner)
    if result.is_error:
        block["is_error"] = True
    return block


def write_input(call: ToolCall, notes: Notes) -> msgspec.Raw | dict[str, str]:
    """The arguments as an object; what is none is wrapped, so that the model sees its mistake."""
    found = read_arguments(call.arguments)
    if isinstance(found, dict):
        notes.add("arguments of an earlier tool call are no JSON object and are sent as INVALID_JSON")
    return found


def read_arguments(arguments: str) -> msgspec.Raw | dict[str, str]:
    """The text of a JSON object as it is; anything else under the key INVALID_JSON."""
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    try:
        encoded = arguments.encode()
        if isinstance(msgspec.json.decode(encoded), dict):
            return msgspec.Raw(encoded)
    except UNREADABLE:
        pass
    return {"INVALID_JSON": arguments}
