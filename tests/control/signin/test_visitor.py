"""What a request tells of who sends it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from mrproxy.control.api.actor import ActorKind
from mrproxy.control.signin.cookies import Kind, session_id
from mrproxy.control.signin.derived import derive_keys
from mrproxy.control.signin.visitor import cookies_of, device_cookie, visitor_of

KEYS = derive_keys(b"s" * 32)


@pytest.mark.parametrize(
    ("setting", "proto", "is_secure"),
    [
        ("auto", "https", True),
        ("auto", "http", False),
        ("auto", "", False),
        ("always", "http", True),
        ("never", "https", False),
    ],
)
def test_cookies_are_for_tls_as_the_setting_says(setting: str, proto: str, is_secure: bool) -> None:
    assert visitor_of(Headers({"X-Forwarded-Proto": proto}), KEYS, setting).jar.is_secure is is_secure


def test_a_visitor_is_nobody_yet() -> None:
    headers = Headers({"X-Forwarded-For": "192.0.2.1", "X-Request-Id": "r-1", "User-Agent": "curl"})
    visitor = visitor_of(headers, KEYS, "auto")
    assert (visitor.actor.kind, visitor.actor.address, visitor.actor.request_id) == (
        ActorKind.ANONYMOUS,
        "192.0.2.1",
        "r-1",
    )
    assert (visitor.user_agent, visitor.cookie_session, visitor.device_of("ada")) == ("curl", None, None)


def test_a_device_is_known_for_one_user() -> None:
    jar = visitor_of(Headers(), KEYS, "never").jar
    line = jar.put(Kind.DEVICE, device_cookie(KEYS, "nonce", "ada"), 10)[1].partition(";")[0]
    visitor = visitor_of(Headers({"Cookie": line}), KEYS, "never")
    assert visitor.device_of("ada") == "nonce"
    assert visitor.device_of("root") is None
    assert "ada" not in line


def test_a_session_is_named_by_what_its_cookie_holds() -> None:
    jar = visitor_of(Headers(), KEYS, "never").jar
    line = jar.put(Kind.SESSION, "token", 10)[1].partition(";")[0]
    visitor = visitor_of(Headers({"Cookie": f"other=1; {line}"}), KEYS, "never")
    assert visitor.cookie_session == session_id(KEYS, "token")


def test_of_two_cookies_of_a_name_the_first_counts() -> None:
    assert cookies_of('a=1; b="2";a=3; c=x=y;;d') == {"a": "1", "b": "2", "c": "x=y", "": "", "d": ""}


@given(st.text())
def test_any_line_of_cookies_is_read(line: str) -> None:
    assert all(isinstance(value, str) for value in cookies_of(line).values())
