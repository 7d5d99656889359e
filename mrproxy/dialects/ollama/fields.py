"""Pure. A request's body, taken apart member by member; what is wrong with it is a ClientError that names the field.

Read as Ollama reads: a null is a member that was not given, and what is inside of a known member and is not known is
skipped. Top-level members that nobody took are left to be told of.
Source: ollama api/types.go, v0.17.4 (February 2026); encoding/json of Go.
"""

import re
from typing import TypeVar

import msgspec

from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.errors import ClientError, Code

T = TypeVar("T")

TEXT = msgspec.json.Decoder(str)
FLAG = msgspec.json.Decoder(bool)
OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
TEXTS = msgspec.json.Decoder(list[str])
_NUMBER = msgspec.json.Decoder(float)
_WHOLE = msgspec.json.Decoder(int)
_WHOLE_LIMIT = 2**63

_MISSING = re.compile(r"missing required field `(\w+)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


def invalid(param: str, problem: str) -> ClientError:
    return ClientError(Code.INVALID_FIELD, f"{param}: {problem}", param=param)


def missing(param: str) -> ClientError:
    return ClientError(Code.MISSING_FIELD, f"{param} is required", param=param)


def is_said(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:5]) not in (b"", b"null")  # without a copy of what may be images


def read(decoder: msgspec.json.Decoder[T], value: bytes | msgspec.Raw, param: str) -> T:
    """`value` in the decoder's type. Raises ClientError."""
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as exc:
        raise _mistake(str(exc), param) from None
    except UNREADABLE as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}", param=param or None) from None


def _mistake(reason: str, param: str) -> ClientError:
    place = _PATH.search(reason)
    inside = place[1] if place else ""
    where = f"{param}{'' if inside.startswith('[') or not param else '.'}{inside}".rstrip(".")
    if absent := _MISSING.search(reason):
        return missing(f"{where}.{absent[1]}".lstrip("."))
    problem = _PATH.sub("", reason)
    return invalid(where, problem) if where else ClientError(Code.INVALID_FIELD, problem)


def read_number(value: msgspec.Raw, param: str) -> float:
    return read(_NUMBER, value, param)


def read_whole(value: msgspec.Raw, param: str) -> int:
    """Go clients send 5.0 where an integer is meant, and Ollama cuts off what is behind the point."""
    number = int(read_number(value, param)) if b"." in bytes(value) else read(_WHOLE, value, param)
    if not -_WHOLE_LIMIT <= number < _WHOLE_LIMIT:
        raise invalid(param, "Expected an integer of 64 bits")
    return number


class Fields:
    """The members of a body. Each is taken once; `rest` is what nobody took."""

    __slots__ = ("_left",)

    def __init__(self, body: bytes) -> None:
        try:
            # Members that stay Raw are not looked into, so that bytes which are no text would pass.
            str(body, "utf-8")
        except UnicodeDecodeError as exc:
            raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}") from None
        self._left = read(OBJECT, body, "")

    def raw(self, name: str) -> msgspec.Raw | None:
        value = self._left.pop(name, None)
        return value if value is not None and is_said(value) else None

    def take(self, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
        value = self.raw(name)
        return None if value is None else read(decoder, value, name)

    def text(self, name: str) -> str | None:
        """Empty is not given, as for Go's zero values."""
        return self.take(name, TEXT) or None

    def flag(self, name: str) -> bool | None:
        return self.take(name, FLAG)

    def whole(self, name: str) -> int | None:
        value = self.raw(name)
        return None if value is None else read_whole(value, name)

    def model(self) -> str:
        name = self.text("model")
        if name is None:
            raise missing("model")
        return name

    def rest(self) -> dict[str, msgspec.Raw]:
        return {name: value for name, value in self._left.items() if is_said(value)}
