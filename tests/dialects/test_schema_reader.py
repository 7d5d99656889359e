"""Schemas as callers send them: what is copied, what is refused and where, and values that are short in messages."""

import json

import pytest

from mrproxy.dialects.schema_reader import MAX_SCHEMA_BYTES, Items, Members, SchemaReader, Words, measured, size_of
from mrproxy.errors import ClientError, Code


def read(schema: object) -> object:
    return SchemaReader().read(json.dumps(schema).encode())


def test_only_what_decides_is_copied() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://example.com/x",
        "title": "T",
        "description": "D",
        "default": {},
        "examples": [1],
        "format": "email",
        "x-mine": {"type": "nonsense"},
        "type": ["string", "null"],
        "properties": {"title": {"title": "inner", "minLength": 1.0}},
        "$defs": {"a": True},
    }
    assert read(schema) == {
        "type": ["string", "null"],
        "properties": {"title": {"minLength": 1.0}},
        "$defs": {"a": True},
    }
    assert read(True) is True


def test_patterns_are_read_once_and_known_by_their_text() -> None:
    reader = SchemaReader()
    reader.read(b'{"pattern": "^a", "items": {"patternProperties": {"(a+)+": {}}}}')
    assert set(reader.patterns) == {"^a", "(a+)+"}
    assert reader.patterns["^a"] is not None
    assert reader.patterns["(a+)+"] is None
    assert reader.has_pattern_properties


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "must be a schema"),
        ("string", "must be a schema"),
        ({"type": "strin"}, "#/type must be a JSON type"),
        ({"type": []}, "#/type must be a JSON type"),
        ({"type": [1]}, "#/type must be a JSON type"),
        ({"properties": ["a"]}, "#/properties must be an object of schemas"),
        ({"properties": {"a": {"items": 5}}}, "#/properties/a/items must be a schema"),
        ({"items": [{}]}, "#/items must be a schema"),
        ({"anyOf": []}, "#/anyOf must be a list of schemas"),
        ({"anyOf": {}}, "#/anyOf must be a list of schemas"),
        ({"required": "a"}, "#/required must be a list of names"),
        ({"required": [1]}, "#/required must be a list of names"),
        ({"enum": "a"}, "#/enum must be a list"),
        ({"minLength": -1}, "#/minLength must be a whole number"),
        ({"minLength": 0.5}, "#/minLength must be a whole number"),
        ({"minLength": True}, "#/minLength must be a whole number"),
        ({"maximum": "1"}, "#/maximum must be a number"),
        ({"exclusiveMinimum": True}, "#/exclusiveMinimum must be a number"),
        ({"multipleOf": 0}, "#/multipleOf must be a number above 0"),
        ({"pattern": 1}, "#/pattern must be a string"),
        ({"uniqueItems": "yes"}, "#/uniqueItems must be true or false"),
        ({"dependentRequired": {"a": "b"}}, "#/dependentRequired must be lists of names"),
        ({"$ref": 1}, "#/$ref must be a string"),
        ({"$ref": "other.json"}, "other documents are never fetched"),
        ({"$ref": "#/$defs/missing"}, "points to no part of the schema"),
        ({"$ref": "#missing"}, "points to no part of the schema"),
        ({"const": {"pattern": "x"}, "$ref": "#/const"}, "points to no part of the schema"),
        ({"x": {}, "$ref": "#/x"}, "points to no part of the schema"),
        ({"properties": {}, "$ref": "#/properties"}, "points to no part of the schema"),
    ],
)
def test_a_malformed_schema_is_refused_and_the_place_named(schema: object, words: str) -> None:
    with pytest.raises(ClientError) as caught:
        read(schema)
    assert (caught.value.code, caught.value.param) == (Code.INVALID_FIELD, "response_format")
    assert words in caught.value.message
    assert len(caught.value.message) < 250


@pytest.mark.parametrize("text", [b"", b"{", b"{'a': 1}", b"\xff", b"[" * 10_000])
def test_what_is_not_json_is_no_schema(text: bytes) -> None:
    with pytest.raises(ClientError, match="is not JSON"):
        SchemaReader().read(text)


def test_size_and_depth_are_bounded() -> None:
    with pytest.raises(ClientError, match="larger than 64 KiB"):
        SchemaReader().read(b'"' + b" " * MAX_SCHEMA_BYTES + b'"')
    with pytest.raises(ClientError, match="nested too deeply"):
        SchemaReader().read(b'{"not":' * 80 + b"{}" + b"}" * 80)
    with pytest.raises(ClientError):
        SchemaReader().read(b'{"const":' + b"[" * 900 + b"]" * 900 + b"}")


def test_measured_values_are_equal_know_their_size_and_say_little() -> None:
    value = {"a": [1, None, True, 2.5, "x" * 100], "b": {}}
    same = measured(value)
    assert same == value
    assert isinstance(same, Members)
    assert size_of(same) == 8
    assert size_of("a") == 1
    assert repr(same) == "an object"
    assert repr(Words("short")) == "'short'"
    assert repr(Words("x" * 100)) == f"'{'x' * 60}…'"
    assert repr(measured([1, ["a"], {}])) == "[1, ['a'], an object]"
    assert repr(Items(list(range(20)))) == "[0, 1, 2, 3, 4, 5, 6, 7, …]"
