"""The chunked coding: strict, incremental, and never more lenient than h11."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.wire.chunked import (
    CHUNK_LINES,
    CHUNK_SIZES,
    LAST_CHUNK,
    MAX_LINE_BYTES,
    MAX_TRAILER_BYTES,
    ChunkedDecoder,
    count_whole_chunks,
    parse_chunk_size,
)
from tests.fuzzing import fuzz, mutated, split_at


def decode(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    """(payload, what follows) of a complete body, None of an incomplete one. Raises ValueError."""
    decoder = ChunkedDecoder()
    payload = b""
    for number, piece in enumerate(pieces):
        payload += decoder.receive_data(piece)
        if decoder.is_done:
            return payload, decoder.rest + b"".join(pieces[number + 1 :])
    return None


def outcome(pieces: list[bytes]) -> tuple[bytes, bytes] | str | None:
    try:
        return decode(pieces)
    except ValueError:
        return "refused"


def encode(chunks: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk) + LAST_CHUNK


TRICKS = {
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "leading space": b" 5\r\nhello\r\n0\r\n\r\n",
    "trailing space": b"5 \r\nhello\r\n0\r\n\r\n",
    "space before an extension": b"5 ;a\r\nhello\r\n0\r\n\r\n",
    "leading tab": b"\t5\r\nhello\r\n0\r\n\r\n",
    "inner space": b"0 5\r\nhello\r\n0\r\n\r\n",
    "vertical tab": b"\x0b5\r\nhello\r\n0\r\n\r\n",
    "empty size": b"\r\nhello\r\n0\r\n\r\n",
    "only an extension": b";a=b\r\nhello\r\n0\r\n\r\n",
    "beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "many zeros": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"5g\r\nhello\r\n0\r\n\r\n",
    "comma": b"5,5\r\nhello\r\n0\r\n\r\n",
    "other digits": "٥\r\nhello\r\n0\r\n\r\n".encode(),
    "NUL": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "CR CR LF": b"5\r\r\nhello\r\n0\r\n\r\n",
    "LF CR": b"5\n\rhello\r\n0\r\n\r\n",
    "bare LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "nothing after the data": b"5\r\nhello0\r\n\r\n",
    "two bytes that are not CRLF": b"5\r\nhelloXX0\r\n\r\n",
    "longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "DEL in an extension": b"5;a\x7fb\r\nhello\r\n0\r\n\r\n",
    "endless extension": b"5;" + b"a" * MAX_LINE_BYTES + b"\r\nhello\r\n0\r\n\r\n",
    "bare LF at the end": b"0\n\n",
    "bare LF in a trailer": b"0\r\nA: b\n\r\n",
    "a request for a trailer": b"0\r\nGET /admin HTTP/1.1\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "space before a trailer's colon": b"0\r\nA : b\r\n\r\n",
    "NUL in a trailer": b"0\r\nA: \x00\r\n\r\n",
    "bare CR in a trailer": b"0\r\nA: b\rC: d\r\n\r\n",
    "a trailer line too long": b"0\r\nA: " + b"b" * MAX_LINE_BYTES + b"\r\n\r\n",
    "trailers too long": b"0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * (MAX_TRAILER_BYTES // 1000 + 1) + b"\r\n",
}


@pytest.mark.parametrize("data", TRICKS.values(), ids=TRICKS.keys())
def test_what_two_readers_could_read_differently_is_refused(data: bytes) -> None:
    assert outcome([data]) == "refused"
    assert outcome([data[place : place + 1] for place in range(len(data))]) == "refused"


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b'5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n', b"hello"),
        (b"A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n2\r\n\r\n\r\n0\r\nX-Checksum: 5\r\nX-B:\r\n\r\n", b"0123456789\r\n"),
    ],
)
def test_valid_bodies_are_decoded_and_what_follows_is_left(data: bytes, payload: bytes) -> None:
    assert decode([data + b"GET / "]) == (payload, b"GET / ")


@pytest.mark.parametrize("line", [b"", b"g", b"0x1", b"1" * 17, b"1 ", b";x"])
def test_malformed_sizes_are_errors(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_chunk_size(line)


def test_sizes_are_hexadecimal_up_to_sixteen_digits() -> None:
    assert parse_chunk_size(b"1aF;x") == 0x1AF
    assert parse_chunk_size(b"F" * 16) == 2**64 - 1


def test_an_unfinished_line_is_held_up_to_its_bound() -> None:
    decoder = ChunkedDecoder()
    assert decoder.receive_data(b"5;" + b"a" * (MAX_LINE_BYTES - 2)) == b""
    with pytest.raises(ValueError):
        decoder.receive_data(b"a")


def test_a_chunk_may_follow_at_its_place_only() -> None:
    decoder = ChunkedDecoder()
    assert decoder.is_between_chunks
    for piece, is_between in ((b"5", False), (b"\r\nhel", False), (b"lo", False), (b"\r\n", True), (b"0\r\n", False)):
        decoder.receive_data(piece)
        assert decoder.is_between_chunks is is_between


_CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
_PLACES = st.lists(st.integers(0, 400), max_size=8)


@fuzz(30)
@given(_CHUNKS, _PLACES, st.binary(max_size=10))
def test_however_it_arrives_it_decodes_to_what_was_encoded(chunks: list[bytes], places: list[int], rest: bytes) -> None:
    """Invariant: decode(split(encode(x) + rest)) == x, rest; byte by byte too."""
    data = encode(chunks) + rest
    expected = (b"".join(chunks), rest)
    assert decode(split_at(data, places)) == expected
    assert decode([data[place : place + 1] for place in range(len(data))]) == expected


_VALID = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n",
    b"b\r\nhello\r\n0\r\n\r\n\r\n0\r\n\r\n",
]
_SNIPPETS = [
    b"0", b"5", b"a", b"0x", b"+", b"_", b" ", b"\t", b"\r", b"\n", b"\r\n", b";", b";x", b"\x00", b"\x7f", b"\xff",
    b":", b"0\r\n", b"0\r\n\r\n", b"5\r\n", b"A: b\r\n", b"GET / HTTP/1.1\r\n",
]  # fmt: skip


def _h11_decode(data: bytes) -> tuple[bytes, bytes] | str | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    payload = b""
    while True:
        try:
            match connection.next_event():
                case h11.Data(data=piece):
                    payload += bytes(piece)
                case h11.EndOfMessage():
                    return payload, connection.trailing_data[0]
                case h11.NEED_DATA:
                    return None
        except h11.RemoteProtocolError:
            return "refused"


@fuzz(75)
@given(mutated(_VALID, _SNIPPETS), _PLACES)
def test_what_h11_rejects_we_reject(data: bytes, places: list[int]) -> None:
    """Invariant: a body is refused, or it is what h11 reads; and its pieces do not matter."""
    ours = outcome([data])
    assert outcome(split_at(data, places)) == ours
    if ours != "refused" and ours is not None:
        assert _h11_decode(data) == ours


@fuzz(30)
@given(st.binary(max_size=60), _PLACES)
def test_any_bytes_are_decoded_or_refused(data: bytes, places: list[int]) -> None:
    """Invariant: bytes or ValueError, the same for every way to cut them."""
    assert outcome(split_at(data, places)) == outcome([data])


# The relay's fast path


def test_the_table_of_sizes_knows_one_spelling_each() -> None:
    assert CHUNK_SIZES[b"1"] == 1
    assert CHUNK_SIZES[b"2000"] == 8192
    assert not {b"", b"0", b"01", b"A", b"2001"} & CHUNK_SIZES.keys()


def test_the_table_of_lines_knows_how_a_chunk_of_a_length_begins() -> None:
    whole = {size: b"%x\r\n%b\r\n" % (size, bytes(size)) for size in range(1, 8193)}
    assert all(whole[size].startswith(CHUNK_LINES[len(whole[size])]) for size in whole)
    lengths = {len(chunk) for chunk in whole.values()}
    assert all(CHUNK_LINES[length] == b"\n" for length in range(len(CHUNK_LINES)) if length not in lengths)
    assert len(CHUNK_LINES) - 1 == max(lengths)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"3\r\nab\n\r\n", 1),
        (b"3\r\nab\n\r\n1\r\n\n\r\n", 2),
        (b"", 0),
        (b"3\r\nab\n\r\n0\r\n\r\n", 0),
        (b"3\r\nab\n\r\n3\r\nab", 0),
        (b"3\r\nab\n\r", 0),
        (b"3\r\nabc\r\n", 0),
        (b"2\r\nus\r\n4\r\nage\n\r\n", 0),
        (b"03\r\nab\n\r\n", 0),
        (b"3;x\r\nab\n\r\n", 0),
        (b"2\r\nab\n\r\n", 0),
        (b"GET / HTTP/1.1\r\n", 0),
    ],
)
def test_whole_chunks_that_end_a_line_are_counted(data: bytes, count: int) -> None:
    assert count_whole_chunks(data) == count


@fuzz(50)
@given(mutated([b"3\r\nab\n\r\n" * 3, b"1\r\n\n\r\na\r\ndata: {}\n\n\r\n"], [b"\n", b"\r\n", b"1", b"0", b"a", b";"]))
def test_what_the_fast_path_counts_the_decoder_reads(data: bytes) -> None:
    """Invariant: counted chunks are complete, and as many as the decoder sees."""
    if count := count_whole_chunks(data):
        decoder = ChunkedDecoder()
        payload = decoder.receive_data(data)
        assert decoder.is_between_chunks
        sizes = 0
        position = 0
        while position < len(data):
            size, _, _ = data[position:].partition(b"\r\n")
            position += len(size) + 4 + int(size, 16)
            sizes += 1
        assert sizes == count
        assert payload.endswith(b"\n")
