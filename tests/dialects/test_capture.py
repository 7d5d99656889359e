"""Pure. The capturing tap does what its inner tap does, and keeps what passed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.capture import Body
from mrproxy.canonical.request import Shape
from mrproxy.dialects.capture import CapturingTap
from mrproxy.dialects.taps import make_tap

TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = TOKEN + TOKEN + USAGE + DONE
DOCUMENT = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}'


@given(st.integers(min_value=0, max_value=len(STREAM)), st.booleans())
def test_it_passes_counts_and_cuts_as_its_inner_tap_and_keeps_what_passed(split, cuts):
    kept = Body(1 << 16)
    plain, tap = make_tap("openai", Shape.SSE, cuts), CapturingTap(make_tap("openai", Shape.SSE, cuts), kept)
    pieces = STREAM[:split], STREAM[split:]
    expected = b"".join([plain.receive_data(piece) for piece in pieces]) + plain.finish()
    got = b"".join([tap.receive_data(piece) for piece in pieces]) + tap.finish()
    assert got == kept.kept == expected
    assert (tap.usage, tap.events, tap.cuts) == (plain.usage, plain.events, plain.cuts)


def test_what_the_caller_does_not_get_is_not_kept():
    kept = Body(1 << 16)
    tap = CapturingTap(make_tap("openai", Shape.SSE, True), kept)
    tap.receive_data(STREAM)
    tap.finish()
    assert kept.kept == TOKEN + TOKEN + DONE


@pytest.mark.parametrize("shape", list(Shape))
def test_the_fast_path_never_takes_a_stream_away_from_it(shape):
    tap = CapturingTap(make_tap("openai", shape, False), Body(1 << 16))
    tap.receive_data(TOKEN)
    assert not tap.is_aligned


def test_it_is_within_an_event_where_the_inner_tap_is():
    tap = CapturingTap(make_tap("openai", Shape.SSE, False), Body(10))
    assert (tap.receive_data(b"data: "), tap.is_mid_event) == (b"", False)
    tap.receive_data(b"x" * 70_000)
    assert tap.is_mid_event


def test_a_whole_answer_is_looked_at_and_kept():
    kept = Body(10)
    tap = CapturingTap(make_tap("openai", Shape.JSON, False), kept)
    tap.receive_whole(DOCUMENT)
    assert (kept.kept, kept.is_truncated) == (DOCUMENT[:10], True)
    assert tap.usage == (7, 3)


def test_usage_and_events_are_the_inner_taps():
    inner = make_tap("openai", Shape.SSE, False)
    tap = CapturingTap(inner, Body(1))
    tap.events, tap.usage = 5, None
    assert (inner.events, inner.usage) == (5, None)
