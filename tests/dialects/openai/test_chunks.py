"""The frames of an answer. Shapes: OpenAI API reference, "Chat completion chunk object", "Completion object" (2026)."""

import json

import pytest

from mrproxy.canonical.deltas import Finish, FinishReason, TokenReport
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.openai.chunks import ChunkWriter, write_finish, write_head

CONTEXT = AnswerContext("1", "ü", 7.9)
HEAD = {"id": "x-1", "object": "kind", "created": 7, "model": "ü"}


def writer(*, include_usage: bool, opening: bytes = b"") -> ChunkWriter:
    context = AnswerContext("1", "ü", 7.9, include_usage)
    return ChunkWriter(context, write_head(context, "x", "kind"), b"text", opening)


def test_a_chunk_is_one_event() -> None:
    out: list[bytes] = []
    writer(include_usage=True).write(out, 2, b'"a"', b"[1]", Finish(FinishReason.STOP_SEQUENCE, 2, "b"))
    data = b"".join(out)
    assert data.startswith(b"data: ")
    assert data.endswith(b"}\n\n")
    choice = {"index": 2, "text": "a", "logprobs": [1], "finish_reason": "stop", "stop_reason": "b"}
    assert json.loads(data[6:]) == {**HEAD, "choices": [choice], "usage": None}


def test_a_choice_opens_once() -> None:
    out: list[bytes] = []
    made = writer(include_usage=False, opening=b'"o"')
    made.begin(out, 0)
    made.begin(out, 0)
    made.write(out, 0, b'"a"')
    made.write(out, 1, b'"b"')
    chunks = [json.loads(one[6:]) for one in b"".join(out).split(b"\n\n")[:-1]]
    assert [(one["choices"][0]["index"], one["choices"][0]["text"]) for one in chunks] == [
        (0, "o"),
        (0, "a"),
        (1, "o"),
        (1, "b"),
    ]
    assert all("usage" not in one for one in chunks)


@pytest.mark.parametrize("include_usage", [True, False])
def test_usage_is_for_those_who_asked(include_usage: bool) -> None:
    made = writer(include_usage=include_usage)
    assert made.finish() == b"data: [DONE]\n\n"
    made.tokens = TokenReport(1, 2)
    assert (b'"choices":[],"usage":{"prompt_tokens":1' in made.finish()) is include_usage


def test_every_reason_has_a_word() -> None:
    said = {reason: write_finish(Finish(reason))["finish_reason"] for reason in FinishReason}
    assert set(said.values()) == {"stop", "length", "tool_calls", "content_filter"}
    assert write_finish(None) == {"finish_reason": "stop"}
