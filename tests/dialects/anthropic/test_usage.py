"""The tap of Anthropic's answers at every split: whole events pass, and the true counts are found."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.anthropic.usage import MessagesTap, read_usage
from mrproxy.dialects.usage import MAX_DOCUMENT_BYTES, MAX_HELD_BYTES, Tap
from mrproxy.wire.chunked import count_whole_chunks
from tests.dialects.anthropic import golden
from tests.dialects.anthropic.golden import Golden
from tests.dialects.tapped import forward_document, forward_stream
from tests.fuzzing import fuzz, split_at

every_stream = pytest.mark.parametrize("stream", golden.STREAMS.values(), ids=golden.STREAMS.keys())
_PLACES = st.lists(st.integers(0, 5000), max_size=12)


def forward(tap: Tap, pieces: list[bytes]) -> None:
    (forward_stream if tap.marker else forward_document)(tap, pieces)


@every_stream
def test_counts_are_found_at_every_split_and_whole_events_pass(stream: Golden) -> None:
    for place in range(len(stream.data)):
        tap = MessagesTap(is_stream=True)
        forward(tap, [stream.data[:place], stream.data[place:]])
        assert (tap.usage, tap.events) == (stream.usage, stream.deltas)


@every_stream
def test_byte_by_byte_is_the_same_as_whole(stream: Golden) -> None:
    tap = MessagesTap(is_stream=True)
    forward(tap, [bytes([byte]) for byte in stream.data])
    assert (tap.usage, tap.events) == (stream.usage, stream.deltas)
    whole = MessagesTap(is_stream=True)
    whole.receive_whole(stream.data)
    assert (whole.usage, whole.events) == (stream.usage, stream.deltas)


@fuzz(50)
@given(stream=st.sampled_from(list(golden.STREAMS.values())), places=_PLACES)
def test_however_a_stream_arrives_its_counts_are_the_same(stream: Golden, places: list[int]) -> None:
    """Invariant: forwarded == received; usage and events do not depend on the cuts."""
    tap = MessagesTap(is_stream=True)
    forward(tap, split_at(stream.data, places))
    assert (tap.usage, tap.events) == (stream.usage, stream.deltas)


@pytest.mark.parametrize(
    ("seen", "usage", "events"),
    [
        (0, None, 0),
        (1, Usage(129, None), 0),
        (5, Usage(129, None), 2),
        (7, Usage(134, 7), 2),
        (9, Usage(134, 7), 3),
    ],
)
def test_of_an_aborted_stream_the_last_counts_are_known(seen: int, usage: Usage | None, events: int) -> None:
    tap = MessagesTap(is_stream=True)
    forward(tap, [b"".join(golden.CUMULATIVE.events[:seen])])
    assert (tap.usage, tap.events) == (usage, events)


@every_stream
def test_of_a_stream_that_breaks_off_half_an_event_is_never_forwarded(stream: Golden) -> None:
    first, second = stream.events[:2]
    for place in range(len(second)):
        tap = MessagesTap(is_stream=True)
        assert tap.receive_data(first + second[:place]) == first
        assert not tap.is_mid_event


def test_a_ping_comes_between_two_events_and_never_within_one() -> None:
    tap = MessagesTap(is_stream=True)
    assert tap.ping().startswith(b"event: ping\n")
    tap.receive_data(b"event: content_block_delta\n")  # held back: nothing is begun
    assert tap.ping()
    tap.receive_data(b"data: " + b"x" * MAX_HELD_BYTES)
    assert (tap.is_mid_event, tap.ping()) == (True, b"")
    tap.receive_data(b"\n\n")
    assert tap.ping()
    assert not MessagesTap(is_stream=False).ping()


def test_zeros_at_the_start_are_not_counts() -> None:
    tap = MessagesTap(is_stream=True)
    forward(tap, list(golden.OLLAMA.events[:3]))
    assert (tap.usage, tap.events) == (None, 1)


def test_an_event_without_its_blank_line_counts_at_the_end() -> None:
    tap = MessagesTap(is_stream=True)
    forward(tap, [*golden.VLLM.events[:9], golden.VLLM.events[9][:-2]])
    assert tap.usage == golden.VLLM.usage


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"message_delta","usage":null}',
        b'{"type":"message_delta","usage":{"output_tokens":"many"}}',
        b'{"type":"message_delta","usage":{"output_tokens":-1}}',
        b'{"type":"message_delta","usage":{"output_tokens":1e400}}',
        b'{"type":"message_delta","usage":',
        b'{"type":"message_start","usage":{"output_tokens":3}}',
        b'{"type":"message_start","message":{"usage":null}}',
        b'{"type":"other","usage":{"output_tokens":3}}',
        b'"usage" \xff',
        b'{"type":"message_delta","usage":{"output_tokens":1},"x":' + b"[" * 20000,
    ],
)
def test_what_only_looks_like_usage_is_none(data: bytes) -> None:
    tap = MessagesTap(is_stream=True)
    forward(tap, [b"data: %b\n\n" % data])
    assert (tap.usage, tap.events) == (None, 0)


@pytest.mark.parametrize("step", [1000, 4096, 65536, 200_000])
def test_an_overlong_event_is_content_and_what_follows_is_still_read(step: int) -> None:
    events = list(golden.ANTHROPIC.events)
    events[3] = golden.text(0, b"x" * 150_000)
    data = b"".join(events)
    tap = MessagesTap(is_stream=True)
    forward(tap, [data[place : place + step] for place in range(0, len(data), step)])
    assert (tap.usage, tap.events) == (golden.ANTHROPIC.usage, golden.ANTHROPIC.deltas)


def test_of_a_long_document_only_the_end_need_be_shown() -> None:
    document = b'{"content":[{"text":"%b"}],"usage":{"input_tokens":5,"output_tokens":7}}' % (b"x" * 200_000)
    tap = MessagesTap(is_stream=False)
    tap.receive_data(document[:10_000])
    skipped = tap.skip(len(document) - 10_000)
    assert 10_000 + skipped == len(document) - 4096
    forward(tap, [document[10_000 + skipped :]])
    assert tap.usage == Usage(5, 7)


def test_all_of_a_stream_and_of_a_short_document_is_shown() -> None:
    assert MessagesTap(is_stream=True).skip(1 << 20) == 0
    assert MessagesTap(is_stream=False).skip(MAX_DOCUMENT_BYTES) == 0


def feed_taps(data: bytes) -> None:
    """Invariant: everything is forwarded; the tap never raises."""
    for is_stream in (True, False):
        forward(MessagesTap(is_stream), [data[:7], data[7:]])


@fuzz(50)
@given(st.binary(max_size=200))
def test_any_bytes_pass(data: bytes) -> None:
    feed_taps(data)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"anthropic-taps": feed_taps}


# The fast path: reads that the relay does not show to the tap


def relayed(tap: Tap, reads: list[bytes]) -> int:
    """What the pump does with reads of whole chunks; the events that it counts itself."""
    passed = 0
    for read in reads:
        chunks = count_whole_chunks(read)
        if tap.is_aligned and tap.marker not in read and read.endswith(tap.tail) and chunks:
            passed += chunks
        else:
            tap.receive_data(_unchunked(read))
    tap.finish()
    return passed


def _unchunked(read: bytes) -> bytes:
    out = b""
    while read:
        size, _, read = read.partition(b"\r\n")
        out, read = out + read[: int(size, 16)], read[int(size, 16) + 2 :]
    return out


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@fuzz(40)
@given(
    stream=st.sampled_from(list(golden.STREAMS.values())),
    places=_PLACES,
    joined=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_no_usage_hides_from_the_fast_path(stream: Golden, places: list[int], joined: list[bool]) -> None:
    """Invariant: however the engine chunks its events and however chunks share a read, usage is found."""
    reads: list[bytes] = []
    for number, piece in enumerate(split_at(stream.data, places)):
        if reads and joined[number]:
            reads[-1] += _chunk(piece)
        else:
            reads.append(_chunk(piece))
    tap = MessagesTap(is_stream=True)
    relayed(tap, reads)
    assert tap.usage == stream.usage


def test_tokens_take_the_fast_path_and_are_counted_once() -> None:
    events = [*golden.ANTHROPIC.events[:3], *[golden.text(0, b"a")] * 20, *golden.ANTHROPIC.events[6:]]
    tap = MessagesTap(is_stream=True)
    passed = relayed(tap, [_chunk(event) for event in events])
    assert (passed, tap.events) == (19, 1)
    assert tap.usage == golden.ANTHROPIC.usage


# Documents


def document(usage: bytes, size: int) -> bytes:
    text = b'"content":[{"type":"text","text":"\\"usage\\":{} ' + b"x" * size + b'"}]'
    return b'{"id":"msg_1","type":"message",%b,"stop_reason":"end_turn",%b}' % (text, usage)


@pytest.mark.parametrize("size", [0, MAX_DOCUMENT_BYTES - 400, MAX_DOCUMENT_BYTES + 1, 300_000])
@pytest.mark.parametrize("step", [1111, 65536])
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (b'"usage":{"input_tokens":11,"output_tokens":3}', Usage(11, 3)),
        (
            b'"usage": {"cache_creation": {"ephemeral_5m_input_tokens": 2}, "cache_creation_input_tokens": 2, '
            b'"cache_read_input_tokens": 4, "input_tokens": 11, "output_tokens": 3, "service_tier": "standard"}',
            Usage(17, 3),
        ),
        (b'"usage":{"output_tokens":3}', Usage(None, 3)),
        (b'"usage":null', None),
        (b'"usage":{}', None),
        (b'"usage":{"input_tokens":-1}', None),
        (b'"usage":{"input_tokens":"8"}', None),
        (b'"usage":{"input_tokens":' + b"9" * 40 + b"}", None),
        (b'"model":"m"', None),
    ],
)
def test_counts_are_found_in_documents_of_any_size(usage: bytes, expected: Usage | None, size: int, step: int) -> None:
    data = document(usage, size)
    json.loads(data)
    in_pieces, whole = MessagesTap(is_stream=False), MessagesTap(is_stream=False)
    forward(in_pieces, [data[start : start + step] for start in range(0, len(data), step)])
    whole.receive_whole(data)
    assert in_pieces.usage == whole.usage == expected
    assert not in_pieces.is_aligned


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"\xff", b'{"x":' + b"[" * 50000, b'{"usage":3}'])
@pytest.mark.parametrize("is_whole", [True, False])
def test_broken_documents_have_no_usage(data: bytes, is_whole: bool) -> None:
    assert read_usage(data, is_whole=is_whole) is None
