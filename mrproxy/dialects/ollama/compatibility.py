"""Pure. What Ollama's surfaces for other dialects' clients leave out of a request, and whether one has anything of it.

Ollama reads OpenAI's and Anthropic's requests into its own, and what it does not know it passes over without a word:
a `tool_choice` above all. Images it takes as data only. Such a request is translated instead, which emulates, refuses
or warns, and fetches. Looked at shallowly: values that say nothing stay `msgspec.Raw`; no text is decoded.
Sources: ollama openai/openai.go, openai/responses.go, anthropic/anthropic.go (v0.17, February 2026); its
docs/api/openai-compatibility.mdx; `tool_choice` was still passed over in 0.32.15 (August 2026, its issue 17921).
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from mrproxy.canonical.surface import Surface
from mrproxy.dialects.unreadable import UNREADABLE

_NULL = msgspec.Raw(b"null")
_OPENAI_SHARED = frozenset(
    {
        *("model", "stream", "stream_options", "max_tokens", "seed", "stop", "temperature", "top_p"),
        *("frequency_penalty", "presence_penalty", "logprobs", "_debug_render_only"),
    }
)
# What is read of OpenAI's own three. A newer Ollama may read more: translated, it is told the same in its own words.
_READ: Mapping[Surface, frozenset[str]] = {
    Surface.CHAT: _OPENAI_SHARED
    | {"messages", "tools", "response_format", "reasoning", "reasoning_effort", "top_logprobs"},
    Surface.TEXT: _OPENAI_SHARED | {"prompt", "suffix"},
    Surface.EMBEDDINGS: frozenset({"model", "input", "dimensions", "encoding_format"}),
}
# What asks for nothing that is not done anyway.
_HARMLESS: Mapping[str, tuple[bytes, ...]] = {
    "tool_choice": (b'"auto"',),
    "parallel_tool_calls": (b"true",),
    "n": (b"1",),
    "best_of": (b"1",),
    "echo": (b"false",),
    "store": (b"false",),
    "modalities": (b'["text"]',),
}
# What Messages and Responses say of tools beside the tools. Their other fields are not listed: newer versions serve
# ever more of them (searching, free-form tools) that a translation would have to refuse.
_CHOICE = frozenset({"tool_choice", "parallel_tool_calls"})
# Messages, their blocks, and the blocks of a tool's result: what is deeper is no image, and each level is read anew.
_LEVELS = 3


class _StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: msgspec.Raw = _NULL
    include_obfuscation: bool | None = None


class _Schema(msgspec.Struct, forbid_unknown_fields=True):
    """`name` and `strict` say nothing more to Ollama, whose schemas always bind."""

    schema: msgspec.Raw
    name: msgspec.Raw = _NULL
    strict: msgspec.Raw = _NULL
    description: None = None


class _Format(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: msgspec.Raw = _NULL
    description: msgspec.Raw = _NULL
    parameters: msgspec.Raw = _NULL
    strict: bool | None = None


class _Tool(msgspec.Struct, forbid_unknown_fields=True):
    type: msgspec.Raw = _NULL
    function: _Function | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    """Members that are always null in what SDKs send back to an engine are no reason."""

    role: str = ""
    content: msgspec.Raw = _NULL
    reasoning: msgspec.Raw = _NULL
    tool_calls: msgspec.Raw = _NULL
    tool_call_id: msgspec.Raw = _NULL
    name: msgspec.Raw = _NULL
    reasoning_content: None = None
    refusal: None = None
    function_call: None = None
    audio: None = None
    annotations: None = None


class _ImageUrl(msgspec.Struct, forbid_unknown_fields=True):
    url: msgspec.Raw = _NULL
    detail: Literal["auto"] | None = None


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    """A text or an image; other parts are refused by Ollama in its own words, or understood by a newer one."""

    type: msgspec.Raw = _NULL
    text: msgspec.Raw = _NULL
    image_url: msgspec.Raw = _NULL
    input_audio: msgspec.Raw = _NULL
    file: msgspec.Raw = _NULL


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_stream_options = msgspec.json.Decoder(_StreamOptions | None)
_format = msgspec.json.Decoder(_Format | None)
_tools = msgspec.json.Decoder(list[_Tool] | None)
_messages = msgspec.json.Decoder(list[_Message] | None)
_parts = msgspec.json.Decoder(list[_Part])
_image_url = msgspec.json.Decoder(_ImageUrl)


def passes_over(surface: Surface, body: bytes) -> bool:
    """Whether a request for this surface says something that Ollama would leave out, or an image that it cannot have.

    A body that cannot be read at all says nothing: whoever reads it will say what is wrong.
    """
    try:
        fields = _fields.decode(body)
    except UNREADABLE:
        return False
    try:
        match surface:
            case Surface.CHAT:
                return _is_beyond(fields, _READ[surface]) or _has_more_inside(fields)
            case Surface.TEXT | Surface.EMBEDDINGS:
                return _is_beyond(fields, _READ[surface])
            case Surface.MESSAGES:
                return _has_choice(fields) or _has_web_image(fields.get("messages", _NULL))
            case Surface.RESPONSES:
                return _has_choice(fields) or _has_web_image(fields.get("input", _NULL))
            case _:
                return False
    except UNREADABLE:
        return True  # a member that no struct above has, or a type that it should not be


def _is_beyond(fields: Mapping[str, msgspec.Raw], read: frozenset[str]) -> bool:
    return any(_is_wish(name, fields[name]) for name in fields.keys() - read)


def _is_wish(name: str, value: msgspec.Raw) -> bool:
    said = bytes(value)
    return said != b"null" and said not in _HARMLESS.get(name, ())


def _start(value: msgspec.Raw) -> bytes:
    """Enough to tell what it is, of what may be megabytes."""
    return memoryview(value)[:16].tobytes()


def _is_web_url(url: msgspec.Raw) -> bool:
    """Of a string as it is written. One that is spelled with escapes is looked at decoded."""
    start = _start(url)
    if b"\\" in start:
        return msgspec.json.decode(url, type=str)[:4].lower() == "http"
    return start[1:5].lower() == b"http"


# Chat completions


def _has_more_inside(fields: Mapping[str, msgspec.Raw]) -> bool:
    options = _stream_options.decode(fields.get("stream_options", _NULL))
    if options is not None and options.include_obfuscation:
        return True
    _format.decode(fields.get("response_format", _NULL))
    tools = _tools.decode(fields.get("tools", _NULL)) or ()
    if any(tool.function is not None and tool.function.strict for tool in tools):
        return True
    return any(_is_more(message) for message in _messages.decode(fields.get("messages", _NULL)) or ())


def _is_more(message: _Message) -> bool:
    """Ollama's templates know no developers, and no names but of functions."""
    if message.role == "developer" or (message.role != "tool" and bytes(message.name) != b"null"):
        return True
    content = message.content
    return _start(content)[:1] == b"[" and any(_is_web_image(part.image_url) for part in _parts.decode(content))


def _is_web_image(image: msgspec.Raw) -> bool:
    """`image_url`: an object, or the bare string."""
    return _is_web_url(_image_url.decode(image).url if _start(image)[:1] == b"{" else image)


# Messages and Responses


def _has_choice(fields: Mapping[str, msgspec.Raw]) -> bool:
    choice = fields.get("tool_choice", _NULL)
    if _start(choice)[:1] == b"{":
        said = _fields.decode(choice)
        if bytes(said.get("type", _NULL)) == b'"auto"':
            return bytes(said.get("disable_parallel_tool_use", _NULL)) == b"true"
    return any(_is_wish(name, fields[name]) for name in _CHOICE & fields.keys())


def _has_web_image(entries: msgspec.Raw, levels: int = _LEVELS) -> bool:
    """An image by its address in what some message says, or some tool's result."""
    if not levels or _start(entries)[:1] != b"[":
        return False
    objects = [_fields.decode(entry) for entry in _list.decode(entries) if _start(entry)[:1] == b"{"]
    return any(_is_or_holds_web_image(entry, levels) for entry in objects)


def _is_or_holds_web_image(entry: Mapping[str, msgspec.Raw], levels: int) -> bool:
    if any(_has_web_image(entry.get(name, _NULL), levels - 1) for name in ("content", "output")):
        return True
    kind = bytes(entry.get("type", _NULL))
    if kind == b'"input_image"':
        return _is_web_url(entry.get("image_url", _NULL))
    source = entry.get("source", _NULL)
    if kind != b'"image"' or _start(source)[:1] != b"{":
        return False
    return bytes(_fields.decode(source).get("type", _NULL)) == b'"url"'
