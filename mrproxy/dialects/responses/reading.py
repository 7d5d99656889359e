"""Pure. JSON of a request, read by type: what is wrong with it becomes a ClientError that names the place.

A place is a path as OpenAI writes it in `error.param`: `input[2].content[0].text`.
"""

import re
from typing import NoReturn, TypeVar

import msgspec

from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.errors import ClientError, Code

T = TypeVar("T")

_MISSING = re.compile(r"missing required field `([^`]+)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_strings = msgspec.json.Decoder(str)

ABSENT = msgspec.Raw()
NULL = b"null"


class Warnings:
    """What had to be ignored, each sentence once, in the order of its first use."""

    __slots__ = ("_sentences",)

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}

    def add(self, sentence: str) -> None:
        self._sentences[sentence] = None

    def ignore(self, name: str, why: str) -> None:
        self.add(f"{name} is ignored: {why}")

    def said(self) -> tuple[str, ...]:
        return tuple(self._sentences)


def is_given(raw: msgspec.Raw) -> bool:
    """Neither absent nor null."""
    return bool(bytes(raw)) and bytes(raw) != NULL


def read(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw, place: str) -> T:
    """Raises ClientError."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as exc:
        _refuse(str(exc), place)
    except UNREADABLE as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}") from None


def read_fields(data: bytes | msgspec.Raw, place: str) -> dict[str, msgspec.Raw]:
    """The members of an object. Raises ClientError."""
    return read(_fields, data, place)


def read_text_or(decoder: msgspec.json.Decoder[T], data: msgspec.Raw, place: str) -> str | T:
    """Where the API takes a string as a short form of something longer. Raises ClientError."""
    if bytes(data)[:1] == b'"':
        return read(_strings, data, place)
    return read(decoder, data, place)


def require_utf8(body: bytes) -> None:
    """What is passed on unread must be text as well. Raises ClientError."""
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not UTF-8: {exc}") from None


def invalid(place: str, problem: str) -> ClientError:
    return ClientError(Code.INVALID_FIELD, f"invalid value for '{place}': {problem}", param=place)


def missing(place: str) -> ClientError:
    return ClientError(Code.MISSING_FIELD, f"missing required parameter: '{place}'", param=place)


def _refuse(reason: str, place: str) -> NoReturn:
    found = _PATH.search(reason)
    inner = found[1] if found else ""
    problem = _PATH.sub("", reason)
    name = _MISSING.search(problem)
    if name is not None:
        raise missing(_join(_join(place, inner), name[1])) from None
    whole = _join(place, inner)
    if not whole:
        raise ClientError(Code.INVALID_FIELD, f"the body is invalid: {problem}") from None
    raise invalid(whole, problem) from None


def _join(place: str, inner: str) -> str:
    if not place or not inner or inner.startswith("["):
        return place + inner
    return f"{place}.{inner}"
