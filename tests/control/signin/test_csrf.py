"""Which requests were meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from mrproxy.control.signin.csrf import (
    form_token_of,
    is_form_token_of,
    is_from_here,
    is_own_host,
    is_token_of,
    token_of,
)
from mrproxy.control.signin.derived import derive_keys

KEYS = derive_keys(b"s" * 32)


def test_a_token_is_good_with_its_own_session_only() -> None:
    token = token_of(KEYS, "mine")
    assert is_token_of(token, KEYS, "mine")
    assert not is_token_of(token, KEYS, "another")
    assert not is_token_of(token, derive_keys(b"t" * 32), "mine")
    assert not is_token_of("", KEYS, "mine")


def test_a_forms_token_is_no_sessions_token() -> None:
    assert is_form_token_of(form_token_of(KEYS, "n"), KEYS, "n")
    assert not is_token_of(form_token_of(KEYS, "n"), KEYS, "n")
    assert not is_form_token_of(token_of(KEYS, "n"), KEYS, "n")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://llm.example"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Origin": "https://llm.example"},
        {"Origin": "http://llm.example"},
        {"Origin": "https://llm.example:443"},
        {"Referer": "https://llm.example/admin/users?x=1"},
    ],
)
def test_our_own_pages_and_programs_are_from_here(headers: dict[str, str]) -> None:
    assert is_from_here(Headers({"Host": "llm.example", **headers}))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://llm.example"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "what?"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "https://llm.example.evil.example"},
        {"Origin": "https://sub.llm.example"},
        {"Origin": "https://llm.example:8443"},
        {"Origin": "https://llm.example@evil.example"},
        {"Origin": "https://[::1"},
        {"Origin": "llm.example"},
        {"Referer": "https://evil.example/?https://llm.example/"},
        {"Referer": "https://llm.example\\@evil.example/"},
    ],
)
def test_other_pages_are_not(headers: dict[str, str]) -> None:
    assert not is_from_here(Headers({"Host": "llm.example", **headers}))


def test_a_port_that_is_not_the_usual_one_must_be_the_same() -> None:
    assert is_own_host("http://127.0.0.1:8000", "127.0.0.1:8000")
    assert not is_own_host("http://127.0.0.1:8001", "127.0.0.1:8000")
    assert not is_own_host("http://127.0.0.1", "127.0.0.1:8000")


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_raises(url: str, host: str) -> None:
    assert is_own_host(url, host) in (True, False)
