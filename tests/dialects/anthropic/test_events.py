"""Server-sent events, however they are cut."""

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.dialects.anthropic.events import MAX_HELD_BYTES, EventStream
from tests.fuzzing import fuzz, split_at


def take(pieces: list[bytes]) -> list[bytes]:
    stream = EventStream()
    found = [data for piece in pieces for data in stream.receive_data(piece)]
    return [*found, rest] if (rest := stream.finish()) else found


STREAM = (
    b": comment\n\nevent: a\ndata: 1\n\n\n\nid: data: 7\ndata:2\nretry: 5\n\r\n"
    b'event: b\r\ndata: {"x":"\xc3\xa9"}\r\n\r\ndata: 3\ndata: 4\n\nevent: only\n\ndata: 5'
)
FOUND = [b" 1", b"2", b' {"x":"\xc3\xa9"}', b" 3\n 4", b" 5"]


def test_each_events_data_is_found_at_every_split() -> None:
    for place in range(len(STREAM) + 1):
        assert take([STREAM[:place], STREAM[place:]]) == FOUND
    assert take([bytes([byte]) for byte in STREAM]) == FOUND


@fuzz(300)
@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"data:", b"data: x", b"event: y", b"xdata:"]), max_size=16),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_cuts_change_nothing(lines: list[bytes], places: list[int]) -> None:
    """Invariant: pieces give what the whole gives."""
    data = b"".join(lines)
    assert take(split_at(data, places)) == take([data])


def test_a_carriage_return_belongs_to_one_line_end() -> None:
    data = b"data: 1\r\r\n\ndata: 2\r\n\r\r\n\r\n"
    for place in range(len(data) + 1):
        assert take([data[:place], data[place:]]) == take([data])


def test_an_event_that_does_not_end_is_not_kept() -> None:
    stream = EventStream()
    piece = b"x" * (MAX_HELD_BYTES // 4)
    for _ in range(4):
        assert stream.receive_data(piece) == []
        assert not stream.is_overlong
    stream.receive_data(b"x")
    assert stream.is_overlong
