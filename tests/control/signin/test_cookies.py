"""Cookies: what was put in comes out, and nothing that somebody else put in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.signin.cookies import SIGNED, Jar, Kind, session_id
from mrproxy.control.signin.derived import derive_keys

KEYS = derive_keys(b"s" * 32)
SAFE, PLAIN = Jar(KEYS, True), Jar(KEYS, False)
SAFE_TEXT = st.text(st.sampled_from("abcXYZ019-_~."), min_size=1, max_size=80)


def sent_back(header: tuple[str, str]) -> dict[str, str]:
    """What a browser sends of a Set-Cookie header."""
    assert header[0] == "Set-Cookie"
    name, _, value = header[1].partition(";")[0].partition("=")
    return {name: value}


@given(SAFE_TEXT, st.sampled_from(Kind), st.booleans())
def test_what_is_put_in_comes_out(value: str, kind: Kind, is_secure: bool) -> None:
    jar = Jar(KEYS, is_secure)
    assert jar.read(kind, sent_back(jar.put(kind, value, 10))) == value


def test_over_tls_a_cookie_is_for_this_host_and_tls_alone() -> None:
    _, line = SAFE.put(Kind.SESSION, "x", 3600.5)
    name, *attributes = line.split("; ")
    assert name.startswith("__Host-mrproxy_session=x.")
    assert attributes == ["Path=/", "Max-Age=3600", "SameSite=Lax", "HttpOnly", "Secure"]


def test_without_tls_it_is_not_called_so() -> None:
    _, line = PLAIN.put(Kind.SESSION, "x", 3600)
    assert line.startswith("mrproxy_session=x.")
    assert "Secure" not in line


def test_only_the_csrf_token_is_for_scripts() -> None:
    readable = {kind for kind in Kind if "HttpOnly" not in SAFE.put(kind, "x", 1)[1]}
    assert readable == {Kind.CSRF} == set(Kind) - SIGNED


def test_a_cookie_that_was_planted_without_tls_is_not_read_over_tls() -> None:
    planted = sent_back(PLAIN.put(Kind.SESSION, "x", 10))
    assert PLAIN.read(Kind.SESSION, planted) == "x"
    assert SAFE.read(Kind.SESSION, planted) is None


@pytest.mark.parametrize("kind", sorted(SIGNED))
def test_a_cookie_of_another_kind_or_key_is_none(kind: Kind) -> None:
    value = next(iter(sent_back(SAFE.put(kind, "x", 10)).values()))
    for other in SIGNED - {kind}:
        assert SAFE.read(other, {SAFE.name(other): value}) is None
    assert Jar(derive_keys(b"t" * 32), True).read(kind, {SAFE.name(kind): value}) is None


@given(st.text(max_size=100), st.sampled_from(sorted(SIGNED)))
def test_a_forged_cookie_is_none(value: str, kind: Kind) -> None:
    assert SAFE.read(kind, {SAFE.name(kind): value}) is None


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_a_changed_cookie_is_none(position: int, replacement: str) -> None:
    value = next(iter(sent_back(SAFE.put(Kind.SESSION, "token-of-ada", 10)).values()))
    position %= len(value)
    changed = value[:position] + replacement + value[position + 1 :]
    found = SAFE.read(Kind.SESSION, {SAFE.name(Kind.SESSION): changed})
    assert found is None or changed == value or position == len(value) - 1  # base64's last character has spare bits


def test_a_dropped_cookie_is_empty_and_over() -> None:
    assert SAFE.drop(Kind.DEVICE)[1].startswith("__Host-mrproxy_device=; Path=/; Max-Age=0;")


def test_the_row_of_a_session_does_not_tell_its_token() -> None:
    found = session_id(KEYS, "token")
    assert len(found) == 64
    assert found != session_id(derive_keys(b"t" * 32), "token") != session_id(KEYS, "token2")
