"""Where requests come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.accept.proxied import networks_of, origin_of

TRUSTED = networks_of("10.0.0.0/8, 2001:db8::1 192.0.2.1")
FOR, PROTO = b"x-forwarded-for", b"x-forwarded-proto"


def origin(peer: str, *headers: tuple[bytes, bytes], is_tls: bool = False) -> tuple[str, bool]:
    return origin_of(peer, is_tls, headers, TRUSTED)


@pytest.mark.parametrize("is_tls", [True, False])
def test_a_stranger_says_what_he_likes(is_tls: bool) -> None:
    said = ((FOR, b"10.0.0.9"), (PROTO, b"https"))
    assert origin("198.51.100.7", *said, is_tls=is_tls) == ("198.51.100.7", is_tls)


def test_nobody_is_trusted_unless_configured() -> None:
    assert origin_of("127.0.0.1", False, [(FOR, b"198.51.100.7"), (PROTO, b"https")], ()) == ("127.0.0.1", False)


@pytest.mark.parametrize(
    ("passed", "address"),
    [
        ([], "10.0.0.1"),
        ([b"198.51.100.7"], "198.51.100.7"),
        ([b"203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ([b"203.0.113.9, 198.51.100.7, 10.1.1.1"], "198.51.100.7"),
        ([b"203.0.113.9", b"198.51.100.7,10.1.1.1"], "198.51.100.7"),
        ([b"10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        ([b"198.51.100.7:4711"], "198.51.100.7"),
        ([b"[2001:db8::5]:4711"], "2001:db8::5"),
        ([b"2001:DB8::0005"], "2001:db8::5"),
        ([b"::ffff:198.51.100.7"], "198.51.100.7"),
        ([b"198.51.100.7, unknown"], "10.0.0.1"),
        ([b"198.51.100.7, \xff"], "10.0.0.1"),
        ([b"198.51.100.7, "], "10.0.0.1"),
    ],
)
def test_the_last_stranger_counts(passed: list[bytes], address: str) -> None:
    assert origin("10.0.0.1", *((FOR, each) for each in passed))[0] == address


@pytest.mark.parametrize(
    ("said", "is_tls"), [(b"https", True), (b"HTTPS", True), (b"http", False), (b"https, http", False)]
)
def test_the_nearest_proxy_knows_how_the_client_came(said: bytes, is_tls: bool) -> None:
    assert origin("::ffff:10.0.0.1", (PROTO, said), is_tls=not is_tls)[1] is is_tls


def test_a_proxy_that_does_not_say_it_was_tls_says_it_was_not() -> None:
    assert origin("10.0.0.1", is_tls=True) == ("10.0.0.1", False)


@given(st.lists(st.binary(max_size=30)), st.binary(max_size=20))
def test_whatever_is_said_there_is_an_address(passed: list[bytes], proto: bytes) -> None:
    address, _ = origin("10.0.0.1", *((FOR, each) for each in passed), (PROTO, proto))
    assert "\n" not in address
    assert address.isascii()
