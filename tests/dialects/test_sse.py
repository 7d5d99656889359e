"""Events of a stream, however they are cut. Source: WHATWG HTML §9.2.6 (2026)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.dialects import sse
from mrproxy.dialects.sse import MAX_HELD_BYTES, Alien, SseReader
from tests.fuzzing import fuzz, split_at

STREAM = (
    b": ping\n\n"
    b'event: x\nid: 1\nretry: 5\ndata: {"a":1}\n\n'
    b'data:{"\xc3\xbc":\r\ndata:2}\r\n\r\n'
    b"\n\n"
    b'error: {"code":500}\n\n'
    b"data: [DONE]"
)
EVENTS = [b' {"a":1}', b'{"\xc3\xbc":\r\n2}\r', b' {"code":500}', b" [DONE]"]


def read(pieces: list[bytes]) -> list[bytes | Alien]:
    reader = SseReader()
    events = [event for piece in pieces for event in reader.receive_data(piece)]
    return events + reader.finish()


@fuzz(50)
@given(st.lists(st.integers(0, 200), max_size=8))
def test_however_a_stream_arrives_its_events_are_the_same(places: list[int]) -> None:
    assert read(split_at(STREAM, places)) == EVENTS


def test_byte_by_byte_is_the_same_as_whole() -> None:
    assert read([bytes([byte]) for byte in STREAM]) == read([STREAM]) == EVENTS


@pytest.mark.parametrize("line", [b"<html>", b'{"error":1}', b"datum: 1", b"  x"])
def test_what_is_no_stream_ends_it(line: bytes) -> None:
    assert read([b"data: 1\n\n", line + b"\ndata: 2\n\n", b"data: 3\n\n"]) == [b" 1", Alien(line)]
    assert read([line]) == [Alien(line)]


@pytest.mark.parametrize("half", [b"d", b"dat", b"eve", b"er", b"i", b"retr", b"data"])
def test_half_a_name_at_the_end_is_no_alien(half: bytes) -> None:
    assert read([b"data: 1\n\n", half]) == [b" 1"]
    assert read([b"data: 1\n", half]) == [b" 1"]


def test_too_long_an_event_ends_the_stream_and_a_long_one_does_not() -> None:
    assert read([b"data: " + b"x" * (MAX_HELD_BYTES - 6), b"\n\n"])[0] == b" " + b"x" * (MAX_HELD_BYTES - 6)
    assert read([b"data: " + b"x" * MAX_HELD_BYTES, b"\n\n"]) == [Alien(b"")]
    half = b"data: " + b"x" * (MAX_HELD_BYTES // 2) + b"\n"
    assert read([half, half, b"d"]) == [Alien(b"")]
    assert len(read([half + b"\n", half + b"\n", half + b"\n"])) == 3


@pytest.mark.parametrize("line", [b"data:\n", b"data:\r\n", b"error:\n", b"data:x\n"])
def test_lines_with_next_to_nothing_are_counted_too(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of them never ended, and each read was slower than the one before."""
    monkeypatch.setattr(sse, "MAX_HELD_BYTES", 100_000)
    reader = SseReader()
    for _ in range(16):
        if events := reader.receive_data(line * 1_000):
            break
    assert events == [Alien(b"")]
    assert reader.receive_data(b"data: 1\n\n") == reader.finish() == []


def test_lines_of_an_event_that_has_ended_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_HELD_BYTES", 100_000)
    reader = SseReader()
    for _ in range(4):
        assert reader.receive_data(b"data:\n" * 1_000) == []
        assert reader.receive_data(b"\n") == [b"\n" * 999]


def test_what_is_no_stream_is_said_once() -> None:
    assert read([b"data:" + b"x" * MAX_HELD_BYTES + b"\n<html>\nx"]) == [Alien(b"<html>")]


@fuzz(150)
@given(
    st.lists(
        st.sampled_from([b"\n", b"\r\n", b"\r", b"data:", b"data: x", b"event: y", b": c", b"error:"]), max_size=16
    ),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_cuts_change_nothing(lines: list[bytes], places: list[int]) -> None:
    """Invariant: pieces give what the whole gives."""
    data = b"".join(lines)
    assert read(split_at(data, places)) == read([data])


@fuzz(50)
@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=3))
def test_no_bytes_break_it(data: bytes, places: list[int]) -> None:
    """Invariant: never raises, and cuts make no difference."""
    assert read(split_at(data, places)) == read([data])
