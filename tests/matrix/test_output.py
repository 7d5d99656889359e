"""Structured output over every pair: any JSON object, and what fits a schema, checked here if the caller wants it."""

import json

import pytest

from tests.matrix.asks import asked
from tests.matrix.callers.caller import Caller
from tests.matrix.engines import Engine
from tests.matrix.house import House
from tests.matrix.pairs import SHAPES, pairs

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}, "minItems": 2}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


@SHAPES
@pairs(needs="json_object")
def test_any_object_can_be_asked_for(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """Anthropic has only schemas: it is asked in words."""
    warns = ("json_object",) if engine.kind == "anthropic" else ()
    answer = house.answered(caller, engine, asked('say:{"a": 1}', output=True, stream=stream), warns=warns)
    assert isinstance(json.loads(answer.seen.text), dict)


@SHAPES
@pairs()
def test_what_fits_a_schema_can_be_asked_for(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    answer = house.answered(caller, engine, asked("Where?", output=SCHEMA, stream=stream))
    made = json.loads(answer.seen.text)
    assert made.keys() == {"city", "days"}
    assert isinstance(made["city"], str)
    assert len(made["days"]) == 2
    assert answer.seen.finish == caller.words.stop


@SHAPES
@pairs()
def test_output_is_checked_on_the_way_out(house: House, caller: Caller, engine: Engine, stream: bool) -> None:
    """Whatever both sides speak: what is checked is translated."""
    for text, fits in (("Where?", True), ("break-schema", False), ("break-json", False)):
        body = caller.write(engine.model, asked(text, output=SCHEMA, stream=stream))
        response = house.post(caller.path, body, **{"x-mrproxy-validate": "true"})
        answer = house.judge(engine, response)
        assert answer.record.lane == "translating"
        true_counts = (answer.truth["prompt_tokens"], answer.truth["completion_tokens"])
        assert (answer.record.prompt_tokens, answer.record.completion_tokens) == true_counts
        if stream:
            seen = caller.read_stream(answer.body)
            assert (seen.error is None) is fits
            assert not (seen.error and seen.finish == caller.words.stop)
        elif fits:
            assert json.loads(caller.read_document(answer.body).text).keys() == {"city", "days"}
        else:
            assert "not what was asked for" in caller.read_error(response.status_code, answer.body)
            assert response.status_code == 502
