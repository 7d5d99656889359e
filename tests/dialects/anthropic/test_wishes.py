"""Thinking, format and sampling, both ways."""

from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import ChatRequest, FormatKind, ResponseFormat, Sampling, ThinkingWish
from mrproxy.dialects.anthropic.fields import Members, Notes
from mrproxy.dialects.anthropic.wishes import (
    DEFAULT_MAX_TOKENS,
    JSON_INSTRUCTION,
    read_format,
    read_sampling,
    read_thinking,
    write_format,
    write_sampling,
    write_thinking,
)
from mrproxy.errors import ClientError

SCHEMA = msgspec.Raw(b'{"type":"object"}')


def members(value: object) -> Members:
    return Members(msgspec.json.encode(value), "it")


@pytest.mark.parametrize(
    ("said", "effort", "wish"),
    [
        (None, None, None),
        (None, "low", ThinkingWish(effort="low")),
        ({"type": "disabled"}, None, ThinkingWish(False)),
        ({"type": "adaptive"}, "max", ThinkingWish(True, "max")),
        ({"type": "enabled", "budget_tokens": 1024}, None, ThinkingWish(True, None, 1024)),
    ],
)
def test_thinking_is_the_same_both_ways(said: dict[str, Any] | None, effort: str | None, wish: ThinkingWish) -> None:
    notes = Notes()
    assert read_thinking(members(said) if said is not None else None, effort, notes) == wish
    assert write_thinking(wish, notes) == (said, effort)
    assert notes.all() == ()


def test_thinking_between_tools_is_adaptive_and_said() -> None:
    notes = Notes()
    assert read_thinking(members({"type": "between_tools"}), None, notes) == ThinkingWish(True)
    assert "between_tools" in notes.all()[0]


@pytest.mark.parametrize(
    ("wish", "said", "effort", "warnings"),
    [
        (ThinkingWish(effort="none"), {"type": "disabled"}, None, 0),
        (ThinkingWish(effort="minimal"), None, "low", 1),
        (ThinkingWish(None, None, 2000), {"type": "enabled", "budget_tokens": 2000}, None, 0),
        (ThinkingWish(True, "none"), {"type": "disabled"}, None, 0),
    ],
)
def test_efforts_of_other_dialects_are_the_nearest(
    wish: ThinkingWish, said: dict[str, Any] | None, effort: str | None, warnings: int
) -> None:
    notes = Notes()
    assert write_thinking(wish, notes) == (said, effort)
    assert len(notes.all()) == warnings


def test_a_schema_is_the_same_both_ways() -> None:
    notes = Notes()
    said = {"type": "json_schema", "schema": {"type": "object"}}
    wanted = read_format(members(said), notes)
    assert wanted == ResponseFormat(FormatKind.JSON_SCHEMA, SCHEMA)
    assert write_format(wanted, notes) == ({"type": "json_schema", "schema": SCHEMA}, None)
    assert read_format(None, notes) is None
    assert notes.all() == ()


def test_json_without_a_schema_is_asked_for_in_words() -> None:
    notes = Notes()
    assert write_format(ResponseFormat(FormatKind.JSON_OBJECT), notes) == (None, JSON_INSTRUCTION)
    assert "json_object" in notes.all()[0]


def test_text_needs_no_format_and_a_description_is_said_to_be_ignored() -> None:
    notes = Notes()
    assert write_format(None, notes) == write_format(ResponseFormat(FormatKind.TEXT), notes) == (None, None)
    assert notes.all() == ()
    write_format(ResponseFormat(FormatKind.JSON_SCHEMA, SCHEMA, "n", True, "d"), notes)
    assert notes.all() == ("response_format.json_schema.description is ignored: Anthropic's API has none",)


@pytest.mark.parametrize("said", [{"type": "json_schema"}, {"type": "json_schema", "schema": []}, {"type": "x"}, {}])
def test_a_format_that_is_none_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ClientError):
        read_format(members(said), Notes())


def test_sampling_is_the_same_both_ways() -> None:
    said = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.25, "top_k": 4, "stop_sequences": ["a"]}
    sampling = read_sampling(members(said), needs_bound=True)
    assert sampling == Sampling(temperature=0.5, top_p=0.25, top_k=4, max_tokens=9, stop=("a",))
    notes = Notes()
    written = write_sampling(ChatRequest(model="m", messages=(), sampling=sampling), notes)
    assert written == said | {"stop_sequences": ("a",)}
    assert notes.all() == ()


def write(sampling: Sampling, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    notes = Notes()
    return write_sampling(ChatRequest(model="m", messages=(), sampling=sampling, **fields), notes), notes.all()


def test_a_bound_is_always_sent_and_leaves_room_to_think() -> None:
    assert write(Sampling())[0] == {"max_tokens": DEFAULT_MAX_TOKENS}
    wish = ThinkingWish(True, None, 4000)
    fields, (warning,) = write(Sampling(), thinking=wish)
    assert fields == {"max_tokens": DEFAULT_MAX_TOKENS + 4000}
    assert str(DEFAULT_MAX_TOKENS + 4000) in warning


def test_a_bound_is_required_of_callers_of_messages_only() -> None:
    assert read_sampling(members({}), needs_bound=False) == Sampling()
    for wrong in ({}, {"max_tokens": 0}, {"max_tokens": "1"}):
        with pytest.raises(ClientError):
            read_sampling(members(wrong), needs_bound=True)


def test_hotter_than_anthropics_hottest_is_its_hottest() -> None:
    fields, (warning,) = write(Sampling(temperature=1.5, max_tokens=1))
    assert fields["temperature"] == 1
    assert warning.startswith("temperature 1.5 is sent as 1")


def test_what_the_api_has_not_is_said() -> None:
    sampling = Sampling(
        max_tokens=1,
        min_p=0.1,
        typical_p=0.1,
        seed=1,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        repetition_penalty=1.1,
        logit_bias=msgspec.Raw(b'{"1":2}'),
        logprobs=True,
        top_logprobs=2,
        n=1,
    )
    fields, warnings = write(sampling)
    assert fields == {"max_tokens": 1}
    assert len(warnings) == 9
    assert write(Sampling(max_tokens=1, logprobs=False))[1] == ()


def test_several_answers_are_refused() -> None:
    with pytest.raises(ClientError) as caught:
        write(Sampling(n=2))
    assert caught.value.param == "n"
