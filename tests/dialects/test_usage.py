"""Usage taps at every split: what is forwarded, what is cut, what is found, what is held."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.usage import (
    BLANK_LINE,
    MAX_DOCUMENT_BYTES,
    MAX_HELD_BYTES,
    JsonTap,
    NdjsonTap,
    PassTap,
    SseTap,
    Tap,
    read_usage,
)
from mrproxy.wire.chunked import count_whole_chunks
from tests.dialects import golden
from tests.dialects.golden import Golden
from tests.dialects.tapped import END_OF_LINE, forward_document, forward_stream
from tests.fuzzing import fuzz, split_at

_PLACES = st.lists(st.integers(0, 5000), max_size=12)


def forward(tap: Tap, pieces: list[bytes]) -> bytes:
    return b"".join([tap.receive_data(piece) for piece in pieces]) + tap.finish()


@pytest.mark.parametrize("stream", golden.SSE.values(), ids=golden.SSE.keys())
def test_at_every_split_exactly_the_usage_event_is_cut(stream: Golden) -> None:
    events = None
    for place in range(len(stream.data)):
        tap = SseTap(cuts=True)
        assert forward(tap, [stream.data[:place], stream.data[place:]]) == stream.without_cut
        assert tap.usage == stream.usage
        assert tap.events == (events := tap.events if events is None else events)


@pytest.mark.parametrize("stream", golden.SSE.values(), ids=golden.SSE.keys())
def test_byte_by_byte_is_the_same_as_whole(stream: Golden) -> None:
    tap = SseTap(cuts=True)
    assert forward(tap, [bytes([byte]) for byte in stream.data]) == stream.without_cut
    assert tap.usage == stream.usage


@fuzz(50)
@given(stream=st.sampled_from(list(golden.SSE.values())), places=_PLACES, cuts=st.booleans())
def test_however_a_stream_arrives_it_leaves_the_same(stream: Golden, places: list[int], cuts: bool) -> None:
    """Invariant: forwarded == received minus the cut event."""
    tap = SseTap(cuts)
    pieces = split_at(stream.data, places)
    if cuts:
        assert forward(tap, pieces) == stream.without_cut
    else:
        forward_stream(tap, pieces)
    assert tap.usage == stream.usage


@pytest.mark.parametrize("stream", golden.SSE.values(), ids=golden.SSE.keys())
def test_at_every_split_whole_events_pass_where_nothing_is_cut(stream: Golden) -> None:
    for place in range(len(stream.data)):
        tap = SseTap(cuts=False)
        forward_stream(tap, [stream.data[:place], stream.data[place:]])
        assert tap.usage == stream.usage


@pytest.mark.parametrize("stream", golden.NDJSON.values(), ids=golden.NDJSON.keys())
def test_ollamas_counts_are_found_at_every_split_and_whole_lines_pass(stream: Golden) -> None:
    for place in range(len(stream.data)):
        tap = NdjsonTap()
        forward_stream(tap, [stream.data[:place], stream.data[place:]], END_OF_LINE)
        assert (tap.usage, tap.events) == (stream.usage, len(stream.events) - 1)


@pytest.mark.parametrize("make", [lambda: SseTap(True), lambda: SseTap(False), NdjsonTap])
def test_of_a_stream_that_breaks_off_half_an_event_is_never_forwarded(make: Callable[[], Tap]) -> None:
    stream = golden.VLLM if isinstance(make(), SseTap) else golden.OLLAMA_CHAT
    first, second = stream.events[:2]
    for place in range(len(second)):
        tap = make()
        assert tap.receive_data(first + second[:place]) == first
        assert not tap.is_mid_event


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\r"])
def test_a_clean_end_without_a_blank_line_is_forwarded_to_the_byte(ending: bytes) -> None:
    for tap, data in ((SseTap(False), b"data: {}"), (SseTap(True), b"data: {}"), (NdjsonTap(), b'{"done":false}')):
        assert forward(tap, [data[:5], data[5:], ending]) == data + ending


@pytest.mark.parametrize("stream", [*golden.SSE.values(), *golden.NDJSON.values()])
def test_a_stream_cut_short_before_its_usage_has_none(stream: Golden) -> None:
    tap: Tap = SseTap(cuts=True) if stream in golden.SSE.values() else NdjsonTap()
    assert forward(tap, [stream.events[0]]) == stream.events[0]
    assert tap.usage is None


def test_events_count_tokens_and_not_the_opening_nor_the_usage_nor_the_end() -> None:
    tap = SseTap(cuts=True)
    forward(tap, list(golden.VLLM.events))
    assert tap.events == 3  # two texts, the finish


def test_an_engines_own_error_is_no_token() -> None:
    sse = SseTap(cuts=True)
    text = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    forward(sse, [text, b'data: {"error":{"message":"boom"}}\n\ndata: [DONE]\n\n'])
    ndjson = NdjsonTap()
    forward(ndjson, [b'{"message":{"content":"a"},"done":false}\n', b'{"error":"boom"}\n'])
    assert (sse.events, ndjson.events) == (1, 1)


def test_the_newer_names_of_counts_are_read_and_a_duration_is_none() -> None:
    tap = SseTap(False)
    tap.receive_data(b'data: {"type":"transcript.text.delta","delta":"a"}\n\n')
    tap.receive_data(b'data: {"type":"transcript.text.done","usage":{"input_tokens":14,"output_tokens":2}}\n\n')
    assert (tap.usage, tap.events) == (Usage(14, 2), 1)
    tap.receive_data(b'data: {"type":"transcript.text.done","usage":{"type":"duration","seconds":3}}\n\n')
    assert tap.usage == Usage(14, 2)


def test_usage_on_every_event_is_read_to_the_last_and_never_cut() -> None:
    events = [
        b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":%d}}\n\n' % number
        for number in range(1, 4)
    ]
    tap = SseTap(cuts=True)
    assert forward(tap, events) == b"".join(events)
    assert tap.usage == Usage(5, 3)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[{"x":"usage"}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":"many"}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":-1}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1e400}}\n\n',
        b'data: {"choices":[],"usage":\n\n',
        b'data: "usage" \xff\n\n',
        b': "usage" in a comment\n\n',
        b'data: {"usage":{"prompt_tokens":1},"x":' + b"[" * 20000 + b"\n\n",
    ],
)
def test_what_only_looks_like_usage_passes(event: bytes) -> None:
    tap = SseTap(cuts=True)
    assert forward(tap, [event]) == event
    assert tap.usage is None


def test_a_usage_event_without_its_blank_line_is_cut_at_the_end() -> None:
    tap = SseTap(cuts=True)
    whole = golden.VLLM.events[4]
    assert forward(tap, [golden.VLLM.events[1], whole[:-2]]) == golden.VLLM.events[1]
    assert tap.usage == golden.VLLM.usage


def test_data_over_several_lines_is_one_event() -> None:
    tap = SseTap(cuts=True)
    event = b'id: 7\ndata: {"choices":[],\ndata: "usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    assert forward(tap, [event]) == b""
    assert tap.usage == Usage(1, 2)


@pytest.mark.parametrize("step", [1000, 4096, 65536, 200_000])
@pytest.mark.parametrize("cuts", [True, False])
def test_an_overlong_event_passes_and_what_follows_is_still_read(step: int, cuts: bool) -> None:
    event = b'data: {"choices":[{"delta":{"content":"' + b"x" * 150_000 + b'"}}]}\n\n'
    data = golden.VLLM.events[0] + event + b"".join(golden.VLLM.events[1:])
    tap = SseTap(cuts)
    forwarded = received = 0
    out = []
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        out.append(tap.receive_data(piece))
        received += len(piece)
        forwarded += len(out[-1])
        assert received - forwarded <= MAX_HELD_BYTES + len(golden.VLLM.events[4])
        assert tap.ping() == (b"" if tap.is_mid_event else b": ping\n\n")
    out.append(tap.finish())
    cut = golden.VLLM.events[4] if cuts else b""
    assert b"".join(out) == data.replace(cut, b"")
    assert tap.usage == golden.VLLM.usage


@fuzz(30)
@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"data:", b"x" * 40000]), max_size=12),
    _PLACES,
)
def test_nothing_is_lost_or_doubled_around_overlong_events(parts: list[bytes], places: list[int]) -> None:
    """Invariant: without a usage event everything passes, whatever the lines are and however they are cut."""
    data = b"".join(parts)
    pieces = split_at(data, [place * 61 for place in places])
    tap = SseTap(cuts=True)
    held = 0
    for piece in pieces:
        held += len(piece) - len(tap.receive_data(piece))
        assert 0 <= held <= MAX_HELD_BYTES
    assert forward(SseTap(cuts=True), pieces) == data
    forward_stream(SseTap(cuts=False), pieces)
    forward_stream(NdjsonTap(), pieces, END_OF_LINE)


def tap_anything(data: bytes) -> None:
    """Invariant: bytes that are no usage event are forwarded; no tap ever raises.

    A usage event without choices is cut even if its counts cannot be found: who did not ask expects none like it."""
    for tap in (SseTap(False), NdjsonTap(), JsonTap("openai"), JsonTap("ollama"), PassTap()):
        assert forward(tap, [data[:7], data[7:]]) == data
    tap = SseTap(True)
    passed = forward(tap, [data[:7], data[7:]])
    ends = [blank.end() for blank in BLANK_LINE.finditer(data)]
    for event in (data[start:end] for start, end in pairwise([0, *ends, len(data)])):
        if passed.startswith(event):
            passed = passed[len(event) :]
        else:
            assert b'"usage"' in event
    assert not passed


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"usage taps": tap_anything}


def test_an_empty_usage_event_is_cut_for_those_who_did_not_ask() -> None:
    data = b'data: {"choices": [], "usage": {"index": 0}}\n\n'
    tap = SseTap(cuts=True)
    assert (forward(tap, [data]), tap.usage) == (b"", None)
    tap_anything(data)


@fuzz(50)
@given(st.binary(max_size=200))
def test_any_bytes_pass_every_tap(data: bytes) -> None:
    tap_anything(data)


# The fast path: reads that the relay does not show to the tap


def relayed(tap: Tap, reads: list[bytes], decode: Callable[[bytes], bytes]) -> bytes:
    """What the pump does with reads of whole chunks."""
    out = []
    for read in reads:
        if tap.is_aligned and tap.marker not in read and read.endswith(tap.tail) and count_whole_chunks(read):
            out.append(decode(read))
        else:
            out.append(tap.receive_data(decode(read)))
    return b"".join(out) + tap.finish()


def _unchunked(read: bytes) -> bytes:
    out = b""
    while read:
        size, _, read = read.partition(b"\r\n")
        out, read = out + read[: int(size, 16)], read[int(size, 16) + 2 :]
    return out


@fuzz(40)
@given(
    stream=st.sampled_from([*golden.SSE.values(), *golden.NDJSON.values()]),
    places=_PLACES,
    joined=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_no_usage_hides_from_the_fast_path(stream: Golden, places: list[int], joined: list[bool]) -> None:
    """Invariant: however the engine chunks its events and however chunks share a read, usage is found and cut."""
    reads: list[bytes] = []
    for number, piece in enumerate(split_at(stream.data, places)):
        chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
        if reads and joined[number]:
            reads[-1] += chunk
        else:
            reads.append(chunk)
    tap: Tap = SseTap(cuts=True) if stream in golden.SSE.values() else NdjsonTap()
    assert relayed(tap, reads, _unchunked) == stream.without_cut
    assert tap.usage == stream.usage


def test_a_tap_is_aligned_only_between_events() -> None:
    events = SseTap(cuts=False)
    assert not events.is_aligned  # the first event may be half in the head's read
    for piece, is_aligned in (
        (b"data: {}\n", False),
        (b"\n", True),
        (b"d", False),
        (b"ata: {}\r\n\r", False),
        (b"\n", True),
    ):
        events.receive_data(piece)
        assert events.is_aligned is is_aligned
    lines = NdjsonTap()
    for piece, is_aligned in ((b"", True), (b"{}", False), (b"\n{", False), (b"}\n", True), (b"x" * 70000, False)):
        lines.receive_data(piece)
        assert lines.is_aligned is is_aligned
    for tap in (JsonTap("openai"), PassTap()):
        tap.receive_data(b"{")
        assert not tap.is_aligned
        assert not tap.is_mid_event


# Ollama's long last line


@pytest.mark.parametrize("step", [777, 65536, 10**6])
def test_counts_behind_a_long_context_are_found(step: int) -> None:
    context = b",".join([b"%d" % number for number in range(30_000)])
    last = (
        b'{"model":"m","response":"","done":true,"context":['
        + context
        + b'],"prompt_eval_count":29999,"eval_count":1}\n'
    )
    data = b'{"response":"a","done":false}\n' + last
    tap = NdjsonTap()
    forward_stream(tap, [data[start : start + step] for start in range(0, len(data), step)], END_OF_LINE)
    assert (tap.usage, tap.events) == (Usage(29999, 1), 1)


def test_a_long_line_without_counts_is_an_event_and_the_next_is_read() -> None:
    tap = NdjsonTap()
    for piece in (b'{"response":"' + b"x" * 70000, b"x" * 70000, b'"}\n', golden.OLLAMA_CHAT.events[-1]):
        tap.receive_data(piece)
    assert (tap.usage, tap.events) == (Usage(26, 2), 1)


# Documents

_OPENAI_USAGE = (
    b'"usage":{"prompt_tokens":11,"total_tokens":14,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}'
)
_DETAILS_FIRST = (
    b'"usage": {"prompt_tokens_details": {"cached_tokens": 4}, "prompt_tokens": 11, "completion_tokens": 3}'
)


def _document(usage: bytes, size: int) -> bytes:
    filler = b'"data":[' + b",".join([b"0.125"] * (size // 6 + 1)) + b"]"
    return (
        b'{"object":"list","choices":[{"text":"\\"usage\\":{}"}],'
        + filler
        + b","
        + usage
        + b',"kv_transfer_params":null}'
    )


@pytest.mark.parametrize("size", [0, MAX_DOCUMENT_BYTES - 400, MAX_DOCUMENT_BYTES + 1, 300_000])
@pytest.mark.parametrize("step", [1111, 65536])
@pytest.mark.parametrize("usage", [_OPENAI_USAGE, _DETAILS_FIRST])
def test_usage_is_found_in_documents_of_any_size(size: int, step: int, usage: bytes) -> None:
    document = _document(usage, size)
    json.loads(document)
    tap = JsonTap("openai")
    forward_document(tap, [document[start : start + step] for start in range(0, len(document), step)])
    assert tap.usage == Usage(11, 3)


@pytest.mark.parametrize("seen", [0, 1, 5000, 65536, 290_000])
@pytest.mark.parametrize("step", [100, 4096, 70_000])
def test_of_a_long_document_only_the_end_need_be_shown(seen: int, step: int) -> None:
    document = _document(_OPENAI_USAGE, 300_000)
    tap = JsonTap("openai")
    tap.receive_data(document[:seen])
    skipped = tap.skip(len(document) - seen)
    end = document[seen + skipped :]
    assert len(end) == 4096
    for start in range(0, len(end), step):
        tap.receive_data(end[start : start + step])
    tap.finish()
    assert tap.usage == Usage(11, 3)


def test_a_document_that_is_read_whole_and_the_end_of_any_other_are_shown() -> None:
    tap = JsonTap("openai")
    tap.receive_data(bytes(1000))
    assert tap.skip(MAX_DOCUMENT_BYTES - 1000) == 0
    tap.receive_data(bytes(MAX_DOCUMENT_BYTES))
    assert tap.skip(4096) == 0
    assert tap.skip(4097) == 1


def test_who_counts_events_sees_them_all_and_who_counts_nothing_sees_the_end() -> None:
    assert [tap.skip(1 << 20) for tap in (SseTap(False), SseTap(True), NdjsonTap())] == [0, 0, 0]
    assert (PassTap().skip(1 << 20), PassTap().skip(10)) == ((1 << 20) - 4096, 0)


@pytest.mark.parametrize("size", [0, 300_000])
@pytest.mark.parametrize(
    ("dialect", "usage", "expected"),
    [
        ("ollama", b'"prompt_eval_count":26,"eval_count":2', Usage(26, 2)),
        ("ollama", b'"prompt_eval_count": 26', Usage(26, None)),
        ("ollama", b'"total_duration":1', None),
        ("openai", b'"usage":{"prompt_tokens":8,"total_tokens":8}', Usage(8, None)),
        ("openai", b'"usage":null', None),
        ("openai", b'"usage":{"total_tokens":9,"input_tokens":5,"output_tokens":4}', Usage(5, 4)),
        ("openai", b'"usage":{"input_tokens_details":{"text_tokens":5},"output_tokens":4}', Usage(None, 4)),
        ("openai", b'"usage":{"type":"duration","seconds":9}', None),
        ("openai", b'"usage":{}', None),
        ("openai", b'"usage":{"prompt_tokens":-1}', None),
        ("openai", b'"usage":{"prompt_tokens":' + b"9" * 40 + b"}", None),
        ("openai", b'"usage":{"prompt_tokens":"8"}', None),
        ("openai", b'"model":"m"', None),
    ],
)
def test_counts_are_found_or_absent_but_never_made_up(
    dialect: str, usage: bytes, expected: Usage | None, size: int
) -> None:
    document = _document(usage, size)
    in_pieces, whole = JsonTap(dialect), JsonTap(dialect)
    forward(in_pieces, [document[:1000], document[1000:]])
    whole.receive_whole(document)
    assert in_pieces.usage == whole.usage == expected


@pytest.mark.parametrize("document", [b"", b"{", b"null", b"\xff", b'{"x":' + b"[" * 50000, b'{"usage":3}'])
@pytest.mark.parametrize("dialect", ["openai", "ollama"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_broken_documents_have_no_usage(document: bytes, dialect: str, is_whole: bool) -> None:
    assert read_usage(document, dialect, is_whole=is_whole) is None


def test_a_whole_answer_in_one_read_is_the_same_as_in_pieces() -> None:
    lines = NdjsonTap()
    lines.receive_whole(golden.OLLAMA_CHAT.data)
    assert lines.usage == golden.OLLAMA_CHAT.usage
    PassTap().receive_whole(b"anything")
