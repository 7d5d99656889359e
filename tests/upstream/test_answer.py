"""Answer heads: kept ones never answer for others, and what the caller gets can be read."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.exchange import Exchange
from mrproxy.upstream.answer import AnswerCache, answer_head, is_page, status_line
from mrproxy.wire.http1 import PLAIN_RESPONSE
from tests.fuzzing import fuzz, mutated

OK = b"HTTP/1.1 200 OK\r\n"


def test_a_repeated_head_is_the_kept_one_with_its_own_length() -> None:
    cache = AnswerCache()
    first, first_length = cache.find(OK + b"content-length: 5\r\n\r\n")
    second, second_length = cache.find(OK + b"content-length: 4711\r\n\r\n")
    assert second is first
    assert (first_length, second_length) == (5, 4711)


def test_an_answer_without_a_body_has_none_however_often_it_comes() -> None:
    cache = AnswerCache()
    for _ in range(3):
        assert cache.find(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")[1] == 0
        assert cache.find(b"HTTP/1.1 204 No Content\r\n\r\n")[1] == 0
    assert cache.find_repeated(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n") == (None, 0, 0)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"text/html", True),
        (b"Text/HTML; charset=utf-8", True),
        (b"application/xhtml+xml", True),
        (b"application/xml", True),
        (b"application/json", False),
        (b"application/x-ndjson", False),
        (b"text/event-stream; charset=utf-8", False),
        (b"text/plain", False),
        (b"audio/mpeg", False),
    ],
)
def test_a_page_is_known_by_its_type_and_never_recognised(content_type: bytes, expected: bool) -> None:
    cache = AnswerCache()
    raw = OK + b"content-length: 2\r\ncontent-type: %b\r\n\r\n" % content_type
    answer, _ = cache.find(raw)
    assert is_page(answer) is expected
    assert (cache.find_repeated(raw + b"{}")[0] is None) is expected


def test_an_answer_without_a_type_is_no_page() -> None:
    assert not is_page(AnswerCache().find(OK + b"content-length: 2\r\n\r\n")[0])


def test_the_last_head_is_recognised_in_front_of_its_body() -> None:
    cache = AnswerCache()
    raw = OK + b"content-length: 2\r\nx-a: 1\r\n\r\n"
    assert cache.find_repeated(raw + b"{}") == (None, 0, 0)
    answer, _ = cache.find(raw)
    assert cache.find_repeated(raw + b"{}") == (answer, len(raw), 2)
    assert cache.find_repeated(raw.replace(b"2", b"31", 1)[:-1] + b"\n{}")[0] is None
    assert cache.find_repeated(raw[:-1])[0] is None


def test_an_error_is_not_what_is_expected_to_repeat() -> None:
    cache = AnswerCache()
    raw = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n"
    cache.find(raw)
    assert cache.find_repeated(raw + b"{}")[0] is None


def test_the_cache_does_not_grow_without_end() -> None:
    cache = AnswerCache()
    first, _ = cache.find(OK + b"content-length: 5\r\n\r\n")
    for number in range(300):
        cache.find(OK + b"content-length: 5\r\ndate: %d\r\n\r\n" % number)
    assert cache.find(OK + b"content-length: 5\r\n\r\n")[0] is not first


def test_what_the_caller_must_not_see_is_the_caches_choice() -> None:
    raw = OK + b"Set-Cookie: a=b\r\nServer: x\r\nContent-Length: 0\r\n\r\n"
    assert AnswerCache().find(raw)[0].start == OK
    assert AnswerCache(PLAIN_RESPONSE).find(raw)[0].start == OK + b"set-cookie: a=b\r\n"


_EXAMPLES = [
    OK + b"content-length: 5\r\ncontent-type: application/json\r\n\r\n",
    OK + b"Content-Length: 5\r\n\r\n",
    OK + b"transfer-encoding: chunked\r\n\r\n",
    OK + b"connection: close\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n",
]
_SNIPPETS = [
    b"5",
    b"0",
    b"+",
    b" ",
    b"\r",
    b"\r\n",
    b"3",
    b"content-length: 6\r\n",
    b"transfer-encoding: chunked\r\n",
    b",",
]


def _outcome(cache: AnswerCache, raw: bytes) -> tuple[object, ...] | str:
    try:
        answer, length = cache.find(raw)
    except ValueError as error:
        return str(error)
    head = answer.head
    return answer.start, length, head.status, head.chunked, head.reusable, head.content_type, head.upgrade


@fuzz(30)
@given(st.lists(st.sampled_from(_EXAMPLES) | mutated(_EXAMPLES, _SNIPPETS), min_size=1, max_size=6))
def test_a_kept_head_never_answers_for_one_that_reads_differently(heads: list[bytes]) -> None:
    """Invariant: whatever came before, a head has the outcome that it has in an empty cache."""
    cache = AnswerCache()
    for raw in [raw[: raw.find(b"\r\n\r\n") + 4] for raw in heads + heads]:
        answer, start, length = cache.find_repeated(raw)
        if answer is not None:
            assert start == len(raw)
            assert (answer.start, length) == _outcome(AnswerCache(), raw)[:2]
        assert _outcome(cache, raw) == _outcome(AnswerCache(), raw)


def test_the_callers_head_can_be_read_and_tells_where_the_time_went() -> None:
    exchange = Exchange(b"id-1", 10.0, "openai", "chat")
    exchange.queue_seconds, exchange.sent_at = 0.25, 10.5
    exchange.answer_lines = b"x-request-id: id-1\r\n"
    answer, _ = AnswerCache().find(OK + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n")
    head = answer_head(answer, b"content-length: 2\r\n", exchange, b"x-mrproxy-backend: gpu-1\r\n", 11.0)
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.receive_data(head + b"hi")
    event = connection.next_event()
    assert isinstance(event, h11.Response)
    assert dict(event.headers) == {
        b"content-type": b"text/plain",
        b"content-length": b"2",
        b"x-request-id": b"id-1",
        b"x-mrproxy-backend": b"gpu-1",
        b"server-timing": b"queue;dur=250.00, upstream;dur=500.00, proxy;dur=250.00",
    }


@pytest.mark.parametrize(
    ("status", "line"),
    [(200, b"200 OK"), (404, b"404 Not Found"), (499, b"499 "), (529, b"529 Overloaded"), (599, b"599 ")],
)
def test_status_lines_have_their_usual_words(status: int, line: bytes) -> None:
    assert status_line(status) == b"HTTP/1.1 " + line + b"\r\n"
