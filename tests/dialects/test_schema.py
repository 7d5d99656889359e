"""Structured output on its way out: what is said of it, and that no schema or output can hold the process up.

The plain library is the oracle of what is valid. Rules: JSON Schema 2020-12, core and validation.
"""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mrproxy.canonical.conversation import FormatKind, ResponseFormat
from mrproxy.dialects.schema import MAX_STEPS, MAX_TEXT_CHARACTERS, OutputCheck
from mrproxy.errors import ClientError
from tests.fuzzing import fuzz

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "uniqueItems": True},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
    "$defs": {"tag": {"enum": ["a", "b"]}},
}


def check_of(schema: object) -> OutputCheck:
    return OutputCheck(ResponseFormat(FormatKind.JSON_SCHEMA, schema=msgspec.Raw(json.dumps(schema).encode())))


def reason(schema: object, text: str) -> str | None:
    check = check_of(schema)
    check.receive_text(text)
    return check.finish()


def reason_for(schema: object, output: object) -> str | None:
    return reason(schema, json.dumps(output))


# Without a schema


def test_any_text_will_do_where_nothing_was_asked_for() -> None:
    check = OutputCheck(ResponseFormat(FormatKind.TEXT))
    check.receive_text("hello" * MAX_TEXT_CHARACTERS)
    assert check.finish() is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", None),
        (' {"a": [1, 2]}\n', None),
        ("[1]", "the output is valid JSON, but not an object"),
        ('"{}"', "the output is valid JSON, but not an object"),
        ("", "the output is not valid JSON: Input data was truncated"),
        ('{"a": 1', "the output is not valid JSON: Input data was truncated"),
        ("Sure! {}", "the output is not valid JSON: JSON is malformed: invalid character (byte 0)"),
        ('{"a": NaN}', "the output is not valid JSON: JSON is malformed: invalid character (byte 6)"),
        ('{"a": "\ud800"}', "the output is not valid JSON, or is nested too deeply"),
        ("[" * 100_000, "the output is not valid JSON, or is nested too deeply"),
    ],
)
def test_a_json_object_is_asked_for(text: str, expected: str | None) -> None:
    check = OutputCheck(ResponseFormat(FormatKind.JSON_OBJECT))
    for piece in (text[:3], text[3:]):
        check.receive_text(piece)
    assert check.finish() == expected


def test_an_output_beyond_the_limit_has_failed() -> None:
    check = OutputCheck(ResponseFormat(FormatKind.JSON_OBJECT))
    for _ in range(3):
        check.receive_text(" " * (MAX_TEXT_CHARACTERS // 2))
    assert check.finish() == "the output has more than 1,048,576 characters"


# With a schema


def test_an_output_in_pieces_that_follows_its_schema_is_fine() -> None:
    check = check_of(PERSON)
    for character in json.dumps({"name": "Ada", "age": 36, "tags": ["a", "b"]}):
        check.receive_text(character)
    assert check.finish() is None


@pytest.mark.parametrize(
    ("output", "where"),
    [
        ({"name": "Ada"}, "at $: 'age' is a required property"),
        ({"name": "Ada", "age": "36"}, "at $.age: '36' is not of type 'integer'"),
        ({"name": "", "age": 1}, "at $.name: '' should be non-empty"),
        ({"name": "Ada", "age": -1}, "at $.age: -1 is less than the minimum of 0"),
        ({"name": "Ada", "age": 1, "sex": "f"}, "at $: the property 'sex' is not allowed"),
        ({"name": "Ada", "age": 1, "tags": ["a", "c"]}, "at $.tags[1]: 'c' is not one of ['a', 'b']"),
        ({"name": "Ada", "age": 1, "tags": ["a", "a"]}, "at $.tags: the items are not unique"),
        ([], "at $: [] is not of type 'object'"),
    ],
)
def test_the_reason_says_where_and_why(output: object, where: str) -> None:
    assert reason_for(PERSON, output) == f"the output does not follow its schema {where}"


def test_the_reason_of_alternatives_is_that_of_the_nearest() -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"a": {"const": 1}}}]}
    assert reason_for(schema, {"a": 2}) == "the output does not follow its schema at $.a: 1 was expected"


@pytest.mark.parametrize(
    "output",
    [
        {"name": "secret " * 1000, "age": 1, "tags": ["secret " * 1000]},
        {"name": "Ada", "age": 1, "secret " * 1000: 1},
        {"name": "Ada", "age": ["secret " * 20] * 1000},
        {"name": "Ada", "age": {"secret " * 20: 1}},
        {"name": "Ada", "age": -(10**400)},
    ],
)
def test_little_of_the_output_is_repeated(output: object) -> None:
    words = reason_for(PERSON, output)
    assert words is not None
    assert words.count("secret") <= 20
    assert len(words) <= 300


def test_a_property_of_a_long_name_makes_no_long_path() -> None:
    words = reason_for({"additionalProperties": {"type": "null"}}, {"x" * 1000: 1})
    assert words is not None
    assert len(words) <= 300


@pytest.mark.parametrize(
    ("schema", "output", "is_valid"),
    [
        ({"type": "integer"}, 1.0, True),
        ({"const": 1}, True, False),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}, None, 0, False], True),
        ({"uniqueItems": True}, [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}], False),
        ({"uniqueItems": False}, [1, 1], True),
        ({"multipleOf": 0.1}, 0.3, True),
        ({"multipleOf": 0.5}, 10**400, True),
        ({"multipleOf": 1e-300}, 10**300 + 1, True),
        ({"multipleOf": 2}, True, True),
        ({"multipleOf": 0.123456789}, 1e308, False),
        ({"format": "email"}, "no address", True),
        ({"pattern": "^[a-z]+$"}, "Ada", False),
        ({"pattern": "^[a-z]+$"}, 5, True),
        ({"patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": False}, {"n_a": 1}, True),
        ({"patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": False}, {"n_a": "1"}, False),
        ({"patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": False}, {"m": 1}, False),
        ({"properties": {"a": True}, "additionalProperties": {"type": "null"}}, {"a": 1, "b": None}, True),
        ({"properties": {"a": True}, "additionalProperties": {"type": "null"}}, {"a": 1, "b": 1}, False),
        ({"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}, {"a": 1}, True),
        ({"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}, {"b": 1}, False),
        ({"$anchor": "me", "properties": {"next": {"$ref": "#me"}}, "required": ["id"]}, {"id": 1, "next": {}}, False),
        ({"$defs": {"a/b~c %": {"type": "null"}}, "$ref": "#/$defs/a~1b~0c%20%25"}, 1, False),
        ({"definitions": {"n": {"type": "null"}}, "items": {"$ref": "#/definitions/n"}}, [None, 1], False),
        (False, 1, False),
        (True, 1, True),
    ],
)
def test_keywords_mean_what_the_standard_says(schema: object, output: object, is_valid: bool) -> None:
    assert (reason_for(schema, output) is None) is is_valid


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        ({"pattern": "(?=b)"}, "a"),
        ({"pattern": "(a+)+$"}, "a" * 100 + "b"),
        ({"patternProperties": {"(?=b)": False}, "additionalProperties": False}, {"a": 1}),
        ({"patternProperties": {"^b": False}, "unevaluatedProperties": False}, {"a": 1}),
    ],
)
def test_what_cannot_be_checked_is_not_held_against_the_output(schema: object, output: object) -> None:
    assert reason_for(schema, output) is None


# Bounds

DOUBLING = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)} | {"a60": {}}
TOO_LARGE = "the output is too large to be checked against its schema"
TOO_DEEP = "the output is nested too deeply to be checked against its schema"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "output", "expected"),
    [
        ({"$defs": DOUBLING, "$ref": "#/$defs/a0"}, {}, TOO_LARGE),
        ({"items": {"type": "integer"}}, [0] * MAX_STEPS, TOO_LARGE),
        ({"items": {"properties": {str(n): {} for n in range(4000)}}}, [{}] * 1000, TOO_LARGE),
        ({"items": {"enum": [["x"] * 1000, "x"]}}, ["x"] * 1000, TOO_LARGE),
        ({"uniqueItems": True, "type": "null"}, [{}] * 5 * MAX_STEPS, TOO_LARGE),
        ({"items": {"pattern": "^a*a*$"}}, ["a" * 900] * 20, TOO_LARGE),
        ({"$ref": "#"}, {}, TOO_DEEP),
        ({"allOf": [{"$ref": "#"}]}, {}, TOO_DEEP),
        ({"$defs": {"t": {"items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}, None, None),
    ],
)
def test_a_check_ends(schema: object, output: object, expected: str | None) -> None:
    assert reason_for(schema, output) == expected


def test_a_deep_output_is_said_to_be_deep() -> None:
    assert reason({"items": {"$ref": "#"}}, "[" * 500 + "]" * 500) == TOO_DEEP


def test_no_other_document_is_ever_asked_for() -> None:
    for schema in (
        {"$ref": "http://127.0.0.1:9/schema"},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"$id": "http://127.0.0.1:9/", "$ref": "other.json"},
        {"$dynamicRef": "x#y"},
    ):
        with pytest.raises(ClientError, match="never fetched"):
            check_of(schema)


def test_another_draft_cannot_be_switched_on() -> None:
    old = "http://json-schema.org/draft-03/schema#"
    schema = {"$schema": old, "items": {"$schema": old, "$id": old, "type": "null", "pattern": "(a+)+$"}}
    assert reason_for(schema, [None]) is None
    assert reason_for(schema, ["a" * 50 + "b"]) == (
        f"the output does not follow its schema at $[0]: '{'a' * 50}b' is not of type 'null'"
    )


def test_a_format_without_its_schema_is_refused() -> None:
    with pytest.raises(ClientError) as caught:
        OutputCheck(ResponseFormat(FormatKind.JSON_SCHEMA))
    assert caught.value.param == "response_format"


# The library as the oracle

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "ab", "b1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["null", "boolean", "object", "array", "number", "string", "integer"])
COUNTS = st.integers(0, 3)
NAMES = st.lists(st.sampled_from("abc"), max_size=2, unique=True)


def rules(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    lists = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    optional: dict[str, st.SearchStrategy[object]] = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
        "enum": st.lists(VALUES, max_size=3),
        "const": VALUES,
        "required": NAMES,
        "uniqueItems": st.booleans(),
        "pattern": st.sampled_from(["^a", "b$", r"\d", "^[ab]+$"]),
        "dependentRequired": st.dictionaries(st.sampled_from("abc"), NAMES, max_size=2),
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "b", "[bc]$"]), inner, max_size=2),
        **dict.fromkeys(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"), COUNTS),
        **dict.fromkeys(("minimum", "exclusiveMaximum", "minContains", "maxContains"), COUNTS),
        **dict.fromkeys(("additionalProperties", "contains", "if", "then", "else", "items", "not"), inner),
        **dict.fromkeys(("propertyNames", "unevaluatedItems"), inner),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), lists),
        **dict.fromkeys(("properties", "dependentSchemas"), named),
    }
    keyword = st.sampled_from(sorted(optional)).flatmap(lambda name: st.tuples(st.just(name), optional[name]))
    return st.lists(keyword, max_size=3).map(dict)


SCHEMAS = st.recursive(st.booleans() | st.just({}), rules, max_leaves=8)


@given(SCHEMAS, VALUES)
@fuzz(200)
def test_what_the_library_says_alone_is_what_is_said(schema: object, output: object) -> None:
    assert (reason_for(schema, output) is None) is Draft202012Validator(schema).is_valid(output)  # type: ignore[arg-type]


def check_anything(data: bytes) -> None:
    """The first line is the schema, the rest is the output."""
    schema, _, output = data.partition(b"\n")
    try:
        check = OutputCheck(ResponseFormat(FormatKind.JSON_SCHEMA, schema=msgspec.Raw(schema)))
    except ClientError:
        return
    check.receive_text(output.decode("utf-8", "surrogateescape"))
    words = check.finish()
    assert words is None or len(words) <= 300


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"schema": check_anything}
KEYWORDS = [*sorted(Draft202012Validator.VALIDATORS), "$defs", "$anchor", "$dynamicAnchor"]
ANYTHING = st.recursive(
    VALUES | TYPES | st.sampled_from(["#", "#a", "#/a", "#/$defs/a", 0, -1, 1e300, 10**20, 1e-9]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3),
    max_leaves=10,
)


@given(ANYTHING, VALUES)
@fuzz(250)
def test_no_schema_raises_anything_but_the_callers_mistake(schema: object, output: object) -> None:
    check_anything(json.dumps(schema).encode() + b"\n" + json.dumps(output).encode())


@given(st.binary(max_size=60))
@fuzz(100)
def test_no_bytes_raise_anything_but_the_callers_mistake(data: bytes) -> None:
    check_anything(data)
