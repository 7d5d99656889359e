"""Pure. JSON that a caller sent, taken apart: whatever is wrong with it becomes a ClientError that names the field.

Paths are written as Anthropic writes them: `messages.0.content.1.text`. A null is a field that was not given.
"""

import re
from typing import Annotated, TypeVar

import msgspec

from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.errors import ClientError, Code

T = TypeVar("T")

_PATH = re.compile(r" - at `\$\.?(.*?)`$")
_INDEX, _AS_MEMBER = re.compile(r"\[(\d+)\]"), r".\1"
_MISSING = re.compile(r"missing required field `(\w+)`")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_texts = msgspec.json.Decoder(list[str])
_flag = msgspec.json.Decoder(bool)
# What every engine's own integers hold.
_integer = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)])
_number = msgspec.json.Decoder(float)
_NULL = msgspec.Raw(b"null")


def invalid(param: str, problem: str) -> ClientError:
    """A field whose value is not possible, or not possible here."""
    return ClientError(Code.INVALID_FIELD, f"{param}: {problem}" if param else problem, param=param or None)


def missing(param: str) -> ClientError:
    return ClientError(Code.MISSING_FIELD, f"{param}: field required", param=param)


def read(decoder: msgspec.json.Decoder[T], value: bytes | msgspec.Raw, param: str = "") -> T:
    """`value` in the decoder's type. `param` names the field it came from, empty for the whole body.

    Raises ClientError."""
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as exc:
        raise _wrong(str(exc), param) from None
    except UNREADABLE as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}", param=param or None) from None


def _wrong(reason: str, param: str) -> ClientError:
    found = _PATH.search(reason)
    path = f"{param}.{_INDEX.sub(_AS_MEMBER, found[1]) if found else ''}".strip(".").replace("..", ".")
    if absent := _MISSING.search(reason):
        return missing(f"{path}.{absent[1]}".strip("."))
    return invalid(path, _PATH.sub("", reason))


class NoThreads(ClientError):
    """`thread`: the conversation would be held by Anthropic's service, and later requests would bring its end only.

    `error_code` is what the SDKs look for: they then send the whole conversation, and go on without a thread
    (anthropic-sdk-python 2.11, `ThreadUnsupportedRequestError`).
    """

    error_code = "thread_unsupported_request"

    def __init__(self) -> None:
        message = "thread: conversations are not held here; send all of the messages, without `thread`"
        super().__init__(Code.INVALID_FIELD, message, param="thread")


def begins(value: msgspec.Raw, start: bytes) -> bool:
    """How JSON begins tells its type, and copies nothing."""
    return memoryview(value)[:1] == start


class Members:
    """One object of the caller's, member by member; whoever took all that it understands asks what is left."""

    __slots__ = ("_left", "path")

    def __init__(self, value: bytes | msgspec.Raw, path: str = "") -> None:
        self.path = path
        self._left = read(_object, value, path)

    def at(self, name: str) -> str:
        """The full path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def raw(self, name: str) -> msgspec.Raw | None:
        value = self._left.pop(name, None)
        return None if value is None or value == _NULL else value

    def required(self, name: str) -> msgspec.Raw:
        value = self.raw(name)
        if value is None:
            raise missing(self.at(name))
        return value

    def take(self, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
        value = self.raw(name)
        return None if value is None else read(decoder, value, self.at(name))

    def text(self, name: str) -> str | None:
        return self.take(name, _text)

    def required_text(self, name: str) -> str:
        return read(_text, self.required(name), self.at(name))

    def texts(self, name: str) -> tuple[str, ...]:
        texts = self.take(name, _texts)
        return tuple(texts) if texts is not None else ()

    def flag(self, name: str) -> bool | None:
        return self.take(name, _flag)

    def integer(self, name: str) -> int | None:
        return self.take(name, _integer)

    def number(self, name: str) -> float | None:
        return self.take(name, _number)

    def members(self, name: str) -> "Members | None":
        value = self.raw(name)
        return None if value is None else Members(value, self.at(name))

    def objects(self, name: str) -> "list[Members]":
        """A list of objects; empty when it is not there."""
        values = self.take(name, _list)
        return members_of(values, self.at(name)) if values is not None else []

    def required_objects(self, name: str) -> "list[Members]":
        return members_of(read(_list, self.required(name), self.at(name)), self.at(name))

    def left(self) -> dict[str, msgspec.Raw]:
        """What was not taken, without nulls."""
        return {name: value for name, value in self._left.items() if value != _NULL}


def members_of(values: list[msgspec.Raw], path: str) -> list[Members]:
    return [Members(value, f"{path}.{number}") for number, value in enumerate(values)]


def text_or_objects(value: msgspec.Raw, path: str) -> str | list[Members]:
    """Anthropic's `content`: a string, or a list of blocks."""
    if begins(value, b'"'):
        return read(_text, value, path)
    return members_of(read(_list, value, path), path)


class Notes:
    """Warnings, each once, in the order in which they first came up."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[str, None] = {}

    def add(self, warning: str) -> None:
        self._said[warning] = None

    def ignored(self, name: str, reason: str) -> None:
        self.add(f"{name} is ignored: {reason}")

    def cache_control(self, given: msgspec.Raw | None) -> None:
        """It may stand on nearly everything."""
        if given is not None:
            self.ignored("cache_control", "engines cache prompts by themselves")

    def left_of(self, members: Members, what: str) -> None:
        """Whatever nobody took: fields that are newer than this decoder, or no fields of Anthropic's."""
        for name in members.left():
            self.ignored(f"{what}.{name}", "it is not known here")

    def all(self) -> tuple[str, ...]:
        return tuple(self._said)
