"""Pure. A caller's messages, decoded. `conversations.py` is the way back.

Assistants' parts come in one order: thinking, content, refusal, calls; OpenAI's message does not say another. Earlier
turns' thinking is `reasoning_content` (llama.cpp, DeepSeek) or `reasoning` (vLLM since 2026, Ollama's /v1).
Source: OpenAI API reference, "Create chat completion" (2026).
"""

from typing import Literal, TypeAlias, assert_never

import msgspec

from mrproxy.canonical.conversation import (
    Audio,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.media import file_of_data, image_of_url
from mrproxy.dialects.openai.fields import decode, invalid, is_said, missing, unknown_names


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class _ImageUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """A bare string is what Ollama's and older clients send."""

    image_url: str | _ImageUrl


class _InputAudio(msgspec.Struct):
    data: str
    format: str


class AudioPart(msgspec.Struct, tag_field="type", tag="input_audio"):
    input_audio: _InputAudio


class _FileFile(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct, tag_field="type", tag="file"):
    file: _FileFile


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


AskedPart: TypeAlias = TextPart | ImagePart | AudioPart | FilePart | RefusalPart
_PART_FIELDS = frozenset({"type", "text", "image_url", "input_audio", "file", "refusal"})


class _Function(msgspec.Struct):
    """Arguments are text; clients exist that send the object itself."""

    name: str
    arguments: str | dict[str, msgspec.Raw] = ""


class FunctionCall(msgspec.Struct, tag_field="type", tag="function"):
    function: _Function
    id: str = ""


class CustomCall(msgspec.Struct, tag_field="type", tag="custom"):
    custom: msgspec.Raw
    id: str = ""


class AskedMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[AskedPart] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[FunctionCall | CustomCall] | None = None
    tool_call_id: str | None = None
    function_call: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()


_MESSAGE_FIELDS = frozenset(AskedMessage.__struct_fields__)


def read_messages(asked: list[AskedMessage]) -> tuple[Message, ...]:
    """Raises ClientError."""
    return tuple(_read_message(message, number) for number, message in enumerate(asked))


def _read_message(message: AskedMessage, number: int) -> Message:
    param = f"messages[{number}]"
    if message.role == "function" or is_said(message.function_call):
        raise invalid(param, "functions are no longer called this way; use tool_calls and the role tool")
    role = Role(message.role)
    if role is Role.TOOL:
        return Message(role, (_read_result(message, param),))
    parts = _read_content(message.content, role, param)
    if role is Role.ASSISTANT:
        parts = [*_read_thinking(message), *parts, *_read_acts(message, number)]
    return Message(role, tuple(parts), message.name)


def _read_content(content: str | list[AskedPart] | None, role: Role, param: str) -> list[Part]:
    """Empty text is no part."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    for number, part in enumerate(content):
        place = f"{param}.content[{number}]"
        match part:
            case TextPart():
                if part.text:
                    parts.append(Text(part.text))
            case RefusalPart() if role is Role.ASSISTANT:
                parts.append(Refusal(part.refusal))
            case RefusalPart():
                raise invalid(place, "only an assistant refuses")
            case _:
                parts.append(_read_medium(part, place))
    return parts


def _read_medium(part: ImagePart | AudioPart | FilePart, param: str) -> Image | Audio | File:
    match part:
        case ImagePart():
            asked = part.image_url
            url, detail = (asked, None) if isinstance(asked, str) else (asked.url, asked.detail)
            return image_of_url(url, f"{param}.image_url.url", detail)
        case AudioPart():
            return Audio(part.input_audio.format, part.input_audio.data)
        case FilePart():
            return _read_file(part.file, f"{param}.file")
        case _:
            assert_never(part)


def _read_file(file: _FileFile, param: str) -> File:
    name = file.filename or ""
    if file.file_data:
        return msgspec.structs.replace(
            file_of_data(file.file_data, name, f"{param}.file_data"), file_id=file.file_id or ""
        )
    if not file.file_id:
        raise invalid(param, "a file needs file_data or file_id")
    return File(name=name, file_id=file.file_id)


def _read_thinking(message: AskedMessage) -> list[Part]:
    thought = message.reasoning_content or message.reasoning
    return [Thinking(thought)] if thought else []


def _read_acts(message: AskedMessage, number: int) -> list[Part]:
    """What an assistant did besides talking."""
    param = f"messages[{number}]"
    if is_said(message.audio):
        raise invalid(f"{param}.audio", "earlier spoken answers are not kept here; send their transcript")
    parts: list[Part] = [Refusal(message.refusal)] if message.refusal else []
    for position, call in enumerate(message.tool_calls or ()):
        if isinstance(call, CustomCall):
            raise invalid(f"{param}.tool_calls[{position}]", "custom tools cannot be called here; use a function")
        arguments = _read_arguments(call.function.arguments, f"{param}.tool_calls[{position}].function.arguments")
        parts.append(ToolCall(call.id or f"call_{number}_{position}", call.function.name, arguments))
    return parts


def _read_arguments(given: str | dict[str, msgspec.Raw], param: str) -> str:
    if isinstance(given, str):
        return given or "{}"
    try:
        return msgspec.json.encode(given).decode()
    except UnicodeDecodeError:
        raise invalid(param, "the arguments are not UTF-8") from None


def _read_result(message: AskedMessage, param: str) -> ToolResult:
    if not message.tool_call_id:
        raise missing(f"{param}.tool_call_id")
    parts = _read_content(message.content, Role.TOOL, param)
    said = tuple(part for part in parts if isinstance(part, Text | Image | File))
    if len(said) < len(parts):
        raise invalid(f"{param}.content", "a tool answers in text, images and files")
    return ToolResult(message.tool_call_id, said, name=message.name or "")


def warnings_of(messages: msgspec.Raw) -> list[str]:
    """A warning for each name in the messages or their parts that is not read. They were read before."""
    names = unknown_names(messages, _MESSAGE_FIELDS)
    for content in decode(_contents, messages):
        if content.content and memoryview(content.content)[0] == ord("["):
            names |= unknown_names(content.content, _PART_FIELDS)
    return [f"{name} in messages is ignored" for name in sorted(names)]


class _Content(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()


_contents = msgspec.json.Decoder(list[_Content])
