"""Answers that are not relayed: heads that h11 can read, and the headers that refusals owe."""

from dataclasses import dataclass

import h11
import pytest

from mrproxy.answers import answer_lines, encode_answer, encode_engine_refusal, encode_refusal
from mrproxy.dialects.ollama import OLLAMA
from mrproxy.dialects.openai import OPENAI
from mrproxy.errors import ClientError, Code, ProxyError, Refused


def read(data: bytes, method: bytes = b"GET") -> tuple[int, dict[bytes, bytes], bytes]:
    """(status, headers, body) as h11 reads them; an answer that is not complete fails."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    head = connection.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data[0] == b""
    return head.status_code, dict(head.headers), body


def test_an_answer_tells_its_type_and_length() -> None:
    assert read(encode_answer(200, b"text/plain", b"hi", b"x-a: 1\r\n")) == (
        200,
        {b"content-type": b"text/plain", b"content-length": b"2", b"x-a": b"1"},
        b"hi",
    )


def test_head_gets_the_length_and_no_body() -> None:
    answer = encode_answer(200, b"text/plain", b"hi", b"", has_body=False)
    assert read(answer, b"HEAD") == (200, {b"content-type": b"text/plain", b"content-length": b"2"}, b"")


def test_no_content_has_no_length() -> None:
    assert read(encode_answer(204, b"", b"", b"allow: GET\r\n")) == (204, {b"allow": b"GET"}, b"")


@pytest.mark.parametrize(
    ("keep_alive", "http10", "connection"),
    [(True, False, None), (True, True, b"keep-alive"), (False, False, b"close"), (False, True, b"close")],
)
def test_the_connections_future_is_told_where_it_is_not_the_default(
    keep_alive: bool, http10: bool, connection: bytes | None
) -> None:
    lines = answer_lines(b"id-1", b"x-ratelimit-limit-requests: 5\r\n", None, keep_alive=keep_alive, http10=http10)
    _, headers, _ = read(encode_answer(200, b"", b"", lines))
    assert (headers[b"x-request-id"], headers[b"x-ratelimit-limit-requests"]) == (b"id-1", b"5")
    assert headers.get(b"connection") == connection
    assert b"access-control-allow-origin" not in headers


def test_a_browser_may_read_the_answer_and_our_headers() -> None:
    lines = answer_lines(b"id-1", b"", b"http://a", keep_alive=True, http10=False)
    _, headers, _ = read(encode_answer(200, b"", b"", lines))
    assert headers[b"access-control-allow-origin"] == b"http://a"
    assert b"x-request-id" in headers[b"access-control-expose-headers"]


@pytest.mark.parametrize("dialect", [OPENAI, OLLAMA])
@pytest.mark.parametrize("code", Code)
def test_every_refusal_is_a_whole_answer_in_the_callers_dialect(code: Code, dialect: type) -> None:
    error = ProxyError(code, "no")
    status, headers, body = read(encode_refusal(error, dialect, b"id-1", b"x-request-id: id-1\r\n"))
    assert (status, headers[b"content-type"]) == (error.status, b"application/json")
    assert body == dialect.encode_error(error, b"id-1")
    assert (b"www-authenticate" in headers) == (status == 401)
    assert (b"retry-after" in headers) == (status in (429, 503))


@pytest.mark.parametrize(("seconds", "told"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.01, b"2"), (59.9, b"60")])
def test_waiting_times_are_told_in_whole_seconds_never_too_short(seconds: float, told: bytes) -> None:
    error = Refused(Code.REQUEST_LIMIT, "no", retry_after_seconds=seconds)
    assert read(encode_refusal(error, OPENAI, b"id-1", b""))[1][b"retry-after"] == told


def test_a_refusals_own_headers_are_sent() -> None:
    error = ClientError(Code.METHOD_NOT_ALLOWED, "no", headers=((b"allow", b"GET"),))
    status, headers, body = read(encode_refusal(error, OPENAI, b"id-1", b"", has_body=False), b"HEAD")
    assert (status, headers[b"allow"], body) == (405, b"GET", b"")


@dataclass
class Kept:
    """An engine's error answer."""

    engine_status: int = 422
    content_type: bytes = b""
    body: bytes = b'{"error":"x"}'
    retry_after_seconds: float | None = None


def test_an_engines_refusal_comes_as_it_was() -> None:
    status, headers, body = read(encode_engine_refusal(Kept(content_type=b"text/plain"), b"x-a: 1\r\n"))
    assert (status, headers[b"content-type"], headers[b"x-a"], body) == (422, b"text/plain", b"1", b'{"error":"x"}')
    assert b"retry-after" not in headers


def test_an_engine_that_is_busy_says_for_how_long() -> None:
    _, headers, _ = read(encode_engine_refusal(Kept(engine_status=429, retry_after_seconds=2.5), b""))
    assert (headers[b"retry-after"], headers[b"content-type"]) == (b"3", b"application/json")
