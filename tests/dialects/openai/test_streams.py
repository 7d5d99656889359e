"""The ends of an answer: its own, none, an error, something else. Both chats and completions."""

import pytest

from mrproxy.canonical.deltas import Delta, End, Failure, Finish, FinishReason, TextDelta
from mrproxy.dialects.openai.streams import ENDED_EARLY, BrokenAnswer, Document, Ends, EventStream, Head
from mrproxy.dialects.sse import MAX_HELD_BYTES
from tests.dialects.openai.answering import decode


class _Chunks:
    """Every chunk is its own text; `!` breaks."""

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        deltas.append(TextDelta(data.decode().strip()))
        if b"!" in data:
            raise BrokenAnswer("broken")

    def read_end(self, deltas: list[Delta]) -> None:
        deltas.append(Finish(FinishReason.STOP))


def stream(*pieces: bytes) -> list[Delta]:
    return decode(EventStream(_Chunks()), pieces)


def test_done_is_the_end_and_nothing_follows() -> None:
    end = [TextDelta("a"), Finish(FinishReason.STOP), End()]
    assert stream(b"data: a\n\ndata: [DONE]\n\ndata: b\n\n", b"data: c\n\n") == end
    assert stream(b"data: a\r\n\r\ndata:[DONE]\r\n\r\n") == end
    assert stream(b"data: a\n\ndata: [DONE]") == end


def test_without_done_it_ended_early() -> None:
    assert stream(b"data: a\n\n") == [TextDelta("a"), Failure(ENDED_EARLY)]
    assert stream() == [Failure(ENDED_EARLY)]
    assert stream(b"data: [DONE]\n\n") == [Failure(ENDED_EARLY)]


def test_a_failure_is_the_last_and_what_came_before_is_kept() -> None:
    assert stream(b"data: a\n\ndata: b!\n\ndata: c\n\n", b"data: d\n\n") == [
        TextDelta("a"),
        TextDelta("b!"),
        Failure("broken"),
    ]
    assert stream(b"data: \xff\n\n") == [Failure("the engine sent what cannot be read as an answer")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html><body>502</body></html>", "the engine sent what is no event stream"),
        (b'{"error":{"message":"out of memory"}}', "out of memory"),
        (b'{"error":"busy"}', "busy"),
        (b'{"object":"error","message":"too long","code":400}', "too long"),
        (b'{"choices":[]}', "the engine sent a document instead of a stream"),
        (b'{"choices":', "the engine sent what cannot be read as an answer"),
        (b"data: " + b"x" * MAX_HELD_BYTES, "the engine sent an event that is too long"),
    ],
)
def test_what_is_no_stream_says_so(body: bytes, message: str) -> None:
    assert stream(body) == [Failure(message)]


def test_a_document_is_read_at_its_end() -> None:
    document = Document(_Chunks())
    assert document.receive_data(b"a") == document.receive_data(b"b") == []
    assert document.finish() == [TextDelta("ab"), Finish(FinishReason.STOP), End()]
    assert document.receive_data(b"c") == document.finish() == []


def test_a_document_fails_as_a_stream_does() -> None:
    assert decode(Document(_Chunks()), [b"a!"]) == [TextDelta("a!"), Failure("broken")]
    assert decode(Document(_Chunks()), [b" "])[-1] == End()
    assert decode(Document(_Chunks()), [b"\xff"]) == [Failure("the engine sent what cannot be read as an answer")]
    half = b"x" * (MAX_HELD_BYTES // 2 + 1)
    assert decode(Document(_Chunks()), [half, half, half]) == [Failure("the engine sent an answer that is too long")]


def test_a_head_tells_errors_of_every_shape() -> None:
    Head().require_no_error()
    for raw in (b'{"code":5}', b'{"message":5}', b"5"):
        with pytest.raises(BrokenAnswer, match="reported an error"):
            Head(error=type(Head().error)(raw)).require_no_error()


@pytest.mark.parametrize(("created", "expected"), [(1.5, 1), (None, 0), (-1, 0), (1e300, 0), (7, 7)])
def test_a_strange_clock_is_no_clock(created: float | None, expected: int) -> None:
    assert Head(created=created).begin().created == expected


def test_a_choice_ends_once_and_calls_explain_a_stop() -> None:
    ends = Ends(with_calls={1})
    deltas: list[Delta] = []
    for choice in (0, 1, 2, 2):
        ends.see(choice)
    ends.read(0, "stop", None, deltas)
    ends.read(0, "length", None, deltas)
    ends.read(1, "stop", "x", deltas)
    ends.read_end(deltas)
    assert deltas == [Finish(FinishReason.STOP), Finish(FinishReason.TOOL_CALLS, 1), Finish(FinishReason.STOP, 2)]


def test_an_answer_without_choices_or_broken_off_is_none() -> None:
    with pytest.raises(BrokenAnswer, match="no choice"):
        Ends().read_end([])
    with pytest.raises(BrokenAnswer, match="broke"):
        Ends().read(0, "abort", None, [])
