"""Pure. Bodies, query parameters and conditions, typed; what cannot be accepted is a Problem that says where.

Text that holds U+0000 is refused everywhere: PostgreSQL cannot store it, and nobody means it.
Sources: RFC 8259 (JSON), RFC 6901 (pointers), RFC 9110 §13 (conditions); msgspec's wording of its errors ("Expected
`int`, got `str` - at `$.a[0]`") is read here and nowhere else, and pinned by tests.
"""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from mrproxy.control.api.problem import Detail, Problem

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

JSON_TYPES = frozenset({"application/json", "application/merge-patch+json"})

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>[^`]*)`)?$", re.DOTALL)
# Whole and anchored: a name is the caller's, and a search would begin anew at each `unknown field` in it.
_FIELD = re.compile(r"Object (?:contains unknown|missing required) field `(?P<field>.*)`", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]")
# Of a caller's own names and words an answer repeats no more.
_MAX_QUOTED_CHARACTERS = 200
_ETAG = re.compile(r'"(?P<version>\d{1,18})(?:\.[0-9a-f]+)?"')


def decode_body(body: bytes, kind: type[T]) -> T:
    """No body is an empty object. Raises Problem: malformed for what is no JSON, invalid for the rest."""
    try:
        value = msgspec.json.decode(body or b"{}", type=kind)
        if b"\\u0000" in body and (pointer := pointer_to_null(msgspec.json.decode(body))) is not None:
            raise invalid(shortened(pointer), "U+0000 is not allowed in text")
    except msgspec.ValidationError as exc:
        raise problem_of_validation(exc) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Problem("malformed", f"The body is not JSON: {exc}.") from None
    except RecursionError:
        raise Problem("malformed", "The body is nested too deeply.") from None
    return value


def decode_query(pairs: Iterable[tuple[str, str]], kind: type[S]) -> S:
    """A parameter that occurs twice is a list, where the type has a list. Raises Problem."""
    values: dict[str, Any] = {}
    lists = {field.name for field in msgspec.structs.fields(kind) if _is_list(field.type)}
    for name, text in pairs:
        if not is_text(name) or not is_text(text):
            raise invalid("?", "is no text: U+0000, or half a character")
        if name in lists:
            values.setdefault(name, []).append(text)
        elif name in values:
            raise invalid(f"?{name}", "is given more than once")
        else:
            values[name] = text
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise problem_of_validation(exc, prefix="?") from None


def is_text(text: str) -> bool:
    """Whether UTF-8 and PostgreSQL can hold it."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def problem_of_validation(exc: msgspec.ValidationError, prefix: str = "/") -> Problem:
    found = _AT.match(str(exc))
    assert found is not None
    what, path = found["what"], found["path"] or ""
    steps = [step["name"] or step["index"] for step in _STEP.finditer(path)]
    if named := _FIELD.fullmatch(what):
        steps.append(named["field"])
    pointer = prefix + "/".join(map(_escaped, steps)) if steps else ""
    return invalid(shortened(pointer), shortened(what))


def shortened(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED_CHARACTERS else f"{text[:_MAX_QUOTED_CHARACTERS]}…"


def _escaped(step: str) -> str:
    """As a part of a JSON pointer (RFC 6901 §3)."""
    return step.replace("~", "~0").replace("/", "~1")


def invalid(pointer: str, why: str) -> Problem:
    where = f" ({pointer})" if pointer else ""
    return Problem("invalid", f"{why}{where}.", errors=(Detail(pointer, why),))


def pointer_to_null(value: object) -> str | None:
    """Where a text or a name in this holds U+0000. Only the way to it is put together, on the way back."""
    match value:
        case str():
            return "" if "\0" in value else None
        case list():
            steps: Iterable[tuple[object, object]] = enumerate(value)
        case dict():
            if any("\0" in name for name in value):
                return ""
            steps = value.items()
        case _:
            return None
    for step, each in steps:
        if (rest := pointer_to_null(each)) is not None:
            return f"/{step}{rest}"
    return None


def check_media_type(content_type: str) -> None:
    """Raises Problem unless it is JSON in UTF-8."""
    media_type, _, _ = content_type.partition(";")
    if media_type.strip().lower() not in JSON_TYPES:
        raise Problem("media-type", f"The body must be application/json, not {media_type.strip()[:100] or 'unnamed'}.")


def version_of(if_match: str) -> int | None:
    """What `If-Match` asks for; `*` asks for nothing that a change does not need anyway.

    Tags are compared strongly, and no tag that we never made can match. Of several tags only one could be
    current, and nobody has looked at several.
    """
    if not if_match or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise Problem("changed", 'If-Match names no version; it is one tag as in an ETag: "3".')
    return int(found["version"])


def _is_list(kind: object) -> bool:
    return "tuple[" in str(kind) or "list[" in str(kind)
