"""Pure. JSON that a caller sent, into types: whatever is wrong with it becomes a ClientError that names the field."""

import re
from typing import TypeVar

import msgspec

from mrproxy.errors import ClientError, Code

T = TypeVar("T")

_PATH = re.compile(r" - at `\$\.?(.*?)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def invalid(param: str, problem: str) -> ClientError:
    """A field whose value is not possible, or not possible here."""
    return ClientError(Code.INVALID_FIELD, f"{param}: {problem}", param=param)


def missing(param: str) -> ClientError:
    return ClientError(Code.MISSING_FIELD, f"{param}: field required", param=param)


def read(decoder: msgspec.json.Decoder[T], value: bytes | msgspec.Raw, param: str = "") -> T:
    """`value` in the decoder's type. `param` names the field it came from, empty for the whole body.

    Raises ClientError."""
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as exc:
        raise _wrong(str(exc), param) from None
    except _UNREADABLE as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}", param=param or None) from None


def read_object(body: bytes | msgspec.Raw, param: str = "") -> dict[str, msgspec.Raw]:
    """The members of an object; their values are not looked at."""
    return read(_object, body, param)


def is_null(value: msgspec.Raw | None) -> bool:
    """Not said, or said to be nothing."""
    return value is None or bytes(value) == b"null"


def _wrong(reason: str, param: str) -> ClientError:
    found = _PATH.search(reason)
    path = ".".join(part for part in (param, found[1] if found else "") if part).replace(".[", "[")
    if absent := _MISSING.search(reason):
        return missing(f"{path}.{absent[1]}" if path else absent[1])
    problem = _PATH.sub("", reason)
    if not path:
        return ClientError(Code.INVALID_FIELD, problem)
    return invalid(path, problem)
