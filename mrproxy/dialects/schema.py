"""Pure. Structured output, checked on its way out: is it JSON, is it an object, does it follow the caller's schema?

1. `jsonschema` validates (Draft 2020-12; formats are annotations). Schema and output are both strangers' words, and
   this runs in the process that relays everybody's tokens, so neither reaches the library as it came.
2. `schema_reader.py` takes out of a schema what could switch the validator or leave the document.
3. A check has a number of steps (`MAX_STEPS`, about 0.1 s). Every keyword pays for its work before it does it;
   what could do much at once (patterns, unique items) or fails on odd numbers is written here.
4. What cannot be checked within bounds (patterns that are not simple; unevaluatedProperties next to patternProperties)
   is not held against the output. An output that is too large or too deep to be checked has failed.

A check of a long output holds up the event loop: above some 10 KB, run `finish` in a thread.
"""

import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from referencing import Registry

from mrproxy.canonical.conversation import FormatKind, ResponseFormat
from mrproxy.dialects.patterns import MAX_WAYS
from mrproxy.dialects.schema_reader import SchemaReader, Words, invalid_schema, measured, size_of

MAX_TEXT_CHARACTERS = 1 << 20
MAX_STEPS = 10_000
_MAX_PATH_CHARACTERS = 80
# Half of what the interpreter allows: where a RecursionError meets compiled code (the library's `rpds`), that panics
# with something that is no Exception, and would end the worker.
_MAX_FRAMES = 500
_MAX_WORDS_CHARACTERS = 120

# A keyword of the library: validator, the keyword's value, instance, schema → errors. Its values are any JSON.
_Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]
_UNEVALUATED_PROPERTIES: Final[_Keyword] = Draft202012Validator.VALIDATORS["unevaluatedProperties"]


class _TooMuch(Exception):
    """The steps of a check are used up."""


class _Check(FormatChecker):
    """What one validation carries along. The library hands its format checker to every part of a validation and to
    nothing else, so that is where it rides; as a format checker it knows no format."""

    def __init__(self, reader: SchemaReader) -> None:
        super().__init__(formats=())
        self.has_pattern_properties = reader.has_pattern_properties
        self._patterns = reader.patterns
        self._steps_left = MAX_STEPS

    def spend(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise _TooMuch
        try:
            sys._getframe(_MAX_FRAMES)
        except ValueError:
            return  # the stack is not that deep
        raise RecursionError

    def is_in(self, pattern: str, text: str) -> bool | None:
        """None: not to be found out."""
        read = self._patterns[pattern]
        if read is None:
            return None
        ways = read.ways_in(text)
        self.spend(1 + (ways // 50 if ways <= MAX_WAYS else 0))
        return read.is_in(text)


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and validator.format_checker.is_in(pattern, instance) is False:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, rules: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, rule in rules.items():
            for name, member in instance.items():
                if validator.format_checker.is_in(pattern, name):
                    yield from validator.descend(member, rule, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, member in instance.items():
        if name in known or any(validator.format_checker.is_in(each, name) is not False for each in patterns):
            continue
        if rule is False:
            yield ValidationError(f"the property {Words(name)!r} is not allowed")
        else:
            yield from validator.descend(member, rule, path=name)


def _unevaluated_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[ValidationError] | None:
    if validator.format_checker.has_pattern_properties:
        return None  # the library would run those patterns
    return _UNEVALUATED_PROPERTIES(validator, rule, instance, schema)


def _multiple_of(_validator: Any, divisor: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Exact, as the numbers are written: 0.3 is a multiple of 0.1."""
    is_number = isinstance(instance, int | float) and not isinstance(instance, bool)
    if is_number and (Fraction(repr(instance)) / Fraction(repr(divisor))).denominator != 1:
        yield ValidationError(f"{instance!r} is not a multiple of {divisor!r}")


def _unique_items(validator: Any, is_wanted: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if is_wanted and isinstance(instance, list):
        validator.format_checker.spend(size_of(instance) // 4)
        if len({_identity(each) for each in instance}) != len(instance):
            yield ValidationError("the items are not unique")


def _identity(value: Any) -> object:
    """Equal and hashable for equal JSON: 1 is 1.0 and not true."""
    if isinstance(value, dict):
        return "object", frozenset((name, _identity(each)) for name, each in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_identity, value))
    return ("boolean", value) if isinstance(value, bool) else value


_OURS: Final[dict[str, _Keyword]] = {
    "additionalProperties": _additional_properties,
    "multipleOf": _multiple_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "unevaluatedProperties": _unevaluated_properties,
    "uniqueItems": _unique_items,
}
# Their work is in all of their value; that of the others is in its members, each of which pays for itself.
_COMPARES_ALL: Final = frozenset({"const", "dependentRequired", "enum", "required"})


def _paid(name: str, keyword: _Keyword) -> _Keyword:
    compares_all = name in _COMPARES_ALL

    def paid(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError] | None:
        breadth = size_of(value) if compares_all else _length(value)
        validator.format_checker.spend(1 + (breadth + _length(instance)) // 4)
        return keyword(validator, value, instance, schema)

    return paid


def _length(value: object) -> int:
    return len(value) if isinstance(value, dict | list) else 0


_KEYWORDS: Final[dict[str, _Keyword]] = {**Draft202012Validator.VALIDATORS, **_OURS}
_Validator: Final = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {name: _paid(name, keyword) for name, keyword in _KEYWORDS.items()}
)


class OutputCheck:
    """Takes the text of one answer as it is made, and says at its end what is wrong with it.

    Raises ClientError(param="response_format") at once if the schema is none.
    """

    def __init__(self, response_format: ResponseFormat) -> None:
        self._kind = response_format.kind
        self._pieces: list[str] = []
        self._characters = 0
        self._reader = SchemaReader()
        if self._kind is FormatKind.JSON_SCHEMA:
            if response_format.schema is None:
                raise invalid_schema((), "is missing")
            self._schema = self._reader.read(memoryview(response_format.schema))

    def receive_text(self, text: str) -> None:
        """The next piece. What is beyond the limit is counted, not kept."""
        if self._kind is FormatKind.TEXT:
            return
        self._characters += len(text)
        if self._characters <= MAX_TEXT_CHARACTERS:
            self._pieces.append(text)

    def finish(self) -> str | None:
        """None if the output is what was asked for; else why not, in at most 300 characters."""
        if self._kind is FormatKind.TEXT:
            return None
        if self._characters > MAX_TEXT_CHARACTERS:
            return f"the output has more than {MAX_TEXT_CHARACTERS:,} characters"
        try:
            output = msgspec.json.decode("".join(self._pieces))
        except msgspec.MsgspecError as exc:
            return f"the output is not valid JSON: {exc}"[:200]
        except (UnicodeEncodeError, RecursionError):
            return "the output is not valid JSON, or is nested too deeply"
        if self._kind is FormatKind.JSON_OBJECT:
            return None if isinstance(output, dict) else "the output is valid JSON, but not an object"
        return self._violation(output)

    def _violation(self, output: object) -> str | None:
        try:
            validator = _Validator(self._schema, registry=Registry(), format_checker=_Check(self._reader))
            first = next(iter(validator.iter_errors(measured(output))), None)
            worst = best_match([first]) if first is not None else None
        except _TooMuch:
            return "the output is too large to be checked against its schema"
        except RecursionError:
            return "the output is nested too deeply to be checked against its schema"
        if worst is None:
            return None
        path = worst.json_path
        path = path if len(path) <= _MAX_PATH_CHARACTERS else f"{path[:_MAX_PATH_CHARACTERS]}…"
        return f"the output does not follow its schema at {path}: {worst.message[:_MAX_WORDS_CHARACTERS]}"
