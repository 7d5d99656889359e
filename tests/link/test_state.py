"""Questions and answers survive their way over the socket, and what is neither is refused."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link.state import Answer, Conversation, Item, Question, decode_answer, decode_question, encode

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = {str: TEXTS, bytes: st.binary(max_size=50), Item: st.builds(Item, TEXTS, TEXTS)}


def any_of(union: object) -> st.SearchStrategy[object]:
    return st.one_of([st.builds(kind, **fields_of(kind)) for kind in get_args(union)])


def fields_of(kind: type[msgspec.Struct]) -> dict[str, st.SearchStrategy[object]]:
    return {field.name: strategy_of(field.type) for field in msgspec.structs.fields(kind)}


def strategy_of(annotation: object) -> st.SearchStrategy[object]:
    if annotation in VALUES:
        return VALUES[annotation]
    if annotation == str | None:
        return st.none() | TEXTS
    if annotation == tuple[Item, ...]:
        return st.lists(VALUES[Item], max_size=3).map(tuple)
    if annotation == tuple[bytes, ...]:
        return st.lists(VALUES[bytes], max_size=3).map(tuple)
    if annotation is float:
        return st.floats(0, 1e10)
    return {int: st.integers(0, 1000), bool: st.booleans()}[annotation]


@given(any_of(Question))
def test_a_question_arrives_as_it_was_asked(question) -> None:
    assert decode_question(encode(question)) == question


@given(any_of(Answer))
def test_an_answer_arrives_as_it_was_given(answer) -> None:
    assert decode_answer(encode(answer)) == answer


@pytest.mark.parametrize("body", [b"", b"\x90", b"\xc0", encode(Conversation("conv_1", 1.0, "{}"))])
def test_what_is_no_question_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_question(body)
