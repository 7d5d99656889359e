"""Pure. Images as dialects carry them: data URLs, bare base64, http(s) addresses; what they are by their first bytes.

1. What leaves here as `Image.data` is base64 of the standard alphabet, padded, without line breaks: the strictest of
   the engines' decoders takes it. What cannot be that is a ClientError that names the caller's field.
2. The first bytes decide what an image is; a label only where they say nothing. Engines that trust labels refuse a
   JPEG called PNG, and others never look at the label.
3. Addresses are only found and replaced here (`find_urls`, `with_images`); `mrproxy/images.py` fetches them.

Sources: RFC 2397 (data URLs), RFC 4648 §4, WHATWG MIME Sniffing §6.1 (signatures; March 2026).
"""

import binascii
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec.structs import replace

from mrproxy.canonical.conversation import ChatRequest, File, Image, Message, Part, Text, TextRequest, ToolResult
from mrproxy.errors import ClientError, Code

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WHITESPACE = b" \t\r\n\f"
# Enough for the longest signature (WebP's, 14 bytes), and whole base64 groups.
_HEAD_CHARACTERS = 24
_DEFAULT_IMAGE = "image/jpeg"

Request = TypeVar("Request", ChatRequest, TextRequest)


class DataUrl(msgspec.Struct, frozen=True):
    """`media_type` without parameters, lower case, empty if the URL has none; `data` is base64."""

    media_type: str
    data: str


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def is_web_url(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def parse_data_url(url: str, param: str = "messages") -> DataUrl:
    """A data URL of any media type, base64 or percent-encoded."""
    head, comma, data = url[5:].partition(",")
    if not (is_data_url(url) and comma):
        raise _invalid(param, "is not a data URL")
    media_type, *parameters = [each.strip().lower() for each in head.split(";")]
    if parameters and parameters[-1] == "base64":
        text = unquote_to_bytes(data).decode("latin-1") if "%" in data else data
        return DataUrl(media_type, clean_base64(text, param))
    return DataUrl(media_type, encode_base64(unquote_to_bytes(data)))


def image_of_url(url: str, param: str = "messages", detail: str | None = None) -> Image:
    """What a dialect calls an image's URL: a data URL becomes its data, an http(s) address stays one."""
    if is_web_url(url):
        return Image(url=url, detail=detail)
    if not is_data_url(url):
        raise _invalid(param, "is neither a data URL nor an http(s) address")
    parsed = parse_data_url(url, param)
    if not parsed.data:
        raise _invalid(param, "is empty")
    return _labelled(parsed.data, parsed.media_type, param, detail)


def image_of_base64(data: str, param: str = "messages", media_type: str = "", detail: str | None = None) -> Image:
    """Bare base64, with the label it came with if any (Ollama's images have none)."""
    return _labelled(clean_base64(data, param), media_type.lower(), param, detail)


def data_url_of(image: Image) -> str:
    """For engines that want URLs: the address it has, or its data as a URL, which must have some type of image."""
    return image.url or f"data:{image.media_type or sniff_base64(image.data) or _DEFAULT_IMAGE};base64,{image.data}"


def file_of_data(data: str, name: str, param: str) -> File:
    """What OpenAI's dialects call a file's data: a data URL, or bare base64."""
    if not is_data_url(data):
        return File(name=name, data=clean_base64(data, param))
    parsed = parse_data_url(data, param)
    return File(name=name, media_type=parsed.media_type, data=parsed.data)


def clean_base64(data: str, param: str = "messages") -> str:
    """The same bytes as strict base64: line breaks taken out, padding put right; ClientError if it is none."""
    try:
        raw = data.encode("ascii")
    except UnicodeEncodeError:
        raise _invalid(param, "is not base64") from None
    odd = raw.translate(None, _ALPHABET)
    if odd.translate(None, b"="):
        raw = raw.translate(None, _WHITESPACE)
    stripped = raw.rstrip(b"=")
    if not stripped or len(stripped) % 4 == 1 or stripped.translate(None, _ALPHABET):
        raise _invalid(param, "is not base64" if stripped else "is empty")
    padded = stripped + b"=" * (-len(stripped) % 4)
    text = padded.decode("ascii")
    return data if text == data else text


def encode_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def size_bytes(data: str) -> int:
    """How many bytes clean base64 stands for, without decoding it."""
    return len(data) // 4 * 3 - data.count("=", -2)


def sniff(data: bytes) -> str:
    """The media type of an image by its signature; empty if it is none of those that engines read."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:14] == b"WEBPVP":
        return "image/webp"
    return "image/bmp" if data.startswith(b"BM") else ""


def sniff_base64(data: str) -> str:
    """As `sniff`, of clean base64."""
    return sniff(binascii.a2b_base64(data[:_HEAD_CHARACTERS]))


def _labelled(data: str, media_type: str, param: str, detail: str | None) -> Image:
    found = sniff_base64(data) or media_type
    if found and not found.startswith("image/"):
        raise _invalid(param, "is not an image")
    return Image(media_type=found, data=data, detail=detail)


def _invalid(param: str, what: str) -> ClientError:
    return ClientError(Code.INVALID_FIELD, f"an image or file in '{param}' {what}", param=param)


# Images that are elsewhere


def find_urls(request: ChatRequest | TextRequest) -> tuple[str, ...]:
    """The http(s) addresses of the request's images, tool results included, each once, in order."""
    return tuple(dict.fromkeys(image.url for image in _images(request) if is_web_url(image.url)))


def with_images(request: Request, images: Mapping[str, Image]) -> Request:
    """The request with each image whose address is in `images` replaced by what was found there."""
    if isinstance(request, TextRequest):
        return replace(request, images=tuple(_replaced(image, images) for image in request.images))
    return replace(request, messages=tuple(_message_with(message, images) for message in request.messages))


def _images(request: ChatRequest | TextRequest) -> list[Image]:
    if isinstance(request, TextRequest):
        return list(request.images)
    parts = [part for message in request.messages for part in message.parts]
    found: list[Image] = []
    for part in parts:
        if isinstance(part, Image):
            found.append(part)
        elif isinstance(part, ToolResult):
            found += [inner for inner in part.parts if isinstance(inner, Image)]
    return found


def _message_with(message: Message, images: Mapping[str, Image]) -> Message:
    return replace(message, parts=tuple(_part_with(part, images) for part in message.parts))


def _part_with(part: Part, images: Mapping[str, Image]) -> Part:
    if isinstance(part, Image):
        return _replaced(part, images)
    if isinstance(part, ToolResult):
        return replace(part, parts=tuple(_inner_with(inner, images) for inner in part.parts))
    return part


def _inner_with(part: Text | Image | File, images: Mapping[str, Image]) -> Text | Image | File:
    return _replaced(part, images) if isinstance(part, Image) else part


def _replaced(image: Image, images: Mapping[str, Image]) -> Image:
    found = images.get(image.url) if image.url else None
    return replace(found, detail=image.detail) if found is not None else image
