"""Answers in Anthropic's dialect, as its SDKs accumulate them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    RedactedThinkingDelta,
    RefusalDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.anthropic.writing import PING, ChatDocumentEncoder, ChatStreamEncoder
from mrproxy.dialects.codec import AnswerContext
from tests.dialects.anthropic.accumulating import accumulate, parse
from tests.fuzzing import fuzz

CONTEXT = AnswerContext("req-1-2", "public/name", 1_790_000_000.0)
STOP = Finish(FinishReason.STOP)


def stream(*batches: list[Delta]) -> bytes:
    encoder = ChatStreamEncoder(CONTEXT)
    return b"".join([encoder.send(batch) for batch in batches]) + encoder.finish()


def document(*deltas: Delta) -> dict[str, Any]:
    encoder = ChatDocumentEncoder(CONTEXT)
    assert [encoder.send([delta]) for delta in deltas] == [b""] * len(deltas)
    message: dict[str, Any] = json.loads(encoder.finish())
    return message


def both(*deltas: Delta) -> dict[str, Any]:
    """What both shapes say; delta by delta and at once are the same message."""
    streamed = accumulate(stream(*[[delta] for delta in deltas]))
    assert accumulate(stream(list(deltas))) == streamed
    for block in streamed["content"]:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["input"] or "{}")
    assert document(*deltas) == streamed
    return streamed


def test_a_message_has_our_id_and_the_public_name() -> None:
    assert both(Begin("theirs", "their/name"), TextDelta("a"), STOP, Report(TokenReport(5, 1)), End()) == {
        "id": "msg_req12",
        "type": "message",
        "role": "assistant",
        "model": "public/name",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 1},
    }


def test_the_message_starts_with_the_engines_first_sign() -> None:
    encoder = ChatStreamEncoder(CONTEXT)
    assert encoder.send([]) == b""
    (started,) = parse(encoder.send([Begin()]))
    assert started["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert encoder.send([TextDelta("")]) == b""
    assert [event["type"] for event in parse(encoder.send([TextDelta("a")]))] == [
        "content_block_start",
        "content_block_delta",
    ]
    assert [event["type"] for event in parse(encoder.send([TextDelta("b"), TextDelta("c")]))] == [
        "content_block_delta",
        "content_block_delta",
    ]


def test_counts_that_are_known_early_are_said_early() -> None:
    encoder = ChatStreamEncoder(CONTEXT)
    (started,) = parse(encoder.send([Begin(), Report(TokenReport(9, None, 4))]))
    assert started["message"]["usage"] == {"input_tokens": 5, "output_tokens": 0, "cache_read_input_tokens": 4}


def test_the_last_report_counts() -> None:
    usage = both(Report(TokenReport(9, 1)), STOP, Report(TokenReport(9, 7, 4, 2, 3)))["usage"]
    assert usage == {
        "input_tokens": 3,
        "output_tokens": 7,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 2,
        "output_tokens_details": {"thinking_tokens": 3},
    }


def test_thinking_then_text_then_tools() -> None:
    message = both(
        Begin(),
        ThinkingDelta("Hm"),
        ThinkingDelta("m."),
        ThinkingSignature("s"),
        ThinkingDelta("And"),
        RedactedThinkingDelta("d"),
        TextDelta("Let "),
        TextDelta("me.\n\n"),
        ToolCallBegin(0, "c0", "f"),
        ToolCallArguments(0, '{"a":'),
        ToolCallArguments(0, ""),
        ToolCallArguments(0, " 1}"),
        ToolCallBegin(1, "c1", "g"),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    )
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hmm.", "signature": "s"},
        {"type": "thinking", "thinking": "And", "signature": ""},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "Let me.\n\n"},
        {"type": "tool_use", "id": "c0", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "c1", "name": "g", "input": {}},
    ]
    assert message["stop_reason"] == "tool_use"


def test_interleaved_calls_wait_for_each_other() -> None:
    encoder = ChatStreamEncoder(CONTEXT)
    encoder.send([Begin(), ToolCallBegin(0, "c0", "f"), ToolCallArguments(0, '{"a":')])
    assert encoder.send([ToolCallBegin(1, "c1", "g"), ToolCallArguments(1, '{"b":'), TextDelta("x")]) == b""
    freed = parse(encoder.send([ToolCallArguments(0, "{}}")]))
    assert [(event["type"], event["index"]) for event in freed] == [
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
    ]
    assert freed[3]["delta"] == {"type": "input_json_delta", "partial_json": '{"b":'}
    freed = parse(encoder.send([ToolCallArguments(1, "2}")]))
    assert freed[-1]["delta"] == {"type": "text_delta", "text": "x"}
    assert parse(encoder.finish())[0] == {"type": "content_block_stop", "index": 2}


def test_a_call_that_follows_a_whole_one_is_live() -> None:
    encoder = ChatStreamEncoder(CONTEXT)
    encoder.send([ToolCallBegin(0, "c0", "f"), ToolCallArguments(0, '{"a":"}"}')])
    assert [event["type"] for event in parse(encoder.send([ToolCallBegin(1, "c1", "g")]))] == [
        "content_block_stop",
        "content_block_start",
    ]
    assert len(parse(encoder.send([ToolCallArguments(1, "{")]))) == 1


def test_what_still_waits_is_said_at_the_end() -> None:
    message = accumulate(
        stream(
            [
                ToolCallBegin(0, "c0", "f"),
                ToolCallArguments(0, '{"a'),
                ToolCallBegin(1, "c1", "g"),
                ThinkingDelta("t"),
                ThinkingSignature("s"),
                RedactedThinkingDelta("d"),
            ]
        )
    )
    assert message["content"] == [
        {"type": "tool_use", "id": "c0", "name": "f", "input": '{"a'},
        {"type": "tool_use", "id": "c1", "name": "g", "input": ""},
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
    ]


def test_arguments_that_are_no_object_are_shown_as_such_in_a_document() -> None:
    message = document(ToolCallBegin(0, "c", "f"), ToolCallArguments(0, '{"a'), Finish(FinishReason.LENGTH))
    assert message["content"][0]["input"] == {"INVALID_JSON": '{"a'}
    assert message["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    ("finish", "reason", "sequence"),
    [
        (STOP, "end_turn", None),
        (Finish(FinishReason.STOP_SEQUENCE, stop_sequence="END"), "stop_sequence", "END"),
        (Finish(FinishReason.LENGTH, stop_sequence="END"), "max_tokens", None),
        (Finish(FinishReason.TOOL_CALLS), "tool_use", None),
        (Finish(FinishReason.CONTENT_FILTER), "refusal", None),
        (Finish(FinishReason.REFUSAL), "refusal", None),
        (Finish(FinishReason.PAUSE), "pause_turn", None),
        (Finish(FinishReason.LOAD), "end_turn", None),
        (Finish(FinishReason.UNLOAD), "end_turn", None),
    ],
)
def test_reasons_to_stop(finish: Finish, reason: str, sequence: str | None) -> None:
    message = both(TextDelta("a"), finish)
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


def test_an_engine_that_only_stopped_after_a_call_meant_the_call() -> None:
    assert both(ToolCallBegin(0, "c", "f"), STOP)["stop_reason"] == "tool_use"
    assert both(TextDelta("a"))["stop_reason"] == "end_turn"


def test_a_refusal_is_text_and_a_reason() -> None:
    message = both(RefusalDelta("I "), RefusalDelta("won't."), STOP)
    assert (message["content"], message["stop_reason"]) == ([{"type": "text", "text": "I won't."}], "refusal")


def test_only_the_first_choice_is_told() -> None:
    message = both(TextDelta("a"), TextDelta("b", choice=1), ToolCallBegin(0, "c", "f", choice=1), TextDelta("c"), STOP)
    assert message["content"] == [{"type": "text", "text": "ac"}]


def test_an_answer_without_anything_is_an_empty_message() -> None:
    assert both()["content"] == []
    assert both(Begin(), ToolCallArguments(3, "{}"), TextDelta(""), End())["content"] == []


def test_failures_are_worded_elsewhere() -> None:
    encoder = ChatStreamEncoder(CONTEXT)
    encoder.send([TextDelta("a")])
    assert encoder.send([Failure("boom")]) == b""


def test_signs_of_life_are_pings() -> None:
    encoder = ChatStreamEncoder(CONTEXT)
    assert encoder.ping() == PING == b'event: ping\ndata: {"type": "ping"}\n\n'
    assert ChatDocumentEncoder(CONTEXT).ping() == b""
    assert (encoder.content_type, ChatDocumentEncoder(CONTEXT).content_type) == (
        b"text/event-stream",
        b"application/json",
    )


_PIECES = st.one_of(
    st.builds(TextDelta, st.sampled_from(["", "a", "é\n\n"])),
    st.builds(ThinkingDelta, st.sampled_from(["", "t"])),
    st.builds(ThinkingSignature, st.just("s")),
    st.builds(RedactedThinkingDelta, st.just("d")),
    st.builds(
        ToolCallArguments, st.integers(0, 2), st.sampled_from(["", "{", "}", '"a":', "{}", '"}"', "1", '{"b":[1]}'])
    ),
    st.builds(ToolCallBegin, st.integers(0, 2), st.just("c"), st.just("f")),
)


@fuzz(150)
@given(st.lists(_PIECES, max_size=14), st.booleans())
def test_whatever_engines_interleave_blocks_never_do(deltas: list[Delta], at_once: bool) -> None:
    """Invariant: a stream in the promised order, whose texts are all there, each kind in its order."""
    message = accumulate(stream(deltas) if at_once else stream(*[[delta] for delta in deltas]))
    for kind, member in (("text", "text"), ("thinking", "thinking"), ("redacted_thinking", "data")):
        said = "".join(block[member] for block in message["content"] if block["type"] == kind)
        assert said == "".join(_said(delta, kind) for delta in deltas)
    begun = sum(isinstance(delta, ToolCallBegin) for delta in deltas)
    assert sum(block["type"] == "tool_use" for block in message["content"]) == begun


def _said(delta: Delta, kind: str) -> str:
    match delta:
        case TextDelta() if kind == "text":
            return delta.text
        case ThinkingDelta() if kind == "thinking":
            return delta.text
        case RedactedThinkingDelta() if kind == "redacted_thinking":
            return delta.data
        case _:
            return ""
