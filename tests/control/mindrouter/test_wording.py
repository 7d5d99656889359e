"""What is wrong, as FastAPI's clients read it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.api.problem import CODES, Detail, Problem
from mrproxy.control.mindrouter.wording import place_of, word_detail


def worded(problem: Problem) -> object:
    body, content_type = word_detail(problem, "r-1")
    assert content_type == "application/json"
    return json.loads(body)["detail"]


@pytest.mark.parametrize("code", sorted(set(CODES) - {"invalid"}))
def test_most_problems_are_a_sentence(code: str):
    assert worded(Problem(code, "No.", errors=(Detail("/a", "is bad"),))) == "No."


def test_a_value_that_cannot_be_is_named_with_its_place():
    errors = (
        Detail("/gpu_indices/0", "Expected `int`, got `str`"),
        Detail("", "Object missing required field `name`"),
        Detail("?limit", "too much"),
        Detail(":user_id", "must be a whole number"),
    )
    assert worded(Problem("invalid", "No.", errors=errors)) == [
        {"loc": ["body", "gpu_indices", 0], "msg": "Expected `int`, got `str`", "type": "value_error"},
        {"loc": ["body"], "msg": "Object missing required field `name`", "type": "missing"},
        {"loc": ["query", "limit"], "msg": "too much", "type": "value_error"},
        {"loc": ["path", "user_id"], "msg": "must be a whole number", "type": "value_error"},
    ]
    assert worded(Problem("invalid", "No.")) == [{"loc": ["body"], "msg": "No.", "type": "value_error"}]


@given(st.text())
def test_every_pointer_has_a_place(pointer: str):
    assert place_of(pointer)[0] in ("body", "query", "path")
