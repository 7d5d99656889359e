"""Request heads with what follows from them, and the claim that a kept head never answers for another one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.accept.heads import Head, HeadCache, find_credential
from mrproxy.canonical.request import Operation
from mrproxy.dialects.routes import Way
from mrproxy.errors import ClientError
from mrproxy.wire.http1 import parse_request_head
from tests.fuzzing import fuzz, mutated

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"


def find(cache: HeadCache, raw: bytes, max_headers: int = 100, max_target_bytes: int = 8192) -> tuple[Head, int]:
    head, length = cache.find(raw, max_headers, max_target_bytes)
    cache.keep(head)
    return head, length


def credential(*lines: bytes) -> bytes | None:
    return find_credential(parse_request_head(POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n", 100))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), None),
        ((b"Authorization: Bearer mr_abc",), b"mr_abc"),
        ((b"authorization: bearer   mr_abc  ",), b"mr_abc"),
        ((b"Authorization: Bearer",), None),
        ((b"Authorization: Bearer ",), None),
        ((b"Authorization: Basic bXI6",), None),
        ((b"Authorization: mr_abc",), None),
        ((b"X-API-Key: mr_abc",), b"mr_abc"),
        ((b"x-api-key: mr_abc ",), b"mr_abc"),
        ((b"X-API-Key:",), None),
        ((b"X-API-Key: other", b"Authorization: Bearer mr_abc"), b"mr_abc"),
        ((b"Authorization: Basic bXI6", b"X-API-Key: mr_abc"), b"mr_abc"),
        ((b"Authorization: Bearer", b"X-API-Key: mr_abc"), b"mr_abc"),
    ],
)
def test_the_key_is_taken_from_either_header(lines: tuple[bytes, ...], expected: bytes | None) -> None:
    assert credential(*lines) == expected


def test_the_key_is_never_taken_from_the_url() -> None:
    raw = b"POST /v1/chat/completions?api_key=mr_abc HTTP/1.1\r\nHost: a\r\n\r\n"
    assert find(HeadCache(), raw)[0].credential is None


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        (b"abc-123_x/y+z=.:", True),
        (b"abc-123", True),
        (b"a" * 128, True),
        (b"a" * 129, False),
        (b"", False),
        (b"a b", False),
    ],
)
def test_a_harmless_request_id_is_kept(given_id: bytes, kept: bool) -> None:
    head, _ = find(HeadCache(), POST + b"X-Request-Id: " + given_id + b"\r\n\r\n")
    assert head.request_id == (given_id if kept else None)


def test_a_head_is_routed_with_what_routing_needs() -> None:
    head, length = find(HeadCache(), POST + b"Origin: http://b\r\nContent-Type: application/json\r\n\r\n")
    assert (head.route.way, head.origin, head.content_type, length) == (Way.RELAY, b"http://b", b"application/json", -1)
    browser, _ = find(HeadCache(), b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n")
    assert browser.route.way is Way.CONTROL


def test_a_backend_never_sees_the_prefix_of_anthropics_paths() -> None:
    raw = b"POST /anthropic/v1/messages?beta=true HTTP/1.1\r\nHost: a\r\n\r\n"
    head, _ = find(HeadCache(), raw)
    assert (head.http.relative, head.route.operation) == (b"/v1/messages?beta=true", Operation.MESSAGES)


@pytest.mark.parametrize("lines", [b"", b"Anthropic-Version: 2024-01-01\r\n"])
def test_a_request_in_anthropics_dialect_always_has_a_version(lines: bytes) -> None:
    head, _ = find(HeadCache(), b"POST /v1/messages HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    forwarded = head.http.forward.lower()
    assert forwarded.count(b"anthropic-version: ") == 1
    assert (b"anthropic-version: 2024-01-01" in forwarded) is bool(lines)
    other, _ = find(HeadCache(), POST + b"\r\n")
    assert b"anthropic-version" not in other.http.forward


@pytest.mark.parametrize(
    ("path", "value", "is_checked"),
    [
        ("/v1/chat/completions", "1", True),
        ("/v1/chat/completions", "true", True),
        ("/v1/messages", "1", True),
        ("/v1/responses", "1", True),
        ("/api/chat", "1", True),
        ("/v1/chat/completions", "0", False),
        ("/v1/completions", "1", False),
        ("/v1/embeddings", "1", False),
        ("/v1/messages/count_tokens", "1", False),
    ],
)
def test_chats_may_have_their_output_checked(path: str, value: str, is_checked: bool) -> None:
    raw = f"POST {path} HTTP/1.1\r\nHost: a\r\nX-MrProxy-Validate: {value}\r\nX-Api-Key: k\r\n\r\n".encode()
    head, _ = find(HeadCache(), raw)
    assert head.is_checked is is_checked
    assert not (head.is_checked and head.is_plain)


@pytest.mark.parametrize(
    ("line", "is_plain"),
    [
        ("POST /v1/chat/completions", True),
        ("POST /v1/completions", True),
        ("POST /v1/embeddings", True),
        ("POST /v1/messages", True),
        ("POST /anthropic/v1/messages", True),
        ("POST /api/chat", True),
        ("POST /api/embed", True),
        ("POST /v1/responses", False),
        ("POST /v1/messages/count_tokens", False),
        ("POST /api/show", False),
        ("GET /v1/models", False),
    ],
)
def test_what_needs_to_be_kept_or_made_up_is_not_plain(line: str, is_plain: bool) -> None:
    head, _ = find(HeadCache(), f"{line} HTTP/1.1\r\nHost: a\r\nX-Api-Key: k\r\nContent-Length: 5\r\n\r\n".encode())
    assert head.is_plain is is_plain


def form_head(*kinds: bytes, path: bytes = b"/v1/audio/transcriptions") -> bytes:
    lines = b"".join(b"Content-Type: %b\r\n" % kind for kind in kinds)
    return b"POST %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n%bContent-Length: 9\r\n\r\n" % (path, lines)


FORM = b"multipart/form-data; boundary=abc"


@pytest.mark.parametrize(
    ("kinds", "boundary"),
    [
        ((FORM,), b"abc"),
        ((b"application/json",), None),
        ((), None),
        ((FORM, FORM), None),
        ((FORM, b"text/plain"), None),
    ],
)
def test_a_form_has_the_one_boundary_that_is_said_once(kinds: tuple[bytes, ...], boundary: bytes | None) -> None:
    head, _ = find(HeadCache(), form_head(*kinds))
    assert (head.takes_form, head.boundary) == (True, boundary)


def test_a_form_where_none_is_wanted_has_no_boundary() -> None:
    head, _ = find(HeadCache(), form_head(FORM, path=b"/v1/chat/completions"))
    assert (head.takes_form, head.boundary, head.is_plain) == (False, None, False)


def test_the_head_of_a_form_is_not_kept_because_its_boundary_does_not_come_again() -> None:
    cache = HeadCache()
    assert find(cache, form_head(FORM))[0] is not find(cache, form_head(FORM))[0]


def test_a_repeated_head_is_the_kept_one_with_its_own_length() -> None:
    cache = HeadCache()
    first, first_length = find(cache, POST + b"Content-Length: 5\r\n\r\n")
    second, second_length = find(cache, POST + b"Content-Length: 4711\r\n\r\n")
    assert second is first
    assert (first_length, second_length) == (5, 4711)


def test_a_head_is_kept_only_when_its_caller_is_known() -> None:
    cache = HeadCache()
    raw = POST + b"Content-Length: 5\r\n\r\n"
    stranger, _ = cache.find(raw, 100, 8192)
    known, _ = cache.find(raw, 100, 8192)
    assert known is not stranger
    cache.keep(known)
    assert cache.find(raw, 100, 8192)[0] is known


def test_forgotten_heads_are_read_anew() -> None:
    cache = HeadCache()
    raw = POST + b"\r\n"
    first, _ = find(cache, raw)
    cache.forget()
    assert find(cache, raw)[0] is not first


def test_heads_of_spans_do_not_push_out_those_that_repeat() -> None:
    cache = HeadCache()
    first, _ = find(cache, POST + b"\r\n")
    for number in range(1, 3000):
        find(cache, POST + b"traceparent: 00-%032x-%016x-01\r\n\r\n" % (number, number))
    assert find(cache, POST + b"\r\n")[0] is first


def test_the_cache_does_not_grow_without_end_and_keeps_no_long_heads() -> None:
    cache = HeadCache()
    first, _ = find(cache, POST + b"\r\n")
    for number in range(2100):
        find(cache, POST + b"X-Trace: %d\r\n\r\n" % number)
    assert find(cache, POST + b"\r\n")[0] is not first
    long = POST + b"Cookie: " + b"c" * 5000 + b"\r\n\r\n"
    assert find(cache, long)[0] is not find(cache, long)[0]


def test_limits_are_checked() -> None:
    with pytest.raises(ClientError) as caught:
        find(HeadCache(), POST + b"X: y\r\n\r\n", max_headers=1)
    assert (caught.value.status, caught.value.closes) == (431, True)
    with pytest.raises(ClientError) as caught:
        find(HeadCache(), POST + b"\r\n", max_target_bytes=10)
    assert (caught.value.status, caught.value.closes) == (414, True)


def test_a_head_without_digits_is_refused_even_when_its_key_is_kept() -> None:
    cache = HeadCache()
    find(cache, POST + b"Content-Length: 5\r\n\r\n")
    for value in (b"", b" ", b"+5", b"5,5", b"0x5", b"5 5", b"9" * 25):
        with pytest.raises(ClientError):
            find(cache, POST + b"Content-Length: " + value + b"\r\n\r\n")


_EXAMPLES = [
    POST + b"Content-Length: 5\r\nAuthorization: Bearer a\r\n\r\n",
    POST + b"content-length: 5\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n",
    POST + b"\r\n",
]
_SNIPPETS = [
    b"5", b"0", b"+", b",", b" ", b"\t", b"\r", b"\r\n", b"Content-Length: 6\r\n", b"content-length: 6\r\n",
    b"Content-Length: \r\n", b"Transfer-Encoding: chunked\r\n", b"X:", b"Host: b\r\n",
]  # fmt: skip


def _outcome(cache: HeadCache, raw: bytes) -> tuple[object, ...]:
    try:
        head, length = find(cache, raw)
    except ClientError as error:
        return (error.status, error.message)
    http = head.http
    return (length, http.method, http.target, http.forward, http.chunked, http.keep_alive, head.credential, head.route)


@fuzz(30)
@given(st.lists(st.sampled_from(_EXAMPLES) | mutated(_EXAMPLES, _SNIPPETS), min_size=1, max_size=6))
def test_a_kept_head_never_answers_for_one_that_reads_differently(heads: list[bytes]) -> None:
    """Invariant: whatever came before, a head has the outcome that it has in an empty cache."""
    cache = HeadCache()
    for raw in [raw[: raw.find(b"\r\n\r\n") + 4] for raw in heads + heads]:
        assert _outcome(cache, raw) == _outcome(HeadCache(), raw)
