"""Pure. The content of input items: lists of typed parts, or a string, to canonical parts.

Source: OpenAI API reference, "Create a model response", `input` (2026); the SDK's `response_input_content_param`.
"""

from typing import TypeAlias

import msgspec

from mrproxy.canonical.conversation import Audio, File, Image, Refusal, Text
from mrproxy.dialects.media import file_of_data, image_of_url, is_web_url
from mrproxy.dialects.responses.reading import (
    Warnings,
    invalid,
    is_given,
    missing,
    read,
    read_fields,
    read_text_or,
)
from mrproxy.errors import ClientError, Code

ContentPart: TypeAlias = Text | Image | Audio | File | Refusal


class _InputAudio(msgspec.Struct):
    data: str
    format: str


class _Part(msgspec.Struct):
    """All kinds of parts in one."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: _InputAudio | None = None


# Annotations and logprobs describe a text of the model's; they are no part of what it said.
_HARMLESS = frozenset(("annotations", "logprobs"))
_FIELDS: dict[str, frozenset[str]] = {
    "input_text": frozenset(("text",)),
    "output_text": frozenset(("text",)),
    "text": frozenset(("text",)),
    "summary_text": frozenset(("text",)),
    "reasoning_text": frozenset(("text",)),
    "refusal": frozenset(("refusal",)),
    "input_image": frozenset(("image_url", "detail", "file_id")),
    "input_file": frozenset(("file_id", "file_data", "file_url", "filename")),
    "input_audio": frozenset(("input_audio",)),
}

_part = msgspec.json.Decoder(_Part)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def decode_content(content: msgspec.Raw, place: str, warnings: Warnings) -> tuple[ContentPart, ...]:
    """A string is one text. Raises ClientError."""
    found = read_text_or(_raws, content, place)
    if isinstance(found, str):
        return (Text(found),)
    return tuple(_decode_part(raw, f"{place}[{number}]", warnings) for number, raw in enumerate(found))


def decode_texts(content: msgspec.Raw, place: str, warnings: Warnings) -> str:
    """Parts that can only be text (reasoning), joined by blank lines. Raises ClientError."""
    parts = decode_content(content, place, warnings)
    return "\n\n".join(part.text for part in parts if isinstance(part, Text))


def _decode_part(raw: msgspec.Raw, place: str, warnings: Warnings) -> ContentPart:
    part = read(_part, raw, place)
    fields = _FIELDS.get(part.type)
    if fields is None:
        raise invalid(f"{place}.type", f"'{part.type}' is not supported")
    for name, value in read_fields(raw, place).items():
        if name != "type" and name not in fields and name not in _HARMLESS and is_given(value):
            warnings.ignore(f"{name} of {part.type}", "no engine knows it")
    match part.type:
        case "refusal":
            return Refusal(_require(part.refusal, place, "refusal"))
        case "input_image":
            return _image(part, place)
        case "input_file":
            return _file(part, place)
        case "input_audio":
            if part.input_audio is None:
                raise missing(f"{place}.input_audio")
            return Audio(part.input_audio.format, part.input_audio.data)
        case _:
            return Text(_require(part.text, place, "text"))


def _require(value: str | None, place: str, name: str) -> str:
    if value is None:
        raise missing(f"{place}.{name}")
    return value


def _image(part: _Part, place: str) -> Image:
    if part.file_id is not None:
        raise ClientError(Code.INVALID_FIELD, "no files are stored here; send the image", param=f"{place}.file_id")
    return image_of_url(_require(part.image_url, place, "image_url"), f"{place}.image_url", part.detail)


def _file(part: _Part, place: str) -> File:
    name = part.filename or ""
    if part.file_data is not None:
        return file_of_data(part.file_data, name, f"{place}.file_data")
    if part.file_url is not None:
        if not is_web_url(part.file_url):
            raise invalid(f"{place}.file_url", "not an http(s) address")
        return File(name=name, url=part.file_url)
    if part.file_id is not None:
        raise ClientError(Code.INVALID_FIELD, "no files are stored here; send the file", param=f"{place}.file_id")
    raise missing(f"{place}.file_data")
