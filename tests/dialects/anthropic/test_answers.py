"""Answers there and back: deltas → bytes → deltas, and through the SDK's own accumulation."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Finish,
    FinishReason,
    RedactedThinkingDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.anthropic.answers import (
    ChatDocumentDecoder,
    ChatDocumentEncoder,
    ChatStreamDecoder,
    ChatStreamEncoder,
)
from mrproxy.dialects.codec import AnswerContext
from tests.dialects.anthropic.accumulating import parse
from tests.dialects.anthropic.conversations import ARGUMENTS, NAME, TEXT
from tests.fuzzing import fuzz, split_at

CONTEXT = AnswerContext("1-2", "m", 0.0)
BEGIN = Begin("msg_12", "m")
_TOKENS = st.none() | st.integers(0, 50)


@st.composite
def calls(draw: st.DrawFn, number: int) -> list[Delta]:
    arguments = draw(ARGUMENTS)
    places = draw(st.lists(st.integers(0, len(arguments)), max_size=2))
    pieces = [piece for piece in split_text(arguments, places) if piece]
    begin: Delta = ToolCallBegin(number, draw(NAME), draw(NAME))
    return [begin, *[ToolCallArguments(number, piece) for piece in pieces]]


def split_text(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *places})
    return [text[start:end] for start, end in itertools.pairwise(edges)]


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    """Everything after Begin that Anthropic's dialect can say."""
    deltas: list[Delta] = []
    number = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thinking", "signed", "redacted", "call"]), max_size=5)):
        match kind:
            case "text":
                deltas.append(TextDelta(draw(TEXT)))
            case "thinking":
                deltas.append(ThinkingDelta(draw(TEXT)))
            case "signed":
                deltas += [ThinkingDelta(draw(TEXT)), ThinkingSignature(draw(NAME))]
            case "redacted":
                deltas.append(RedactedThinkingDelta(draw(TEXT)))
            case _:
                deltas += draw(calls(number))
                number += 1
    reasons = [FinishReason.LENGTH, FinishReason.PAUSE, FinishReason.REFUSAL]
    reason = draw(st.sampled_from([*reasons, FinishReason.TOOL_CALLS if number else FinishReason.STOP]))
    cached, written = draw(_TOKENS), draw(_TOKENS)
    prompt = draw(st.integers(1, 100)) + (cached or 0) + (written or 0)
    report = TokenReport(prompt, draw(st.integers(0, 100)), cached, written, draw(_TOKENS))
    return [*deltas, Finish(reason), Report(report), End()]


def merged(deltas: list[Delta]) -> list[Delta]:
    """Pieces of one text, thinking or call joined."""
    joined: list[Delta] = []
    for delta in deltas:
        last = joined[-1] if joined else None
        if isinstance(delta, TextDelta) and isinstance(last, TextDelta):
            joined[-1] = TextDelta(last.text + delta.text)
        elif isinstance(delta, ThinkingDelta) and isinstance(last, ThinkingDelta):
            joined[-1] = ThinkingDelta(last.text + delta.text)
        elif isinstance(delta, ToolCallArguments) and isinstance(last, ToolCallArguments) and delta.call == last.call:
            joined[-1] = ToolCallArguments(delta.call, last.fragment + delta.fragment)
        else:
            joined.append(delta)
    return joined


def streamed(deltas: list[Delta]) -> bytes:
    encoder = ChatStreamEncoder(CONTEXT)
    return encoder.send([Begin()]) + encoder.send(deltas) + encoder.finish()


@fuzz(75)
@given(answers(), st.lists(st.integers(0, 5000), max_size=8))
def test_a_stream_comes_back_delta_by_delta(deltas: list[Delta], places: list[int]) -> None:
    """Invariant: decode(encode(x)) == x, however the bytes are cut."""
    decoder = ChatStreamDecoder("3")
    back = [delta for piece in split_at(streamed(deltas), places) for delta in decoder.receive_data(piece)]
    assert [*back, *decoder.finish()] == [BEGIN, *deltas]


@fuzz(75)
@given(answers())
def test_a_document_comes_back_with_its_pieces_joined(deltas: list[Delta]) -> None:
    encoder = ChatDocumentEncoder(CONTEXT)
    encoder.send([Begin(), *deltas])
    decoder = ChatDocumentDecoder("3")
    assert [*decoder.receive_data(encoder.finish()), *decoder.finish()] == [BEGIN, *merged(deltas)]


# The SDK's own eyes


def accumulated(data: bytes) -> Any:
    """What `client.messages.stream(...)` makes of a stream (lib/streaming/_messages.py)."""
    streaming = pytest.importorskip("anthropic.lib.streaming._messages")
    snapshot = None
    buffers: dict[int, bytes] = {}
    for event in parse(data):
        snapshot = streaming.accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return snapshot


@fuzz(25)
@given(answers())
def test_the_sdk_accumulates_what_the_document_says(deltas: list[Delta]) -> None:
    types = pytest.importorskip("anthropic.types")
    encoder = ChatDocumentEncoder(CONTEXT)
    encoder.send(deltas)
    whole = types.Message.model_validate(json.loads(encoder.finish()))
    message = accumulated(streamed(deltas))
    assert [block.to_dict() for block in message.content] == [block.to_dict() for block in whole.content]
    assert (message.stop_reason, message.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert getattr(message.usage, name) == getattr(whole.usage, name)
