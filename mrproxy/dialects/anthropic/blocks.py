"""Pure. A caller's messages and system prompt, block by block, as messages of the canonical vocabulary.

A user's message with tool results becomes several: a TOOL message for each result, USER messages for what stands
between. Blocks that only Anthropic's own servers can have made, or can read, are refused.
Source: Anthropic API reference, "Create a Message", and the types of anthropic-sdk-python 2.11 (2026).
"""

from collections.abc import Callable

import msgspec

from mrproxy.canonical.conversation import (
    File,
    Image,
    Message,
    Part,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.anthropic.fields import Members, Notes, begins, invalid, text_or_objects
from mrproxy.dialects.media import clean_base64, image_of_base64, image_of_url

_NO_CITATIONS = "answers come without citations"
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


def read_system(value: msgspec.Raw | None, notes: Notes) -> list[Message]:
    """The `system` field as the first message, if it says anything."""
    if value is None:
        return []
    parts = _parts(value, "system", Role.SYSTEM, notes)
    return [Message(Role.SYSTEM, tuple(parts))] if parts else []


def read_messages(messages: list[Members], notes: Notes) -> list[Message]:
    """Raises ClientError."""
    read: list[Message] = []
    for message in messages:
        said = message.required_text("role")
        role = _ROLES.get(said)
        if role is None:
            raise invalid(message.at("role"), f"{said!r} is no role: user, assistant or system")
        parts = _parts(message.required("content"), message.at("content"), role, notes)
        notes.left_of(message, "message")
        read += _split(role, parts)
    return read


def _split(role: Role, parts: list[Part]) -> list[Message]:
    """A message, with its tool results in messages of their own."""
    split: list[Message] = []
    run: list[Part] = []
    for part in parts:
        if isinstance(part, ToolResult):
            if run:
                split.append(Message(role, tuple(run)))
                run = []
            split.append(Message(Role.TOOL, (part,)))
        else:
            run.append(part)
    if run or not split:
        split.append(Message(role, tuple(run)))
    return split


def _parts(content: msgspec.Raw, path: str, role: Role, notes: Notes) -> list[Part]:
    blocks = text_or_objects(content, path)
    if isinstance(blocks, str):
        return [Text(blocks)] if blocks else []
    parts: list[Part] = []
    for block in blocks:
        kind = block.required_text("type")
        if kind not in _READERS:
            raise invalid(block.path, f"blocks of type {kind!r} are only understood by Anthropic's own service")
        reader, roles = _READERS[kind]
        if role not in roles:
            raise invalid(block.path, f"a {role.value} message cannot hold blocks of type {kind!r}")
        parts += reader(block, notes)
        _finish(block, kind, notes)
    return parts


def _finish(block: Members, kind: str, notes: Notes) -> None:
    notes.cache_control(block.raw("cache_control"))
    notes.left_of(block, kind)


def _text(block: Members, notes: Notes) -> list[Part]:
    if block.objects("citations"):
        notes.ignored("text.citations", _NO_CITATIONS)
    return [Text(block.required_text("text"))]


def _image(block: Members, notes: Notes) -> list[Part]:
    if block.raw("transformations") is not None:
        notes.ignored("image.transformations", "engines get the image as it is")
    source = Members(block.required("source"), block.at("source"))
    match source.required_text("type"):
        case "base64":
            data = source.required_text("data")
            image = image_of_base64(data, source.at("data"), source.text("media_type") or "")
        case "url":
            image = image_of_url(source.required_text("url"), source.at("url"))
        case other:
            raise invalid(source.at("type"), f"images from {other!r} are not offered here: base64 or url")
    notes.left_of(source, "image.source")
    return [image]


def _document(block: Members, notes: Notes) -> list[Part]:
    """`context` is what the model should know of the document: a text before it."""
    citations = block.members("citations")
    if citations is not None and citations.flag("enabled"):
        notes.ignored("document.citations", _NO_CITATIONS)
    context = block.text("context")
    title = block.text("title") or ""
    source = Members(block.required("source"), block.at("source"))
    file = _file(source, title, notes)
    notes.left_of(source, "document.source")
    return [Text(context), file] if context else [file]


def _file(source: Members, title: str, notes: Notes) -> File:
    match source.required_text("type"):
        case "base64":
            data = clean_base64(source.required_text("data"), source.at("data"))
            return File(name=title, media_type=source.text("media_type") or "application/pdf", data=data)
        case "text":
            media_type = source.text("media_type") or "text/plain"
            return File(name=title, media_type=media_type, text=source.required_text("data"))
        case "url":
            return File(name=title, url=source.required_text("url"))
        case "file":
            return File(name=title, file_id=source.required_text("file_id"))
        case "content":
            text = _only_text(source.required("content"), source.at("content"), notes)
            return File(name=title, media_type="text/plain", text=text)
        case other:
            raise invalid(source.at("type"), f"unknown document source {other!r}")


def _only_text(content: msgspec.Raw, path: str, notes: Notes) -> str:
    """Text blocks, one paragraph each."""
    parts = _parts(content, path, Role.SYSTEM, notes)
    return "\n\n".join(part.text for part in parts if isinstance(part, Text))


def _search_result(block: Members, notes: Notes) -> list[Part]:
    """Said in words: title, source, text."""
    citations = block.members("citations")
    if citations is not None and citations.flag("enabled"):
        notes.ignored("search_result.citations", _NO_CITATIONS)
    title, source = block.required_text("title"), block.required_text("source")
    text = _only_text(block.required("content"), block.at("content"), notes)
    return [Text(f"{title}\n{source}\n\n{text}")]


def _thinking(block: Members, _notes: Notes) -> list[Part]:
    return [Thinking(block.required_text("thinking"), block.text("signature") or "")]


def _redacted_thinking(block: Members, _notes: Notes) -> list[Part]:
    return [RedactedThinking(block.required_text("data"))]


def _tool_use(block: Members, notes: Notes) -> list[Part]:
    caller = block.members("caller")
    if caller is not None and caller.text("type") not in (None, "direct"):
        raise invalid(caller.at("type"), "calls made by Anthropic's own tools are not understood here")
    if block.raw("toolset_name") is not None:
        notes.ignored("tool_use.toolset_name", "there are no toolsets here")
    call_id, name = block.required_text("id"), block.required_text("name")
    given = block.required("input")
    if not call_id:
        raise invalid(block.at("id"), "is empty")
    if not begins(given, b"{"):
        raise invalid(block.at("input"), "must be an object")
    return [ToolCall(call_id, name, bytes(given).decode())]


def _tool_result(block: Members, notes: Notes) -> list[Part]:
    if block.raw("toolset_name") is not None:
        notes.ignored("tool_result.toolset_name", "there are no toolsets here")
    content = block.raw("content")
    parts = _parts(content, block.at("content"), Role.TOOL, notes) if content is not None else []
    inner = tuple(part for part in parts if isinstance(part, Text | Image | File))
    return [ToolResult(block.required_text("tool_use_id"), inner, bool(block.flag("is_error")))]


_Reader = Callable[[Members, Notes], list[Part]]
_ASKING = frozenset({Role.USER, Role.TOOL})
# Which reader, and in whose messages; TOOL stands for the inside of a tool_result.
_READERS: dict[str, tuple[_Reader, frozenset[Role]]] = {
    "text": (_text, frozenset(Role)),
    "image": (_image, _ASKING),
    "document": (_document, _ASKING),
    "search_result": (_search_result, _ASKING),
    "thinking": (_thinking, frozenset({Role.ASSISTANT})),
    "redacted_thinking": (_redacted_thinking, frozenset({Role.ASSISTANT})),
    "tool_use": (_tool_use, frozenset({Role.ASSISTANT})),
    "tool_result": (_tool_result, frozenset({Role.USER})),
}
