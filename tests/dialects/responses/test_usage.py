"""The tap of the straight lane at every split: whole events pass, and the usage is found.

Streams: OpenAI API reference, "Streaming events" (2026), keys in its order; vLLM writes them sorted, and its own
`response.reasoning_part.added` (vllm `tests/entrypoints/openai/responses`, 2026).
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.responses.usage import ResponsesTap, read_usage
from mrproxy.dialects.usage import MAX_DOCUMENT_BYTES, MAX_HELD_BYTES
from mrproxy.wire.chunked import count_whole_chunks
from tests.dialects.tapped import forward_document, forward_stream
from tests.fuzzing import fuzz, mutated, split_at

_USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 14,
}


def _response(status: str, usage: Any, text: str = "Hello") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    output = [{"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content}]
    # A function's parameters may be called as the counts are.
    parameters = {"properties": {"usage": {"input_tokens": 99, "output_tokens": 99}}}
    return {
        "id": "resp_1",
        "object": "response",
        "status": status,
        "output": output,
        "tools": [{"type": "function", "name": "f", "parameters": parameters}],
        "usage": usage,
        "user": None,
        "metadata": {"k": 'a "usage": {"input_tokens": 77}'},
    }


def _event(name: str, is_sorted: bool, **fields: Any) -> bytes:
    event = {"type": name, **fields, "sequence_number": 0}
    separators = (",", ":") if not is_sorted else (", ", ": ")
    data = json.dumps(event, sort_keys=is_sorted, separators=separators, ensure_ascii=False)
    return f"event: {name}\ndata: {data}\n\n".encode()


def stream(last: str = "response.completed", *, is_sorted: bool = False, text: str = "Hello") -> list[bytes]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return [
        _event("response.created", is_sorted, response=_response("in_progress", None, "")),
        _event("response.in_progress", is_sorted, response=_response("in_progress", None, "")),
        _event("response.output_item.added", is_sorted, output_index=0, item={"type": "message", "id": "msg_1"}),
        _event("response.reasoning_text.delta", is_sorted, **place, delta="é"),
        _event("response.output_text.delta", is_sorted, **place, delta='He\n"usage'),
        _event("response.output_text.delta", is_sorted, **place, delta="llo"),
        _event("response.output_text.done", is_sorted, **place, text=text),
        _event("response.output_item.done", is_sorted, output_index=0, item={"type": "message", "id": "msg_1"}),
        _event(last, is_sorted, response=_response("completed", _USAGE, text)),
    ]


_STREAMS = [
    stream(last, is_sorted=is_sorted)
    for last in ("response.completed", "response.incomplete")
    for is_sorted in (False, True)
]
FOUND = Usage(11, 3)


def forward(tap: ResponsesTap, pieces: list[bytes]) -> None:
    (forward_stream if tap.marker else forward_document)(tap, pieces)


@pytest.mark.parametrize("events", _STREAMS)
def test_at_every_split_whole_events_pass_and_the_usage_is_found(events: list[bytes]) -> None:
    data = b"".join(events)
    for place in range(len(data)):
        tap = ResponsesTap(is_stream=True)
        forward(tap, [data[:place], data[place:]])
        assert (tap.usage, tap.events) == (FOUND, 3)


@pytest.mark.parametrize("events", _STREAMS)
def test_byte_by_byte_is_the_same_as_whole(events: list[bytes]) -> None:
    data = b"".join(events)
    tap, whole = ResponsesTap(is_stream=True), ResponsesTap(is_stream=True)
    forward(tap, [bytes([byte]) for byte in data])
    whole.receive_whole(data)
    assert (tap.usage, tap.events) == (whole.usage, whole.events) == (FOUND, 3)


def test_other_line_ends_are_read_too() -> None:
    data = b"".join(stream()).replace(b"\n", b"\r\n")
    for place in range(len(data) - 40, len(data)):
        tap = ResponsesTap(is_stream=True)
        forward(tap, [data[:place], data[place:]])
        assert tap.usage == FOUND


def test_a_stream_cut_short_has_its_events_and_no_usage() -> None:
    tap = ResponsesTap(is_stream=True)
    forward(tap, stream()[:5])
    assert (tap.usage, tap.events) == (None, 2)


def test_the_last_event_without_its_blank_line_is_read() -> None:
    tap = ResponsesTap(is_stream=True)
    forward(tap, [b"".join(stream())[:-1]])
    assert tap.usage == FOUND


def test_of_a_stream_that_breaks_off_half_an_event_is_never_forwarded() -> None:
    first, second = stream()[:2]
    for place in range(len(second)):
        tap = ResponsesTap(is_stream=True)
        assert tap.receive_data(first + second[:place]) == first
        assert not tap.is_mid_event


def test_a_ping_comes_between_two_events_and_never_within_one() -> None:
    tap = ResponsesTap(is_stream=True)
    tap.receive_data(b"event: response.created\n")  # held back: nothing is begun
    assert tap.ping() == b": ping\n\n"
    tap.receive_data(b"data: " + b"x" * MAX_HELD_BYTES)
    assert (tap.is_mid_event, tap.ping()) == (True, b"")
    tap.receive_data(b"\n\n")
    assert tap.ping()
    assert not ResponsesTap(is_stream=False).ping()


@pytest.mark.parametrize("step", [1000, 4096, 65536, 10**6])
def test_the_usage_of_a_long_answer_is_found_and_little_is_held(step: int) -> None:
    data = b"".join(stream(text="x" * 200_000))
    tap = ResponsesTap(is_stream=True)
    forward(tap, [data[start : start + step] for start in range(0, len(data), step)])
    assert (tap.usage, tap.events) == (FOUND, 3)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"type":"response.created","response":{"usage":null}}\n\n',
        b'data: {"type":"response.completed","response":null,"usage":{}}\n\n',
        b'data: {"response":{"usage":{"input_tokens":"many"}}}\n\n',
        b'data: {"response":{"usage":{"input_tokens":-1}}}\n\n',
        b'data: {"response":{"usage":{}}}\n\n',
        b'data: {"response":{"usage":\n\n',
        b'data: "usage" \xff\n\n',
        b': "usage" in a comment\n\n',
        b'data: {"response":{"usage":{"input_tokens":1}},"x":' + b"[" * 20000 + b"\n\n",
    ],
)
def test_what_only_looks_like_usage_is_none(event: bytes) -> None:
    tap = ResponsesTap(is_stream=True)
    forward(tap, [event])
    assert tap.usage is None


# The fast path: reads that the relay does not show to the tap


def _unchunked(read: bytes) -> bytes:
    out = b""
    while read:
        size, _, read = read.partition(b"\r\n")
        out, read = out + read[: int(size, 16)], read[int(size, 16) + 2 :]
    return out


def relayed(tap: ResponsesTap, reads: list[bytes], decode: Callable[[bytes], bytes]) -> int:
    """What the pump does with reads of whole chunks; how many chunks the tap has not seen."""
    unseen = 0
    for read in reads:
        count = count_whole_chunks(read)
        if tap.is_aligned and tap.marker not in read and read.endswith(tap.tail) and count:
            unseen += count
        else:
            tap.receive_data(decode(read))
    tap.finish()
    return unseen


@fuzz(40)
@given(
    events=st.sampled_from(_STREAMS),
    places=st.lists(st.integers(0, 5000), max_size=12),
    joined=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_no_usage_hides_from_the_fast_path(events: list[bytes], places: list[int], joined: list[bool]) -> None:
    """Invariant: however the engine chunks its events and however chunks share a read, the usage is found."""
    reads: list[bytes] = []
    for number, piece in enumerate(split_at(b"".join(events), places)):
        chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
        if reads and joined[number]:
            reads[-1] += chunk
        else:
            reads.append(chunk)
    tap = ResponsesTap(is_stream=True)
    relayed(tap, reads, _unchunked)
    assert tap.usage == FOUND


def test_a_token_per_chunk_takes_the_fast_path() -> None:
    tap = ResponsesTap(is_stream=True)
    unseen = relayed(tap, [b"%x\r\n%b\r\n" % (len(event), event) for event in stream()], _unchunked)
    # The second delta says "usage" and is looked at; unseen pass the third, and the two events that end the text.
    assert (tap.usage, tap.events, unseen) == (FOUND, 2, 3)


def test_a_tap_is_aligned_between_the_deltas_of_a_stream_only() -> None:
    tap = ResponsesTap(is_stream=True)
    events = stream()
    states = []
    for event in events:
        tap.receive_data(event[:9])
        assert not tap.is_aligned
        tap.receive_data(event[9:])
        states.append(tap.is_aligned)
    assert states == [False, False, False, True, True, True, True, True, False]
    assert not ResponsesTap(is_stream=False).is_aligned
    assert not tap.cuts


# Documents


@pytest.mark.parametrize("size", [0, MAX_DOCUMENT_BYTES, 300_000])
@pytest.mark.parametrize("step", [1111, 65536])
@pytest.mark.parametrize("usage", [_USAGE, {"output_tokens": 3, "input_tokens": 11}])
def test_usage_is_found_in_documents_of_any_size(size: int, step: int, usage: dict[str, Any]) -> None:
    document = json.dumps(_response("completed", usage, "x" * size)).encode()
    tap, whole = ResponsesTap(is_stream=False), ResponsesTap(is_stream=False)
    forward(tap, [document[start : start + step] for start in range(0, len(document), step)])
    whole.receive_whole(document)
    assert tap.usage == whole.usage == FOUND


@pytest.mark.parametrize(
    "document", [b"", b"{", b"null", b"\xff", b'{"x":' + b"[" * 50000, b'{"usage":3}', b'{"usage":null}']
)
@pytest.mark.parametrize("is_whole", [True, False])
def test_broken_documents_have_no_usage(document: bytes, is_whole: bool) -> None:
    assert read_usage(document, is_whole=is_whole) is None


def test_of_a_long_document_only_the_end_need_be_shown() -> None:
    document = json.dumps(_response("completed", _USAGE, "x" * 200_000)).encode()
    tap = ResponsesTap(is_stream=False)
    tap.receive_data(document[:10_000])
    skipped = tap.skip(len(document) - 10_000)
    assert 10_000 + skipped == len(document) - 16384
    forward(tap, [document[10_000 + skipped :]])
    assert tap.usage == Usage(11, 3)


def test_all_of_a_stream_and_of_a_short_document_is_shown() -> None:
    assert ResponsesTap(is_stream=True).skip(1 << 20) == 0
    assert ResponsesTap(is_stream=False).skip(MAX_DOCUMENT_BYTES) == 0


def feed_tap(data: bytes) -> None:
    """Invariant: everything passes, nothing raises."""
    for is_stream in (True, False):
        forward(ResponsesTap(is_stream), [data[:7], data[7:]])


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"responses-tap": feed_tap}


@fuzz(50)
@given(
    st.binary(max_size=200)
    | mutated([b"".join(events) for events in _STREAMS], [b"\n\n", b"\r\n", b"\xff", b"{", b'"usage"', b"null"])
)
def test_any_bytes_pass(data: bytes) -> None:
    feed_tap(data)
