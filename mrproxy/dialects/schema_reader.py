"""Pure. Reads a caller's JSON schema: what is a rule is copied, what is malformed is a ClientError that says where.

The copy holds keywords of Draft 2020-12 that decide about an output, with values of the types that they must have, and
nothing else: no annotations, no unknown keywords, no `$schema` or `$id`. A reference leads to a subschema of the same
document or is refused. (The library's own check, against the meta-schema, takes 30 ms for a schema of 5 KB.)

`measured` values are what the validator works on: they know their size, and are short when a message repeats them.
Source: json-schema.org/draft/2020-12/json-schema-core and -validation.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import unquote

import msgspec

from mrproxy.dialects.patterns import Pattern
from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.errors import ClientError, Code

MAX_SCHEMA_BYTES = 64 << 10
_MAX_DEPTH = 64
_MAX_REPEATED_CHARACTERS = 60

Place: TypeAlias = tuple[str, ...]


class Members(dict[str, object]):
    """A JSON object. `size` counts the values in it, itself included."""

    __slots__ = ("size",)

    def __init__(self, members: Mapping[str, object]) -> None:
        super().__init__(members)
        self.size = 1 + sum(size_of(each) for each in members.values())

    def __repr__(self) -> str:
        return "an object"


class Items(list[object]):
    """A JSON array; `size` as above."""

    __slots__ = ("size",)

    def __init__(self, items: list[object]) -> None:
        super().__init__(items)
        self.size = 1 + sum(size_of(each) for each in items)

    def __repr__(self) -> str:
        names = ", ".join(repr(each) for each in self[:8])
        return f"[{names}{', …' if len(self) > 8 else ''}]"[: 2 * _MAX_REPEATED_CHARACTERS]


class Words(str):
    """A JSON string."""

    __slots__ = ()

    def __repr__(self) -> str:
        if len(self) <= _MAX_REPEATED_CHARACTERS:
            return super().__repr__()
        return repr(self[:_MAX_REPEATED_CHARACTERS] + "…")


def size_of(value: object) -> int:
    return value.size if isinstance(value, Members | Items) else 1


def measured(value: object) -> object:
    """Decoded JSON, as the values above. Raises RecursionError for what is nested too deeply."""
    if isinstance(value, dict):
        return Members({name: measured(each) for name, each in value.items()})
    if isinstance(value, list):
        return Items([measured(each) for each in value])
    return Words(value) if isinstance(value, str) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_number(value) and value == int(value) >= 0  # type: ignore[call-overload]


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_type(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(each, str) and each in _TYPES for each in names)


_TYPES: Final = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})
_ONE_SCHEMA: Final = frozenset(
    {
        "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then", "unevaluatedItems",
        "unevaluatedProperties",
    }
)  # fmt: skip
_LISTS_OF_SCHEMAS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED_SCHEMAS: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_RULES: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "$ref": (lambda value: isinstance(value, str), "a string"),
    "$dynamicRef": (lambda value: isinstance(value, str), "a string"),
    "$anchor": (lambda value: isinstance(value, str), "a string"),
    "$dynamicAnchor": (lambda value: isinstance(value, str), "a string"),
    "const": (lambda _: True, ""),
    "dependentRequired": (
        lambda value: isinstance(value, dict) and all(map(_is_names, value.values())),
        "lists of names",
    ),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "exclusiveMaximum": (_is_number, "a number"),
    "exclusiveMinimum": (_is_number, "a number"),
    "maxContains": (_is_count, "a whole number"),
    "maxItems": (_is_count, "a whole number"),
    "maxLength": (_is_count, "a whole number"),
    "maxProperties": (_is_count, "a whole number"),
    "maximum": (_is_number, "a number"),
    "minContains": (_is_count, "a whole number"),
    "minItems": (_is_count, "a whole number"),
    "minLength": (_is_count, "a whole number"),
    "minProperties": (_is_count, "a whole number"),
    "minimum": (_is_number, "a number"),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),  # type: ignore[operator]
    "pattern": (lambda value: isinstance(value, str), "a string"),
    "required": (_is_names, "a list of names"),
    "type": (_is_type, "a JSON type, or a list of such"),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
}


class SchemaReader:
    """Reads one document. Afterwards `patterns` has all of the schema's, None where it cannot be run."""

    def __init__(self) -> None:
        self.patterns: dict[str, Pattern | None] = {}
        self.has_pattern_properties = False
        self._places: set[Place] = set()
        self._anchors: set[str] = set()
        self._references: list[tuple[Place, str]] = []

    def read(self, text: bytes | memoryview) -> bool | Members:
        """The schema as the validator may see it; ClientError if it is none."""
        if len(text) > MAX_SCHEMA_BYTES:
            raise invalid_schema((), f"is larger than {MAX_SCHEMA_BYTES >> 10} KiB")
        try:
            value = msgspec.json.decode(text)
        except UNREADABLE:
            raise invalid_schema((), "is not JSON") from None
        try:
            schema = self._schema(value, ())
        except RecursionError:
            raise invalid_schema((), "is nested too deeply") from None
        for place, reference in self._references:
            self._check_reference(place, reference)
        return schema

    def _schema(self, value: object, place: Place) -> bool | Members:
        if isinstance(value, bool):
            self._places.add(place)
            return value
        if not isinstance(value, dict):
            raise invalid_schema(place, "must be a schema: an object, true or false")
        if len(place) > _MAX_DEPTH:
            raise invalid_schema(place[:3], "is nested too deeply")
        self._places.add(place)
        return Members(
            {name: self._keyword(name, each, (*place, name)) for name, each in value.items() if _decides(name)}
        )

    def _keyword(self, name: str, value: object, place: Place) -> object:
        if name in _ONE_SCHEMA:
            return self._schema(value, place)
        if name in _LISTS_OF_SCHEMAS:
            if not (isinstance(value, list) and value):
                raise invalid_schema(place, "must be a list of schemas")
            return Items([self._schema(each, (*place, str(index))) for index, each in enumerate(value)])
        if name in _NAMED_SCHEMAS:
            if not isinstance(value, dict):
                raise invalid_schema(place, "must be an object of schemas")
            if name == "patternProperties":
                self.has_pattern_properties = True
                self.patterns.update((each, Pattern.read(each)) for each in value)
            return Members({each: self._schema(inner, (*place, each)) for each, inner in value.items()})
        return self._rule(name, value, place)

    def _rule(self, name: str, value: object, place: Place) -> object:
        is_valid, words = _RULES[name]
        if not is_valid(value):
            raise invalid_schema(place, f"must be {words}")
        if isinstance(value, str):
            if name == "pattern":
                self.patterns[value] = Pattern.read(value)
            elif name in ("$ref", "$dynamicRef"):
                self._references.append((place, value))
            elif name in ("$anchor", "$dynamicAnchor"):
                self._anchors.add(value)
        return measured(value)

    def _check_reference(self, place: Place, reference: str) -> None:
        if not reference.startswith("#"):
            raise invalid_schema(place, "must point into the schema itself: other documents are never fetched")
        fragment = unquote(reference[1:])
        if fragment[:1] in ("", "/"):
            tokens = tuple(each.replace("~1", "/").replace("~0", "~") for each in fragment.split("/")[1:])
            is_known = tokens in self._places
        else:
            is_known = fragment in self._anchors
        if not is_known:
            raise invalid_schema(place, "points to no part of the schema")


def _decides(name: str) -> bool:
    return name in _RULES or name in _ONE_SCHEMA or name in _LISTS_OF_SCHEMAS or name in _NAMED_SCHEMAS


def invalid_schema(place: Place, words: str) -> ClientError:
    where = "/".join(("#", *place))
    message = f"the JSON schema of the response format {words}"
    if place:
        message = f"in the JSON schema of the response format, {where[:100]} {words}"
    return ClientError(Code.INVALID_FIELD, message, param="response_format")
