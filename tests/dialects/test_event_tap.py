"""What the taps of named events share; their dialects' own files test them whole (tests/dialects/*/test_usage.py)."""

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.event_tap import EventTap
from mrproxy.dialects.usage import MAX_DOCUMENT_BYTES, MAX_HELD_BYTES, TAIL_BYTES


class Noting(EventTap):
    """Notes what it is shown."""

    def __init__(self, is_stream: bool) -> None:
        super().__init__(is_stream)
        self.seen: list[bytes] = []
        self.ends: list[bytes] = []

    def read_event(self, event: bytes) -> None:
        self.seen.append(event)

    def read_overlong(self, end: bytes) -> None:
        self.ends.append(end)

    def read_document(self, document: bytes, *, is_whole: bool) -> Usage | None:
        return Usage(len(document), int(is_whole))


def test_whole_events_pass_and_are_seen_and_a_half_one_waits() -> None:
    tap = Noting(is_stream=True)
    assert tap.receive_data(b"event: a\n\nevent: b") == b"event: a\n\n"
    assert tap.receive_data(b"\n\n") == b"event: b\n\n"
    assert (tap.seen, tap.finish()) == ([b"event: a", b"event: b"], b"")


def test_an_event_too_long_to_be_held_passes_and_only_its_end_is_seen() -> None:
    tap = Noting(is_stream=True)
    long = b"x" * (MAX_HELD_BYTES + 1)
    assert tap.receive_data(long) == long
    assert tap.is_mid_event
    assert tap.ping() == b""
    assert tap.receive_data(b"end\n\nnext\n\n") == b"end\n\nnext\n\n"
    assert (tap.ends, tap.seen) == ([b"xxxend"], [b"next"])
    assert not tap.is_mid_event


def test_a_document_passes_at_once_and_of_a_long_one_the_end_is_read() -> None:
    for size, read in ((10, Usage(10, 1)), (MAX_DOCUMENT_BYTES + 1, Usage(TAIL_BYTES, 0))):
        tap = Noting(is_stream=False)
        assert tap.receive_data(b"x" * size) == b"x" * size
        assert tap.finish() == b""
        assert tap.usage == read
        assert tap.ping() == b""


def test_what_need_not_be_shown_of_a_long_document_is_all_but_its_end() -> None:
    rest = MAX_DOCUMENT_BYTES + 1
    assert Noting(is_stream=False).skip(rest) == rest - TAIL_BYTES
    assert Noting(is_stream=False).skip(MAX_DOCUMENT_BYTES) == 0
    assert Noting(is_stream=True).skip(rest) == 0
