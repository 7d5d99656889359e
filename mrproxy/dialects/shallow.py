"""Pure. A shallow decode: the few fields that routing, limits and accounting need, and splices into the rest.

Nested values stay views (`msgspec.Raw`); unknown fields are not looked at and pass untouched. When nothing has to be
changed the body goes through byte for byte. Measured: 0.6 µs for a 1.1 KB chat request, 0.15 µs for the usage splice.
"""

import re
from typing import TypeVar

import msgspec

from mrproxy.canonical.request import MEDIA, Operation, Request, Shape
from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.errors import ClientError, Code

_TRUE = b"true"


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Asked(msgspec.Struct, gc=False):
    """The fields every dialect shares."""

    model: str


class _OpenAIChat(_Asked):
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _OpenAICompletion(_Asked):
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None


class _Embedding(_Asked):
    pass


class _Media(_Asked):
    """`stream` is said by who wants images, `stream_format` by who wants speech (OpenAI API reference, 2026)."""

    stream: bool | None = None
    stream_format: str | None = None


class _OllamaOptions(msgspec.Struct):
    num_predict: int | None = None


class _OllamaAsked(_Asked):
    stream: bool | None = None
    options: _OllamaOptions | None = None


class _OllamaShow(msgspec.Struct):
    """`name` is the older spelling of `model` (Ollama docs/api.md, 2024)."""

    model: str | None = None
    name: str | None = None


_chat = msgspec.json.Decoder(_OpenAIChat)
_completion = msgspec.json.Decoder(_OpenAICompletion)
_embedding = msgspec.json.Decoder(_Embedding)
_media = msgspec.json.Decoder(_Media)
_ollama = msgspec.json.Decoder(_OllamaAsked)
_show = msgspec.json.Decoder(_OllamaShow)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode_chat = _chat.decode
# A member of an enum is found slowly by its name (CPython 3.11): 110 ns.
_CHAT, _JSON = Operation.CHAT, Shape.JSON

T = TypeVar("T")


def _decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Raises ClientError naming the field. What one decoder skips (a name that is not UTF-8) another one may refuse."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise _invalid_field(str(exc)) from None
    except UNREADABLE as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}") from None


_MISSING = re.compile(r"missing required field `(\w+)`")
_PATH = re.compile(r" - at `\$\.([^`]+)`")


def _invalid_field(reason: str) -> ClientError:
    if missing := _MISSING.search(reason):
        name = missing[1]
        return ClientError(Code.MISSING_FIELD, f"you must provide a {name} parameter", param=name)
    place = _PATH.search(reason)
    name = place[1] if place else None
    problem = _PATH.sub("", reason)
    return ClientError(Code.INVALID_FIELD, f"invalid value for '{name}': {problem}" if name else problem, param=name)


def _require_model(model: str) -> None:
    if not model:
        raise ClientError(Code.MISSING_FIELD, "you must provide a model parameter", param="model")


def decode_openai(body: bytes, operation: Operation) -> Request:
    """Raises ClientError. Adds `stream_options.include_usage` to streams whose caller did not ask for it."""
    asked: _OpenAIChat | _OpenAICompletion
    if operation is _CHAT:
        try:
            asked = chat = _decode_chat(body)
        except UNREADABLE:
            asked = chat = _decode(_chat, body)  # once more, for the words
        # Its presence is all that is looked at: making views of every message took half of this function's time.
        if body.find(b'"messages"') < 0:  # `in` makes a TypeError inside of CPython 3.11
            raise ClientError(Code.MISSING_FIELD, "you must provide a messages parameter", param="messages")
        bound = chat.max_completion_tokens
        if bound is None:
            bound = chat.max_tokens
    elif operation is Operation.EMBEDDINGS:
        embedding = _decode(_embedding, body)
        _require_model(embedding.model)
        return Request(embedding.model, body, Shape.JSON, len(body), 0, False)
    elif operation in MEDIA:
        return _decode_media(body, operation)
    else:
        asked = _decode(_completion, body)
        bound = asked.max_tokens
    if not asked.model:
        _require_model(asked.model)
    if bound is not None and bound < 0:  # llama.cpp's "no bound"
        bound = None
    if not asked.stream:
        return Request(asked.model, body, _JSON, len(body), bound, False)
    options = asked.stream_options
    if options is not None and options.include_usage:
        return Request(asked.model, body, Shape.SSE, len(body), bound, False)
    return Request(asked.model, ask_for_usage(body), Shape.SSE, len(body), bound, True)


def _decode_media(body: bytes, operation: Operation) -> Request:
    """Everything passes as it is. Speech is a stream of events if that is its format; else it is audio, in one piece
    or in many."""
    asked = _decode(_media, body)
    _require_model(asked.model)
    streams = asked.stream_format == "sse" if operation is Operation.SPEECH else asked.stream
    return Request(asked.model, body, Shape.SSE if streams else Shape.JSON, len(body), 0, False)


def decode_ollama(body: bytes, operation: Operation) -> Request:
    """Raises ClientError. Ollama streams unless told otherwise."""
    if operation is Operation.SHOW:
        show = _decode(_show, body)
        model = show.model or show.name or ""
        _require_model(model)
        return Request(model, body, Shape.JSON, 0, 0, False)
    asked = _decode(_ollama, body)
    _require_model(asked.model)
    if operation in (Operation.EMBED, Operation.EMBEDDINGS):
        return Request(asked.model, body, Shape.JSON, len(body), 0, False)
    bound = asked.options.num_predict if asked.options is not None else None
    if bound is not None and bound < 0:  # -1: no bound, -2: fill the context
        bound = None
    shape = Shape.JSON if asked.stream is False else Shape.NDJSON
    return Request(asked.model, body, shape, len(body), bound, False)


def ask_for_usage(body: bytes) -> bytes:
    """Set `stream_options.include_usage` in an object that was decoded before, leaving its other bytes alone.

    Raises ClientError."""
    if body.find(b'"stream_options"') < 0:
        # At the end: of two members with one name, engines take the last, and "stream\u005foptions" is that name too.
        end = body.rindex(b"}")
        return b'%b,"stream_options":{"include_usage":true}%b' % (body[:end], body[end:])
    fields = _decode(_fields, body)
    given = fields.get("stream_options")
    options = _decode(_fields, given) if given is not None and bytes(given) != b"null" else {}
    options["include_usage"] = msgspec.Raw(_TRUE)
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)


def require_one_model(body: bytes) -> None:
    """Refuse a second spelling of `model`: engines written in Go take any case, and the last one. Raises ClientError.

    For callers whose key allows some models only: what was checked must be what the engine reads.
    """
    try:
        names = [name for name in _fields.decode(body) if name.lower() in ("model", "name")]
    except UNREADABLE as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}") from None
    if any(name not in ("model", "name") for name in names) or len(names) > 1:
        raise ClientError(Code.INVALID_FIELD, "more than one spelling of model", param="model")


def rename_model(body: bytes, model: str) -> bytes:
    """Put another model name into an object that was decoded before; its other values stay as they are.

    Raises ClientError."""
    fields = _decode(_fields, body)
    name = "model" if "model" in fields else "name"
    fields[name] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def set_context_length(body: bytes, context_length: int, *, is_fixed: bool) -> bytes:
    """Put `options.num_ctx` into a request to Ollama that was decoded before. Raises ClientError.

    Not `is_fixed`: a caller's own stands.
    """
    fields = _decode(_fields, body)
    given = fields.get("options")
    options = _decode(_fields, given) if given is not None and bytes(given) != b"null" else {}
    if "num_ctx" in options and not is_fixed:
        return body
    options["num_ctx"] = msgspec.Raw(b"%d" % context_length)
    fields["options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)
