"""What outlasts a worker: a response comes back as it was in memory, with all turns before it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.deltas import (
    Delta,
    Finish,
    FinishReason,
    RedactedThinkingDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.responses.answers import ResponsesDocumentEncoder
from mrproxy.dialects.responses.requests import decode_request
from mrproxy.dialects.responses.states import decode_chain, encode_state, without_document
from mrproxy.dialects.responses.store import StoredResponse
from tests.dialects.responses.test_answers import answers
from tests.fuzzing import fuzz

STOP = Finish(FinishReason.STOP)
SAID: list[Delta] = [TextDelta("hello"), STOP]


def round_of(
    number: int, deltas: list[Delta], earlier: StoredResponse | None = None, **fields: Any
) -> tuple[StoredResponse, bytes]:
    """A request and its answer: what memory has of them, and what is kept."""
    request = decode_request(json.dumps({"model": "m", "input": f"turn {number}"} | fields).encode())
    encoder = ResponsesDocumentEncoder(AnswerContext(f"r{number}", "m", 1.0), request)
    encoder.send(deltas)
    encoder.finish()
    stored = StoredResponse.of(request, encoder, earlier)
    return stored, encode_state(stored, encoder.sealed_items)


def test_a_response_comes_back_as_it_was() -> None:
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y.png"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "Schüssel 🥣"},
    ]
    stored, state = round_of(1, SAID, input=items)
    found = decode_chain([state])
    assert found[:3] == stored[:3]
    assert found.turn.conversation() == stored.turn.conversation()


def test_a_chain_is_the_whole_conversation() -> None:
    states: list[bytes] = []
    earlier: StoredResponse | None = None
    for number in range(4):
        earlier, state = round_of(number, SAID, earlier)
        states.insert(0, state)
    assert earlier is not None
    found = decode_chain(states)
    assert found.turn.conversation() == earlier.turn.conversation()
    assert len(found.turn.conversation()) == 8


def test_thinking_that_only_its_provider_can_read_comes_back_and_is_not_told() -> None:
    deltas = [ThinkingDelta("a"), ThinkingSignature("sig"), RedactedThinkingDelta("xyz"), *SAID]
    stored, state = round_of(1, deltas)
    assert b"sig" not in stored.document
    assert decode_chain([state]).turn.conversation() == stored.turn.conversation()
    assert b"sig" in state


def test_a_call_that_was_cut_off_is_told_and_not_continued_from() -> None:
    deltas = [ToolCallBegin(0, "call_1", "f"), ToolCallArguments(0, '{"a'), Finish(FinishReason.LENGTH)]
    stored, state = round_of(1, deltas)
    found = decode_chain([state])
    assert b"function_call" in found.document
    assert found.turn.conversation() == stored.turn.conversation()
    assert len(found.turn.conversation()) == 1


def test_what_is_left_of_a_deleted_response_is_what_was_said() -> None:
    first, state = round_of(1, SAID)
    second, later = round_of(2, SAID, first)
    left = without_document(state)
    assert decode_chain([left]).document == b""
    assert decode_chain([later, left]).turn.conversation() == second.turn.conversation()


def test_of_a_conversation_a_response_keeps_its_own_turn() -> None:
    stored, state = round_of(1, SAID, conversation="conv_1")
    found = decode_chain([state])
    assert (found.conversation_id, len(found.turn.conversation())) == ("conv_1", 2)
    assert json.loads(stored.document)["conversation"] == {"id": "conv_1"}


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x90", b"{}"])
def test_what_is_no_state_is_refused(state: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_chain([state])


@fuzz(30)
@given(answers(), st.booleans())
def test_whatever_was_answered_continues_as_in_memory(deltas: list[Delta], shows: bool) -> None:
    asked = {"include": ["reasoning.encrypted_content"]} if shows else {}
    stored, state = round_of(1, deltas, **asked)
    found = decode_chain([state])
    assert found.document == stored.document
    assert found.turn.conversation() == stored.turn.conversation()
