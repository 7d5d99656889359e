"""What the vocabulary of answers promises: values that do not change and are cheap, and counts that were said."""

import inspect

import msgspec
import pytest

from mrproxy.canonical import deltas
from mrproxy.canonical.deltas import Begin, Delta, Failure, Finish, FinishReason, TextDelta, TokenReport, Vectors

STRUCTS = [
    value
    for _, value in inspect.getmembers(deltas, inspect.isclass)
    if issubclass(value, msgspec.Struct) and value.__module__ == deltas.__name__
]
DELTAS = Delta.__args__  # type: ignore[attr-defined]


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_everything_is_frozen(struct: type[msgspec.Struct]) -> None:
    assert struct.__struct_config__.frozen


@pytest.mark.parametrize("delta", DELTAS, ids=lambda delta: delta.__name__)
def test_one_per_token_costs_the_garbage_collector_nothing(delta: type[msgspec.Struct]) -> None:
    """But for those that hold views into the engine's bytes."""
    holds_views = "Raw" in str(list(delta.__annotations__.values()))
    assert delta.__struct_config__.gc is holds_views


def test_deltas_are_told_apart_by_their_type() -> None:
    assert not any(one is not other and issubclass(one, other) for one in DELTAS for other in DELTAS)
    assert set(STRUCTS) - set(DELTAS) == {TokenReport, Vectors}


def test_an_engine_that_says_nothing_of_itself_has_said_nothing() -> None:
    assert Begin() == Begin(id="", model="", created=0)
    assert set(msgspec.structs.asdict(TokenReport()).values()) == {None}
    assert Vectors(()) == Vectors(vectors=(), tokens=TokenReport(), model="")


def test_there_is_one_choice_unless_more_were_asked_for() -> None:
    assert (TextDelta("a").choice, Finish(FinishReason.STOP).choice, Finish(FinishReason.STOP).stop_sequence) == (
        0,
        0,
        None,
    )


def test_deltas_are_compared_by_value_and_type() -> None:
    assert TextDelta("a") == TextDelta("a", 0) != TextDelta("a", 1)
    assert Failure("a") != TextDelta("a")
