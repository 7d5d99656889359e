from zlib import crc32

import pytest

from bench.answers import Answer, TokenStream
from bench.http1 import WireError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ROLE = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
FINISH = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":""},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"


def token(stamp, text=b""):
    return b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"t%019d "}}]%b}\n\n' % (stamp, text)


def chunk(payload):
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def stream_of(events):
    return [HEAD, *map(chunk, events), b"0\r\n\r\n"]


EVENTS = [ROLE, *(token(stamp) for stamp in (100, 200, 300, 400)), FINISH, USAGE, DONE]
PAYLOAD = b"".join(event for event in EVENTS if event is not USAGE)


def read(pieces, now=1000):
    delays = []
    stream = TokenStream(delays.append)
    finished = [stream.receive_data(piece, now) for piece in pieces]
    assert not any(finished[:-1])
    return stream, delays, finished[-1]


def as_bytes(pieces):
    return [bytes([byte]) for byte in b"".join(pieces)]


@pytest.mark.parametrize("cut", [lambda pieces: pieces, as_bytes, lambda pieces: [b"".join(pieces)]])
def test_a_stream_reads_the_same_however_it_is_cut(cut):
    stream, delays, finished = read(cut(stream_of(EVENTS)))
    assert finished
    assert delays == [900, 800, 700, 600]
    assert stream.fingerprint == (4, len(PAYLOAD), crc32(PAYLOAD))
    assert (stream.is_complete, stream.stream_id, stream.usage_events) == (True, "chatcmpl-1", 1)
    assert (stream.events_altered, stream.out_of_order, stream.error) == (0, 0, "")


def test_rechunking_on_the_way_changes_no_fingerprint():
    payload = b"".join(EVENTS)
    pieces = [HEAD, *(chunk(payload[at : at + 37]) for at in range(0, len(payload), 37)), b"0\r\n\r\n"]
    assert read(pieces)[0].fingerprint == (4, len(PAYLOAD), crc32(PAYLOAD))


def test_an_event_unlike_the_others_counts_as_altered():
    events = [token(100), token(200), token(300, b',"extra":1'), DONE]
    assert read(stream_of(events))[0].events_altered == 1


def test_stamps_that_go_back_count_as_out_of_order():
    assert read(stream_of([token(100), token(200), token(150), DONE]))[0].out_of_order == 1


def test_an_error_in_the_stream_is_noted():
    stream, _, _ = read(stream_of([token(100), b'data: {"error":{"message":"gone"}}\n\n']))
    assert "gone" in stream.error
    assert not stream.is_complete


def test_gaps_lie_between_tokens():
    gaps = []
    stream = TokenStream(lambda _delay: None, gaps.append)
    for now, piece in zip((10, 20, 50, 110), [HEAD, *map(chunk, [token(1), token(2), token(3)])], strict=True):
        stream.receive_data(piece, now)
    assert gaps == [30, 60]


def test_ndjson_events_are_told_apart_by_lines_and_dates_may_differ():
    head = HEAD.replace(b"text/event-stream", b"application/x-ndjson")
    line = b'{"model":"m","created_at":"2026-01-01T00:00:00.%09dZ","message":{"content":"t%019d "},"done":false}\n'
    events = [line % (number, number) for number in range(5)] + [b'{"done":true}\n']
    stream, _, finished = read([head, *map(chunk, events), b"0\r\n\r\n"])
    assert finished
    assert stream.fingerprint == (5, len(b"".join(events)), crc32(b"".join(events)))
    assert (stream.is_complete, stream.events_altered) == (True, 0)


def test_a_sized_answer_ends_with_its_last_byte():
    answer = Answer()
    assert not answer.receive_data(b"HTTP/1.1 200 OK\r\nContent-Le", 1)
    assert not answer.receive_data(b"ngth: 5\r\n\r\nhel", 2)
    assert answer.receive_data(b"lo", 3)
    assert (answer.body, answer.first_ns, answer.fingerprint) == (b"hello", 2, (0, 5, crc32(b"hello")))
    assert answer.keeps_connection


def test_an_answer_without_length_ends_with_the_connection():
    answer = Answer()
    assert answer.connection_closed() == "closed before the head"
    assert not answer.receive_data(b"HTTP/1.1 200 OK\r\n\r\nhello", 1)
    assert answer.connection_closed() == ""
    sized = Answer()
    sized.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 1)
    assert sized.connection_closed() == "closed mid-answer"


def test_a_head_without_end_is_an_error():
    with pytest.raises(WireError):
        Answer().receive_data(b"x" * 70_000, 1)
