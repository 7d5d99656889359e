"""Answers as callers of Ollama get them. Shapes: ollama docs/api.md, v0.17.4 (February 2026)."""

import json
from typing import Any

import msgspec
import pytest

from mrproxy.canonical.deltas import (
    Begin,
    Context,
    Delta,
    End,
    Finish,
    FinishReason,
    Logprobs,
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
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.ollama.writing import CHAT, COMPLETION, DocumentEncoder, Shape, StreamEncoder, rfc3339

CONTEXT = AnswerContext("r-1", 'm"ü', 1700000000.25)
HEAD = {"model": 'm"ü', "created_at": "2023-11-14T22:13:20.250000000Z"}
HI_LOGPROBS = Logprobs(msgspec.Raw(b'{"content":[{"token":"Hi","logprob":-1,"bytes":null,"top_logprobs":[]}]}'))
HI_LISTED = [{"token": "Hi", "logprob": -1.0}]


def streamed(*deltas: Delta, shape: Shape = CHAT) -> list[dict[str, Any]]:
    """The lines, without what is in every one."""
    encoder = StreamEncoder(CONTEXT, shape)
    told = encoder.send(deltas) + encoder.finish()
    assert told.endswith(b"\n")
    lines = [json.loads(line) for line in told.splitlines()]
    for line in lines:
        assert {name: line.pop(name) for name in HEAD} == HEAD
    return lines


def document(*deltas: Delta, shape: Shape = CHAT) -> dict[str, Any]:
    encoder = DocumentEncoder(CONTEXT, shape)
    assert encoder.send(deltas) == b""
    found: dict[str, Any] = json.loads(encoder.finish())
    assert {name: found.pop(name) for name in HEAD} == HEAD
    return found


def message(content: str = "", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content} | more


def test_times_have_nanoseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000000000Z"
    assert rfc3339(1700000000.5) == "2023-11-14T22:13:20.500000000Z"


def test_a_line_per_delta_and_a_last_one() -> None:
    begin = Begin(id="x", model="theirs", created=5)
    assert streamed(
        begin, ThinkingDelta("Hm."), TextDelta('"ü"\n'), TextDelta(""), Finish(FinishReason.STOP), End()
    ) == [
        {"message": message(thinking="Hm."), "done": False},
        {"message": message('"ü"\n'), "done": False},
        {"message": message(""), "done": False},
        {"message": message(), "done": True, "done_reason": "stop"},
    ]


def test_a_completion_keeps_its_text_elsewhere() -> None:
    deltas = (ThinkingDelta("Hm."), TextDelta("a"), Context(msgspec.Raw(b"[1,\n 2]")), Finish(FinishReason.STOP), End())
    assert streamed(*deltas, shape=COMPLETION) == [
        {"response": "", "thinking": "Hm.", "done": False},
        {"response": "a", "done": False},
        {"response": "", "done": True, "done_reason": "stop", "context": [1, 2]},
    ]
    assert document(*deltas, shape=COMPLETION) == {
        "response": "a", "thinking": "Hm.", "done": True, "done_reason": "stop", "context": [1, 2],
    }  # fmt: skip


def test_what_was_counted_is_told_and_nothing_else() -> None:
    whole = TokenReport(26, 282, 5, load_ns=4, prompt_ns=3, completion_ns=2, total_ns=1)
    assert streamed(Report(TokenReport(1, 1)), Finish(FinishReason.STOP), Report(whole), End())[-1] == {
        "message": message(), "done": True, "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 282,
        "total_duration": 1, "load_duration": 4, "prompt_eval_duration": 3, "eval_duration": 2,
    }  # fmt: skip
    assert document(Report(TokenReport(0, 7)), End()) == {
        "message": message(), "done": True, "done_reason": "stop", "prompt_eval_count": 0, "eval_count": 7,
    }  # fmt: skip


def test_interleaved_calls_are_told_whole_and_in_order() -> None:
    deltas = (
        ToolCallBegin(0, "i", "f"),
        ToolCallBegin(1, "j", "g"),
        ToolCallArguments(1, '{"b":\n '),
        ToolCallArguments(0, '{"a"'),
        ToolCallArguments(0, ":1}"),
        ToolCallArguments(1, "2}"),
        ToolCallBegin(2, "k", "h"),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    )
    calls = [
        {"id": "i", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
        {"id": "j", "function": {"index": 1, "name": "g", "arguments": {"b": 2}}},
        {"id": "k", "function": {"index": 2, "name": "h", "arguments": {}}},
    ]
    assert streamed(*deltas) == [
        {"message": message(tool_calls=calls), "done": False},
        {"message": message(), "done": True, "done_reason": "stop"},
    ]
    assert document(TextDelta("Wait."), *deltas)["message"] == message("Wait.", tool_calls=calls)


def test_arguments_that_are_no_object_are_told_as_text() -> None:
    deltas = (
        ToolCallBegin(0, "i", "f"),
        ToolCallArguments(0, "{}"),
        ToolCallBegin(1, "j", "g"),
        ToolCallArguments(1, '{"city": "Par'),
        ToolCallArguments(7, "lost"),
        Finish(FinishReason.LENGTH),
        End(),
    )
    broken = '{"name": "g", "arguments": {"city": "Par'
    call = {"id": "i", "function": {"index": 0, "name": "f", "arguments": {}}}
    assert streamed(*deltas) == [
        {"message": message(broken, tool_calls=[call]), "done": False},
        {"message": message(), "done": True, "done_reason": "length"},
    ]
    assert document(*deltas)["message"] == message(broken, tool_calls=[call])


def test_logprobs_stand_in_the_line_of_their_text() -> None:
    assert streamed(TextDelta("Hi"), HI_LOGPROBS, HI_LOGPROBS, TextDelta("x"))[:3] == [
        {"message": message("Hi"), "done": False, "logprobs": HI_LISTED},
        {"message": message(), "done": False, "logprobs": HI_LISTED},
        {"message": message("x"), "done": False},
    ]
    assert streamed(HI_LOGPROBS)[0] == {"message": message(), "done": False, "logprobs": HI_LISTED}
    assert streamed(TextDelta("Hi"), Logprobs(msgspec.Raw(b"{}")))[0] == {"message": message("Hi"), "done": False}
    assert document(TextDelta("Hi"), HI_LOGPROBS, TextDelta("Hi"), HI_LOGPROBS)["logprobs"] == HI_LISTED * 2


def test_a_refusal_is_text_and_proofs_of_thinking_are_nothing() -> None:
    deltas = (ThinkingSignature("s"), RedactedThinkingDelta("r"), RefusalDelta("No."), Finish(FinishReason.REFUSAL))
    assert streamed(*deltas) == [
        {"message": message("No."), "done": False},
        {"message": message(), "done": True, "done_reason": "refusal"},
    ]
    assert document(*deltas) == {"message": message("No."), "done": True, "done_reason": "refusal"}


def test_only_the_first_choice_is_told() -> None:
    deltas = (TextDelta("a"), TextDelta("b", 1), ThinkingDelta("c", 1), Finish(FinishReason.LENGTH, 1), End())
    assert len(streamed(*deltas)) == 2
    assert document(*deltas) == {"message": message("a"), "done": True, "done_reason": "stop"}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.STOP, "stop"),
        (FinishReason.STOP_SEQUENCE, "stop"),
        (FinishReason.TOOL_CALLS, "stop"),
        (FinishReason.LENGTH, "length"),
        (FinishReason.LOAD, "load"),
        (FinishReason.UNLOAD, "unload"),
        (FinishReason.CONTENT_FILTER, "content_filter"),
        (FinishReason.PAUSE, "pause"),
    ],
)
def test_every_reason_has_its_word(reason: FinishReason, word: str) -> None:
    assert streamed(Finish(reason), End())[-1]["done_reason"] == word


def test_nobody_is_pinged() -> None:
    assert StreamEncoder(CONTEXT, CHAT).ping() == DocumentEncoder(CONTEXT, CHAT).ping() == b""
    assert StreamEncoder.content_type == b"application/x-ndjson"
    assert DocumentEncoder.content_type == b"application/json; charset=utf-8"
