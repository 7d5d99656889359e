"""What was said, out of captured bodies of all four dialects."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.mindrouter.transcript import Answered, read_answer, read_request


def events(*pieces: object) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(piece).encode() for piece in pieces) + b"data: [DONE]\n\n"


def lines(*pieces: object) -> bytes:
    return b"".join(json.dumps(piece).encode() + b"\n" for piece in pieces)


def chunk(text: str | None, reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("body", "content", "reason", "chunks"),
    [
        (
            json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode(),
            "Hi",
            "stop",
            1,
        ),
        (json.dumps({"choices": [{"text": "Hi", "finish_reason": "length"}]}).encode(), "Hi", "length", 1),
        (events(chunk("H"), chunk("i"), chunk(None, "stop")), "Hi", "stop", 3),
        (lines({"message": {"content": "H"}}, {"message": {"content": "i"}, "done_reason": "stop"}), "Hi", "stop", 2),
        (lines({"response": "H"}, {"response": "i", "done_reason": "stop"}), "Hi", "stop", 2),
        (
            json.dumps({"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}).encode(),
            "Hi",
            "end_turn",
            1,
        ),
        (
            events(
                {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            ),
            "Hi",
            "end_turn",
            2,
        ),
        (
            json.dumps({"output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}]}).encode(),
            "Hi",
            None,
            1,
        ),
        (events({"type": "response.output_text.delta", "delta": "Hi"}), "Hi", None, 1),
        (b"<html>", "<html>", None, 0),
        (b"", None, None, 0),
    ],
)
def test_an_answer_is_read_in_every_dialect(body, content, reason, chunks):
    assert read_answer(body) == Answered(content=content, finish_reason=reason, chunk_count=chunks)


def test_a_request_is_taken_apart():
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "response_format": {"type": "json_object"},
        "stream": True,
    }
    found = read_request(json.dumps(body).encode())
    assert (found.messages, found.prompt) == (body["messages"], None)
    assert (found.parameters, found.response_format) == ({"temperature": 0.5}, {"type": "json_object"})
    assert read_request(b'{"input": ["a"]}').prompt == ["a"]
    assert read_request(b"no json").prompt == "no json"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "delta", "message", "content", "text", "type", "output"]), inner)
    ),
    max_leaves=12,
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()), st.lists(json_values, max_size=3))
def test_nothing_that_was_said_is_an_error(body, pieces):
    read_request(body)
    read_answer(body)
    read_answer(events(*pieces))
