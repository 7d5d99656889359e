import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.http1 import ChunkDecoder, RequestReader, WireError, parse_response_head

CHUNKED = b"5\r\nhello\r\n7;name=value\r\n, world\r\n0\r\nTrailer: yes\r\n\r\n"


def test_chunks_decode_the_same_byte_by_byte_as_whole():
    whole, slow = ChunkDecoder(), ChunkDecoder()
    assert whole.receive_data(CHUNKED) == b"hello, world"
    assert b"".join(slow.receive_data(bytes([byte])) for byte in CHUNKED) == b"hello, world"
    assert whole.finished
    assert slow.finished


@given(
    payloads=st.lists(st.binary(min_size=1, max_size=50), max_size=6), cuts=st.lists(st.integers(0, 400), max_size=8)
)
def test_chunks_decode_the_same_however_they_are_cut(payloads, cuts):
    wire = b"".join(b"%x\r\n%b\r\n" % (len(payload), payload) for payload in payloads) + b"0\r\n\r\n"
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    decoder = ChunkDecoder()
    pieces = [decoder.receive_data(wire[a:b]) for a, b in itertools.pairwise(edges)]
    assert b"".join(pieces) == b"".join(payloads)
    assert decoder.finished


def test_bytes_after_the_last_chunk_are_left_unread():
    decoder = ChunkDecoder()
    decoder.receive_data(b"0\r\n\r\nHTTP/1.1 ")
    assert decoder.unread == b"HTTP/1.1 "


@pytest.mark.parametrize("wire", [b"zz\r\nhello\r\n", b"5\r\nhelloXX\r\n"])
def test_what_is_not_chunked_is_an_error(wire):
    with pytest.raises(WireError):
        ChunkDecoder().receive_data(wire)


def test_a_decoder_knows_when_it_is_between_chunks():
    decoder = ChunkDecoder()
    assert decoder.is_between_chunks
    decoder.receive_data(b"5\r\nhel")
    assert not decoder.is_between_chunks
    decoder.receive_data(b"lo\r\n")
    assert decoder.is_between_chunks


def test_response_head_says_how_the_body_ends():
    head = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: B\r\n\r\nabc")
    assert head is not None
    assert (head.status, head.content_length, head.is_chunked, head.keep_alive) == (200, 3, False, True)
    assert head.header(b"x-a") == b"b"
    chunked = parse_response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    assert chunked is not None
    assert (chunked.content_length, chunked.is_chunked, chunked.keep_alive) == (None, True, False)


def test_informational_heads_are_skipped():
    head = parse_response_head(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n")
    assert head is not None
    assert head.status == 404


def test_an_incomplete_head_is_no_head_yet_and_garbage_is_an_error():
    assert parse_response_head(b"HTTP/1.1 200 OK\r\nA: b\r\n") is None
    with pytest.raises(WireError):
        parse_response_head(b"SSH-2.0\r\n\r\n")


REQUESTS = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, len(REQUESTS)])
def test_pipelined_requests_come_out_one_by_one(size):
    reader, found = RequestReader(), []
    for at in range(0, len(REQUESTS), size):
        reader.receive_data(REQUESTS[at : at + size])
        while (request := reader.next_request()) is not None:
            found.append((request.method, request.path, request.body, request.keep_alive))
    assert found == [(b"POST", b"/a", b"hi", True), (b"GET", b"/b", b"", False)]


def test_a_chunked_request_body_is_decoded_and_what_follows_is_kept():
    reader = RequestReader()
    reader.receive_data(
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n"
    )
    first, second = reader.next_request(), reader.next_request()
    assert first is not None
    assert second is not None
    assert (first.body, second.path) == (b"hi", b"/b")
