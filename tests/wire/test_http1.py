"""Heads: the smuggling corpus, h11 as the oracle (what it rejects we reject), and what may be kept of a head."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.errors import ClientError
from mrproxy.wire.http1 import (
    PLAIN_RESPONSE,
    Repetition,
    RequestHead,
    parse_request_head,
    parse_response_head,
    split_length,
)
from tests.fuzzing import fuzz, mutated

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"


def parse(raw: bytes) -> RequestHead:
    return parse_request_head(raw, 100)


def refusal(raw: bytes) -> ClientError:
    with pytest.raises(ClientError) as caught:
        parse(raw)
    return caught.value


SMUGGLING = {
    "CL.TE": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "CL.TE, other case": POST + b"content-length: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n",
    "CL 0 and TE": POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two equal lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "two lengths in two spellings": POST + b"Content-Length: 5\r\ncontent-length: 6\r\n\r\n",
    "length list": POST + b"Content-Length: 5, 5\r\n\r\n",
    "length list of two": POST + b"Content-Length: 5,6\r\n\r\n",
    "length +5": POST + b"Content-Length: +5\r\n\r\n",
    "length -5": POST + b"Content-Length: -5\r\n\r\n",
    "length 0x5": POST + b"Content-Length: 0x5\r\n\r\n",
    "length 5.0": POST + b"Content-Length: 5.0\r\n\r\n",
    "length 5e0": POST + b"Content-Length: 5e0\r\n\r\n",
    "length 1_0": POST + b"Content-Length: 1_0\r\n\r\n",
    "length 5 5": POST + b"Content-Length: 5 5\r\n\r\n",
    "length in other digits": POST + "Content-Length: ٥\r\n\r\n".encode(),
    "length empty": POST + b"Content-Length: \r\n\r\n",
    "length nothing": POST + b"Content-Length:\r\n\r\n",
    "length beyond 64 bits": POST + b"Content-Length: 18446744073709551621\r\n\r\n",
    "length with NUL": POST + b"Content-Length: 5\x00\r\n\r\n",
    "TE twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "TE identity, then chunked": POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
    "TE chunked, then identity": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "TE xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "TE chunkedx": POST + b"Transfer-Encoding: chunkedx\r\n\r\n",
    "TE quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n',
    "TE list": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "TE list, chunked first": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "TE chunked chunked": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "TE comma after": POST + b"Transfer-Encoding: chunked,\r\n\r\n",
    "TE comma before": POST + b"Transfer-Encoding: ,chunked\r\n\r\n",
    "TE parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n",
    "TE identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "TE empty": POST + b"Transfer-Encoding:\r\n\r\n",
    "TE vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    "TE form feed": POST + b"Transfer-Encoding: chunked\x0c\r\n\r\n",
    "TE NUL": POST + b"Transfer-Encoding: chun\x00ked\r\n\r\n",
    "TE Kelvin sign": POST + "Transfer-Encoding: chun\u212aed\r\n\r\n".encode(),
    "TE space before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n",
    "TE tab before colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n",
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
    "TE folded name": POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n",
    "TE in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "length, space before colon": POST + b"Content-Length : 5\r\n\r\n",
    "length, space before name": POST + b" Content-Length: 5\r\n\r\n",
    "obs-fold": POST + b"X: y\r\n z\r\n\r\n",
    "obs-fold by tab": POST + b"X: y\r\n\tz\r\n\r\n",
    "obs-fold of the first line": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF between headers": POST + b"X: y\nContent-Length: 5\r\n\r\n",
    "bare LF in a value": POST + b"X: y\nz\r\n\r\n",
    "bare CR in a value": POST + b"X: y\rContent-Length: 5\r\n\r\n",
    "bare CR after the request line": b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    "CR CR LF": POST + b"X: y\r\r\n\r\n",
    "leading CR": b"\r" + GET + b"\r\n",
    "NUL in a value": POST + b"X: y\x00z\r\n\r\n",
    "NUL in a name": POST + b"X\x00: y\r\n\r\n",
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "control byte in a value": POST + b"X: y\x01\r\n\r\n",
    "DEL in a value": POST + b"X: y\x7f\r\n\r\n",
    "empty name": POST + b": y\r\n\r\n",
    "no colon": POST + b"X\r\n\r\n",
    "name with a parenthesis": POST + b"X(: y\r\n\r\n",
    "name beyond ASCII": POST + "Ä: y\r\n\r\n".encode(),
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: b\r\n\r\n",
    "two equal Hosts": GET + b"host: a\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces before the version": b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    "space after the version": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "leading space": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab for a space": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab in the target": b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
    "target beyond ASCII": "GET /ä HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "target without a slash": b"GET v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk with GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "ftp": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP in small letters": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "RTSP": b"OPTIONS / RTSP/1.0\r\nHost: a\r\n\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n",
    "version 01.1": b"GET / HTTP/01.1\r\nHost: a\r\n\r\n",
    "version 1.10": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("raw", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_ambiguous_framing_is_refused_and_the_connection_closed(raw: bytes) -> None:
    error = refusal(raw)
    assert error.status in (400, 501)
    assert error.closes


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (POST + b"Expect: the unexpected\r\n\r\n", 417),
        (GET + b"X: y\r\n" * 100 + b"\r\n", 431),
        (GET, 400),
    ],
)
def test_what_is_not_offered_is_said_by_its_own_status(raw: bytes, status: int) -> None:
    error = refusal(raw)
    assert (error.status, error.closes) == (status, True)


def test_as_many_headers_as_allowed_are_accepted() -> None:
    assert len(parse(GET + b"X: y\r\n" * 99 + b"\r\n").headers) == 100


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/v1/models", b"/v1/models", b""),
        (b"/v1/models?a=/b?c", b"/v1/models", b"a=/b?c"),
        (b"/?", b"/", b""),
        (b"http://a/v1/models?b=c", b"/v1/models", b"b=c"),
        (b"HTTPS://u:p@a:90", b"/", b""),
        (b"http://a?b=/v1/models", b"/", b"b=/v1/models"),
        (b"//a/b", b"//a/b", b""),
    ],
)
def test_targets_in_origin_and_absolute_form(target: bytes, path: bytes, query: bytes) -> None:
    head = parse(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    assert (head.target, head.path, head.query) == (target, path, query)
    assert head.relative == (path + b"?" + query if query else path)


def test_one_empty_line_before_a_request_is_skipped() -> None:
    assert parse(b"\r\n" + GET + b"\r\n").path == b"/v1/models"
    assert refusal(b"\r\n\r\n" + GET + b"\r\n").status == 400


def test_options_for_the_whole_server_is_accepted() -> None:
    assert parse(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").path == b"*"


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: X-A, Close\r\n", False),
        (b"1.1", b"Connection: keep-alive\r\nConnection: close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_connections_stay_as_their_version_says(version: bytes, connection: bytes, stays: bool) -> None:
    assert parse(b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, connection)).keep_alive is stays


def test_lengths_and_codings_are_read() -> None:
    assert parse(GET + b"\r\n").content_length == -1
    assert parse(POST + b"Content-Length: 007 \r\n\r\n").content_length == 7
    assert parse(POST + b"Transfer-Encoding:\tChUnKeD \r\n\r\n").chunked
    assert parse(POST + b"Expect: 100-Continue \r\nContent-Length: 5\r\n\r\n").expects_continue
    assert not parse(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue


def test_an_upgrade_is_one_only_if_the_connection_says_so() -> None:
    assert parse(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n").upgrade == b"websocket"
    assert parse(GET + b"Upgrade: websocket\r\n\r\n").upgrade is None


def test_white_space_around_values_is_no_part_of_them() -> None:
    head = parse(GET + b"X-Api-Key: \t key \t\r\nX-Empty: \r\n\r\n")
    assert (head.get(b"x-api-key"), head.get(b"x-empty"), head.get(b"x-none")) == (b"key", b"", None)


def test_backends_get_neither_credentials_nor_hop_by_hop_headers() -> None:
    dropped = (
        b"Authorization: Bearer a\r\nX-API-Key: b\r\nCookie: c\r\nTE: trailers\r\nTrailer: x\r\nKeep-Alive: 1\r\n"
        b"Connection: X-Private, close\r\nX-Private: d\r\nProxy-Authorization: e\r\nProxy-Connection: close\r\n"
        b"Accept-Encoding: br\r\nContent-Length: 5\r\nExpect: 100-continue\r\nX-Request-Id: f\r\nUpgrade: h2c\r\n"
    )
    head = parse(POST + dropped + b"Accept: */*\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n")
    assert head.forward == b"accept: */*\r\nx-two: 1\r\nx-two: 2\r\n"


# Keeping heads


@pytest.mark.parametrize("line", [b"Content-Length: 512", b"content-length: 512"])
def test_the_digits_of_a_length_are_cut_out(line: bytes) -> None:
    raw = POST + line + b"\r\nX: y\r\n\r\n"
    assert split_length(raw) == (raw.replace(b"512", b""), 512)


@pytest.mark.parametrize(
    "value", [b"", b" ", b"+5", b"5 ", b" 5", b"5,5", b"0x5", b"-1", b"1" * 16, b"\xb2", b"5\n", b"1_0"]
)
def test_a_head_whose_length_is_not_plain_digits_is_never_kept(value: bytes) -> None:
    assert split_length(POST + b"Content-Length: " + value + b"\r\n\r\n") == (b"", -1)


def test_a_head_without_a_length_is_its_own_key() -> None:
    assert split_length(GET + b"\r\n") == (GET + b"\r\n", -1)
    folded_case = POST + b"CONTENT-LENGTH: 5\r\n\r\n"
    assert split_length(folded_case) == (folded_case, -1)


_LENGTH_LINES = st.sampled_from(
    [
        b"",
        b"Content-Length: 5\r\n",
        b"Content-Length: 17\r\n",
        b"content-length: 5\r\n",
        b"Content-Length: \r\n",
        b"Content-Length:5\r\n",
        b"CONTENT-LENGTH: 5\r\n",
        b"Content-Length: +5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X-A: Content-Length: 5\r\n",
        b"X-A: \r\n",
        b"X-A:\rContent-Length: 5\r\n",
    ]
)


@fuzz(50)
@given(lines=st.lists(_LENGTH_LINES, max_size=3), digits=st.from_regex(rb"[0-9]{1,15}", fullmatch=True))
def test_heads_with_one_key_differ_in_plain_digits_only(lines: list[bytes], digits: bytes) -> None:
    """Invariant: whatever parses under a key parses alike with any other digits in their place."""
    raw = POST + b"".join(lines) + b"\r\n"
    key, length = split_length(raw)
    if length < 0:
        return
    marker = b"\r\nContent-Length: " if b"\r\nContent-Length: " in raw else b"\r\ncontent-length: "
    place = raw.index(marker) + len(marker)
    other = key[:place] + digits + key[place:]
    assert split_length(other) == (key, int(digits))
    first, second = _parsed(raw), _parsed(other)
    if isinstance(first, RequestHead):
        assert isinstance(second, RequestHead)
        assert (first.content_length, second.content_length) == (length, int(digits))
        assert first.forward == second.forward
    else:
        assert first == second


def _parsed(raw: bytes) -> RequestHead | int:
    """The head, or the status of its refusal."""
    try:
        return parse(raw)
    except ClientError as error:
        return error.status if error.closes else 0


@fuzz(30)
@given(
    data=mutated([POST + b"Content-Length: 12\r\nX: y\r\n\r\n{}"], [b"1", b"\r", b"\r\n", b" ", b"x"]),
    cut=st.integers(0, 200),
)
def test_a_repetition_is_what_would_be_parsed(data: bytes, cut: int) -> None:
    """Invariant: what `match` recognises is a head that parses, of that size and with that length."""
    start, length = Repetition(POST + b"Content-Length: 12\r\nX: y\r\n\r\n").match(data[:cut] if cut < 90 else data)
    if start:
        head = parse(data[:start])
        assert data.index(b"\r\n\r\n") + 4 == start
        assert head.content_length == length


def test_a_repetition_with_another_length_is_recognised() -> None:
    raw = POST + b"content-length: 12\r\nX: y\r\n\r\n"
    other = raw.replace(b"12", b"4711")
    assert Repetition(raw).match(other + b"{}") == (len(other), 4711)
    for stranger in (b"", raw[:-1], raw.replace(b"12", b""), raw.replace(b"12", b"+1"), raw.replace(b"y", b"z")):
        assert Repetition(raw).match(stranger) == (0, 0)


# h11 as the oracle

_VALID = [
    GET + b"\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    POST + b"Content-Length: 5\r\nContent-Type: application/json\r\nAuthorization: Bearer mr_abc\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nAccept: */*\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
]
_SNIPPETS = [
    b" ", b"\t", b"\r", b"\n", b"\r\n", b"\x00", b"\x0b", b"\x7f", b"\xff", b":", b",", b";", b"0", b"+", b"-", b"_",
    b"/", b"?", b"#", b"*", b"A", b"HTTP/1.1", b"HTTP/1.0", b"Host: b\r\n", b"Content-Length: 6\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b" chunked",
    b"chunked", b"\r\n ", b"http://a",
]  # fmt: skip


def _h11_reads(raw: bytes) -> h11.Request | str:
    """The request, or why there is none."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return str(error)
    return event if isinstance(event, h11.Request) else "incomplete"


def _without_coding(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """h11 writes codings in lower case."""
    return [(bytes(name), bytes(value)) for name, value in headers if name != b"transfer-encoding"]


@fuzz(100)
@given(mutated(_VALID, _SNIPPETS))
def test_what_h11_rejects_we_reject(data: bytes) -> None:
    """Invariant: an accepted head is accepted by h11, which then sees the same method, target and headers."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return
    raw = data[: end + 4]
    head, theirs = _parsed(raw), _h11_reads(raw.removeprefix(b"\r\n"))  # h11 knows no empty line before a request
    if isinstance(head, int) or (theirs == "bad Content-Length" and head.content_length >= 0):
        return  # h11 takes 20 digits; to us leading zeros change nothing, and the body's limit refuses the rest
    assert isinstance(theirs, h11.Request), theirs
    assert (theirs.method, theirs.target) == (head.method, head.target)
    assert _without_coding(list(theirs.headers)) == _without_coding(head.headers)


@pytest.mark.parametrize("raw", _VALID)
def test_valid_heads_are_accepted_by_both(raw: bytes) -> None:
    parse(raw)
    assert isinstance(_h11_reads(raw), h11.Request)


@fuzz(30)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_refusal(data: bytes) -> None:
    """Invariant: ClientError that closes, or a head; nothing else ever comes out."""
    assert _parsed(data + b"\r\n\r\n") != 0


# Answers

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        OK + b"Content-Length:\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"X: y\r\n z\r\n\r\n",
        OK + b"X: y\rz\r\n\r\n",
        OK + b"X: y\nz\r\n\r\n",
        OK + b"X : y\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        OK,
        b"",
    ],
)
def test_malformed_answer_heads_are_errors(raw: bytes) -> None:
    with pytest.raises(ValueError):
        parse_response_head(raw)


@pytest.mark.parametrize(
    ("raw", "length", "chunked", "reusable"),
    [
        (OK + b"Content-Length: 5\r\n\r\n", 5, False, True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", -1, True, True),
        (OK + b"\r\n", -1, False, False),
        (OK + b"Content-Length: 5\r\nConnection: close\r\n\r\n", 5, False, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 5, False, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", 5, False, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 0, False, True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 0, False, True),
    ],
)
def test_answers_are_framed_as_their_heads_say(raw: bytes, length: int, chunked: bool, reusable: bool) -> None:
    head = parse_response_head(raw)
    assert (head.content_length, head.chunked, head.reusable) == (length, chunked, reusable)


def test_callers_see_neither_a_backends_cookies_nor_its_name() -> None:
    raw = OK + b"Server: uvicorn\r\nSet-Cookie: a=b\r\nContent-Type: Text/Event-Stream\r\nX-A: 1\r\n\r\n"
    head = parse_response_head(raw)
    assert head.forward == b"content-type: Text/Event-Stream\r\nx-a: 1\r\n"
    assert (head.content_type, head.get(b"x-a"), head.get(b"x-b")) == (b"text/event-stream", b"1", None)
    assert b"set-cookie: a=b\r\n" in parse_response_head(raw, PLAIN_RESPONSE).forward


def test_a_switch_of_protocols_is_recognised() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    assert parse_response_head(raw).upgrade


def test_a_request_has_one_id_and_it_is_ours_whatever_the_backend_calls_its_own() -> None:
    assert parse_response_head(OK + b"X-Request-Id: a\r\nRequest-Id: req_b\r\n\r\n").forward == b""
