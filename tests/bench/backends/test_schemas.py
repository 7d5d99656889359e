import enum
import re

import pydantic
import pytest

from bench.backends.schemas import break_instance, make_instance


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(pydantic.BaseModel):
    name: str
    weight: float = pydantic.Field(gt=0, le=2)


class Tree(pydantic.BaseModel):
    leaves: list[Leaf] = pydantic.Field(min_length=2)
    colour: Colour
    parent: "Tree | None" = None
    note: str | None
    kind: str = pydantic.Field(pattern=r"^[A-Z]{3}$")
    size: int = pydantic.Field(ge=5, multiple_of=4)


class Chain(pydantic.BaseModel):
    next: "Chain | None"


class Endless(pydantic.BaseModel):
    children: list["Endless"]


@pytest.mark.parametrize("model", [Leaf, Tree, Chain, Endless])
def test_pydantic_takes_what_its_own_schema_asks_for(model):
    schema = model.model_json_schema()
    model.model_validate(made := make_instance(schema))
    assert make_instance(schema) == made
    with pytest.raises(pydantic.ValidationError):
        model.model_validate(break_instance(schema))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "maxLength": 3}, "val"),
        ({"type": "string", "minLength": 7}, "valuexx"),
        ({"type": "string", "format": "date"}, "2026-01-15"),
        ({"const": 5}, 5),
        ({"enum": ["x", "y"]}, "x"),
        ({"type": ["null", "string"]}, None),
        ({"type": "boolean"}, True),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "number", "minimum": 3}, 3),
        ({"type": "number", "exclusiveMinimum": 2, "exclusiveMaximum": 3}, 2.5),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True}, [1, 2, 3]),
        ({"type": "array", "maxItems": 0}, []),
        ({"prefixItems": [{"const": 1}, {"const": "b"}]}, [1, "b"]),
        ({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": "b"}),
        ({"oneOf": [{"const": 1}, {"const": 2}]}, 1),
        ({"properties": {"a": {}, "b": {}}, "required": ["b"]}, {"b": "b"}),
        ({"properties": {"a": {}}, "required": []}, {}),
        ({}, "value"),
        (True, "value"),
        ({"$ref": "#/nowhere"}, "value"),
    ],
)
def test_small_schemas_have_small_instances(schema, expected):
    assert make_instance(schema) == expected


def test_a_schema_that_is_no_object_is_broken_by_one():
    assert break_instance({"type": "string"}) == {"broken": True}


def test_a_pattern_is_met_where_a_candidate_meets_it():
    assert re.search(r"^\d{3}$", make_instance({"type": "string", "pattern": r"^\d{3}$"}))
