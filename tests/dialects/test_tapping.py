"""The tap of the translating lane, between a decoder and an encoder that do what a test says."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.capture import Body
from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.tapping import TranslatingTap

LAST: list[Delta] = [Finish(FinishReason.STOP), Report(TokenReport(7, 3)), End()]


class ScriptedDecoder:
    """Each read is worth the next deltas; the last ones come at the end."""

    def __init__(self, *batches: Sequence[Delta]) -> None:
        self._batches = [list(batch) for batch in batches]

    def receive_data(self, data: bytes) -> list[Delta]:
        return self._batches.pop(0)

    def finish(self) -> list[Delta]:
        return self._batches.pop(0) if self._batches else []


class PlainEncoder:
    """Says texts as they are. `seen` is what it was given."""

    content_type = b"text/plain"

    def __init__(self) -> None:
        self.seen: list[Delta] = []

    def send(self, deltas: Sequence[Delta]) -> bytes:
        self.seen += deltas
        return b"".join(delta.text.encode() for delta in deltas if isinstance(delta, TextDelta))

    def finish(self) -> bytes:
        return b"<end>"

    def ping(self) -> bytes:
        return b"<ping>"


class Strict:
    """Wants the text to be "right"."""

    def __init__(self) -> None:
        self.text = ""

    def receive_text(self, text: str) -> None:
        self.text += text

    def finish(self) -> str | None:
        return None if self.text == "right" else f"it is {self.text!r}"


def tap_of(*batches: Sequence[Delta], check: Strict | None = None, durations: bool = False) -> TranslatingTap:
    encoder = PlainEncoder()
    return TranslatingTap(ScriptedDecoder(*batches), encoder, is_document=False, check=check, tells_durations=durations)


def seen(tap: TranslatingTap) -> list[Delta]:
    encoder = tap._encoder
    assert isinstance(encoder, PlainEncoder)
    return encoder.seen


def test_each_read_is_one_write_and_the_end_is_the_encoders() -> None:
    tap = tap_of([Begin(), TextDelta("a"), TextDelta("b")], [], [TextDelta("c")], LAST)
    assert [tap.receive_data(b"x") for _ in range(3)] == [b"ab", b"", b"c"]
    assert tap.finish() == b"<end>"
    assert (tap.usage, tap.events, tap.failure) == (Usage(7, 3), 3, "")


def test_it_is_known_when_the_engine_has_said_that_this_is_all() -> None:
    tap = tap_of([Begin(), TextDelta("a")], LAST)
    tap.receive_data(b"x")
    assert not tap.has_ended
    tap.receive_data(b"x")
    assert tap.has_ended
    assert tap.finish() == b"<end>"


def test_nothing_ends_after_a_failure() -> None:
    tap = tap_of([Failure("boom"), End()])
    tap.receive_data(b"x")
    assert (tap.has_ended, tap.failure) == (False, "boom")


def test_events_are_what_was_generated() -> None:
    batch = [Begin(), ThinkingDelta("t"), TextDelta("a"), ToolCallBegin(0, "i", "f"), ToolCallArguments(0, "{}")]
    tap = tap_of(batch, LAST)
    tap.receive_data(b"x")
    tap.finish()
    assert tap.events == 4


@pytest.mark.parametrize(
    ("reports", "usage"),
    [
        ([], None),
        ([TokenReport()], None),
        ([TokenReport(total_ns=5)], None),
        ([TokenReport(prompt_tokens=7)], Usage(7, None)),
        ([TokenReport(7, 1), TokenReport(7, 3)], Usage(7, 3)),
        ([TokenReport(7, 3), TokenReport(total_ns=5)], Usage(7, 3)),
    ],
)
def test_the_last_counts_that_were_said_are_the_usage(reports: list[TokenReport], usage: Usage | None) -> None:
    tap = tap_of([Report(tokens) for tokens in reports])
    tap.receive_data(b"x")
    assert tap.usage == usage


def test_a_failure_ends_it_and_what_came_before_is_said() -> None:
    tap = tap_of(
        [TextDelta("a"), Report(TokenReport(7, 1)), Failure("boom"), TextDelta("never")], [TextDelta("b")], LAST
    )
    assert tap.receive_data(b"x") == b"a"
    assert (tap.failure, tap.usage, tap.events) == ("boom", Usage(7, 1), 1)
    assert tap.receive_data(b"x") == b""
    assert tap.finish() == b""
    assert seen(tap) == [TextDelta("a"), Report(TokenReport(7, 1))]


def test_a_failure_without_words_is_one_all_the_same() -> None:
    tap = tap_of([TextDelta("a"), Failure("")], LAST)
    assert (tap.receive_data(b"x"), tap.finish()) == (b"a", b"")
    assert tap.failure


def test_a_failure_at_the_end_is_no_end() -> None:
    tap = tap_of([TextDelta("a")], [TextDelta("b"), Failure("the engine's answer ended early")])
    assert tap.receive_data(b"x") == b"a"
    assert tap.finish() == b"b"
    assert tap.failure == "the engine's answer ended early"


@pytest.mark.parametrize(("texts", "is_right"), [(["ri", "ght"], True), (["wrong"], False), ([], False)])
def test_output_that_is_checked_has_its_end_only_if_it_is_right(texts: list[str], is_right: bool) -> None:
    tap = tap_of([TextDelta(text) for text in texts], LAST, check=Strict())
    said = tap.receive_data(b"x") + tap.finish()
    assert said == "".join(texts).encode() + (b"<end>" if is_right else b"")
    assert (tap.failure == "") is is_right
    assert is_right or tap.failure.startswith("the model's output is not what was asked for: it is ")
    assert tap.usage == Usage(7, 3)


@pytest.mark.parametrize("text", ["right", "wrong"])
def test_that_an_answer_has_ended_well_is_said_when_it_is_known(text: str) -> None:
    finish = Finish(FinishReason.STOP)
    report = Report(TokenReport(7, 3))
    other = TextDelta("other", choice=1)
    tap = tap_of([TextDelta(text), finish], [other, report], [End()], check=Strict())
    tap.receive_data(b"x")
    assert tap.receive_data(b"x") == b""
    assert seen(tap) == [TextDelta(text)]
    said = tap.finish()
    assert tap.usage == Usage(7, 3)
    if text == "right":
        assert said == b"other<end>"
        assert seen(tap)[1:] == [finish, other, report, End()]
    else:
        assert said == b""
        assert seen(tap) == [TextDelta(text)]


def test_only_the_first_choices_text_is_checked() -> None:
    batch = [ThinkingDelta("hm"), TextDelta("right"), TextDelta("wrong", choice=1)]
    tap = tap_of(batch, LAST, check=Strict())
    tap.receive_data(b"x")
    assert tap.finish() == b"<end>"


def test_a_failure_is_not_made_worse_by_the_check() -> None:
    tap = tap_of([TextDelta("wr"), Failure("boom")], check=Strict())
    tap.receive_data(b"x")
    assert (tap.finish(), tap.failure) == (b"", "boom")


@given(st.lists(st.lists(st.text(max_size=3).map(TextDelta), max_size=3), max_size=4))
def test_what_the_caller_gets_is_kept(batches: list[list[TextDelta]]) -> None:
    tap = tap_of(*batches, LAST)
    tap.kept = Body(1 << 16)
    said = b"".join([tap.receive_data(b"x") for _ in batches]) + tap.finish()
    assert tap.kept.kept == said


def test_what_failed_is_kept_as_far_as_it_went() -> None:
    tap = tap_of([TextDelta("a"), Failure("boom")])
    tap.kept = Body(1 << 16)
    tap.receive_data(b"x")
    tap.finish()
    assert tap.kept.kept == b"a"


# Durations, for callers whose dialect has them


def reported(tap: TranslatingTap) -> list[TokenReport]:
    return [delta.tokens for delta in seen(tap) if isinstance(delta, Report)]


def test_durations_that_an_engine_does_not_say_are_measured() -> None:
    tap = tap_of([TextDelta("a")], LAST, durations=True)
    tap.receive_data(b"x")
    tap.measured(2.5, 0.5)
    assert tap.finish() == b"<end>"
    expected = TokenReport(7, 3, total_ns=2_500_000_000, prompt_ns=500_000_000, completion_ns=2_000_000_000)
    assert reported(tap)[-1] == expected
    assert tap.usage == Usage(7, 3)


def test_durations_are_never_negative() -> None:
    tap = tap_of(LAST, durations=True)
    tap.measured(0.1, 0.2)
    tap.receive_data(b"x")
    tap.finish()
    assert reported(tap)[-1].completion_ns == 0


def test_durations_that_an_engine_says_stand() -> None:
    said = TokenReport(7, 3, total_ns=9)
    tap = tap_of([Report(said), End()], durations=True)
    tap.measured(2.5, 0.5)
    tap.receive_data(b"x")
    tap.finish()
    assert reported(tap) == [said]


def test_who_has_no_durations_is_told_none() -> None:
    tap = tap_of(LAST)
    tap.measured(2.5, 0.5)
    tap.receive_data(b"x")
    tap.finish()
    assert reported(tap) == [TokenReport(7, 3)]


def test_what_failed_has_no_durations() -> None:
    tap = tap_of([Failure("boom")], durations=True)
    tap.measured(2.5, 0.5)
    tap.receive_data(b"x")
    assert (tap.finish(), reported(tap)) == (b"", [])


# What the relay asks of it


def test_the_fast_path_never_takes_an_answer_away_from_it() -> None:
    tap = tap_of([TextDelta("a")], LAST)
    tap.receive_data(b"x")
    assert (tap.is_aligned, tap.is_mid_event, tap.cuts) == (False, False, True)


def test_its_content_type_and_its_signs_of_life_are_the_encoders() -> None:
    tap = tap_of()
    assert (tap.content_type, tap.ping()) == (b"text/plain", b"<ping>")


def test_an_answer_in_one_piece_is_counted_too() -> None:
    tap = tap_of([TextDelta("a"), *LAST])
    tap.receive_whole(b"x")
    assert (tap.usage, tap.events) == (Usage(7, 3), 1)


def test_that_an_answer_is_whole_is_said_before_its_end_is() -> None:
    told: list[str] = []
    encoder = PlainEncoder()
    tap = TranslatingTap(ScriptedDecoder([TextDelta("a")], LAST), encoder, is_document=False)
    tap.finished = lambda: told.append("whole")
    tap.receive_data(b"")
    assert told == []
    assert tap.finish() == b"<end>"
    assert told == ["whole"]


@pytest.mark.parametrize("is_checked", [False, True])
def test_an_answer_that_failed_is_never_whole(*, is_checked: bool) -> None:
    told: list[str] = []
    last: list[Delta] = LAST if is_checked else [Failure("broken")]
    check = Strict() if is_checked else None
    tap = TranslatingTap(ScriptedDecoder([TextDelta("wrong")], last), PlainEncoder(), is_document=True, check=check)
    tap.finished = lambda: told.append("whole")
    tap.receive_data(b"")
    tap.finish()
    assert tap.failure
    assert told == []
