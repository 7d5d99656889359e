"""ID tokens: signatures of several kinds; who claims make somebody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from mrproxy.config import Oidc
from mrproxy.control.signin.oidc.claims import (
    ClaimsRefused,
    Expected,
    KeyUnknown,
    group_of,
    lacks,
    person_of,
    read_keys,
    verified_email,
    verify_id_token,
    with_userinfo,
)

NOW = 1_800_000_000
ISSUER = "https://id.example"
EXPECTED = Expected(ISSUER, "gateway", "nonce", NOW)
CLAIMS = {"iss": ISSUER, "aud": "gateway", "sub": "1", "exp": NOW + 60, "iat": NOW, "nonce": "nonce"}
RSA = RSAKey.generate_key(2048, {"kid": "r"})
EC = ECKey.generate_key("P-256", {"kid": "e"})
CONFIG = Oidc(name="uni", issuer=ISSUER, client_id="gateway")


def signed(key: Key, algorithm: str, **header: str) -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid or "", **header}, dict(CLAIMS), key, [algorithm])


def published(*keys: Key) -> tuple[Key, ...]:
    return read_keys({"keys": [key.as_dict(private=False) for key in keys]})


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")], ids=["RS256", "PS256", "ES256"]
)
def test_signatures_of_the_usual_kinds_are_verified(key: Key, algorithm: str) -> None:
    assert verify_id_token(signed(key, algorithm), published(RSA, EC), EXPECTED)["sub"] == "1"


def test_a_key_of_another_kind_does_not_fit_though_it_has_the_name() -> None:
    with pytest.raises(KeyUnknown):
        verify_id_token(signed(RSA, "RS256", kid="e"), published(RSA, EC), EXPECTED)


def test_a_key_that_is_for_another_algorithm_does_not_fit() -> None:
    bound = {**RSA.as_dict(private=False), "alg": "RS512"}
    with pytest.raises(KeyUnknown):
        verify_id_token(signed(RSA, "RS256"), read_keys({"keys": [bound]}), EXPECTED)


def test_a_published_secret_is_no_key() -> None:
    secret = OctKey.generate_key(256, {"kid": "o"})
    assert published(secret) == ()
    encrypting = {**RSA.as_dict(private=False), "use": "enc"}
    assert read_keys({"keys": [encrypting, {"kty": "RSA"}, {"kty": "new"}, 7, None]}) == ()


@pytest.mark.parametrize("document", [None, [], {}, {"keys": 7}, "keys"])
def test_what_is_no_set_has_no_keys(document: object) -> None:
    assert read_keys(document) == ()


def test_a_minutes_difference_of_clocks_is_forgiven() -> None:
    token, keys = signed(RSA, "RS256"), published(RSA)
    for now in (NOW - 59, NOW + 119):
        assert verify_id_token(token, keys, Expected(ISSUER, "gateway", "nonce", now))
    for now in (NOW - 61, NOW + 121):
        with pytest.raises(ClaimsRefused):
            verify_id_token(token, keys, Expected(ISSUER, "gateway", "nonce", now))


@given(st.text(st.sampled_from("eyJhbGciOiJub25lIn0.-_=\n"), max_size=80))
def test_no_text_is_a_token_by_accident(text: str) -> None:
    with pytest.raises(ClaimsRefused):
        verify_id_token(text, published(RSA), EXPECTED)


def test_a_token_that_is_too_long_is_not_read() -> None:
    with pytest.raises(ClaimsRefused, match="too long"):
        verify_id_token("a" * 100_001, (), EXPECTED)


def test_somebody_is_called_as_the_provider_says() -> None:
    claims = {"sub": "1", "preferred_username": "jane", "name": "Jane", "email": "j@x.edu", "email_verified": True}
    person = person_of(claims, CONFIG)
    assert (person.name, person.full_name, person.email, person.subject) == ("jane", "Jane", "j@x.edu", "1")
    assert person_of({**claims, "preferred_username": "  "}, CONFIG).name == "j@x.edu"
    assert person_of({"sub": "1", "name": 7, "preferred_username": []}, CONFIG).name == "uni-1"


@pytest.mark.parametrize(
    ("is_verified", "found"), [(True, "a@x"), ("true", "a@x"), (False, None), ("false", None), (None, None), (1, None)]
)
def test_only_a_verified_address_counts(is_verified: object, found: str | None) -> None:
    assert verified_email({"email": "a@x", "email_verified": is_verified}) == found
    assert verified_email({"email_verified": True}) is None


@pytest.mark.parametrize(
    ("claims", "group"),
    [
        ({"roles": ["b", "a"]}, "first"),
        ({"roles": "b"}, "second"),
        ({"roles": []}, None),
        ({"roles": {"b": 1}}, None),
        ({}, None),
    ],
)
def test_the_first_row_that_fits_is_the_group(claims: dict[str, object], group: str | None) -> None:
    config = Oidc(name="u", issuer=ISSUER, client_id="c", group_claim="roles", group_map={"a": "first", "b": "second"})
    assert group_of(claims, config) == group


def test_a_claim_may_lie_deeper_or_have_dots_in_its_name() -> None:
    config = Oidc(name="u", issuer=ISSUER, client_id="c", group_claim="https://x.y/r", group_map={"a": "g"})
    assert group_of({"https://x.y/r": ["a"]}, config) == "g"
    assert group_of({"https://x": {"y/r": ["a"]}}, config) == "g"


def test_userinfo_adds_and_does_not_replace() -> None:
    assert with_userinfo({"sub": "1", "a": 1}, {"sub": "1", "a": 2, "b": 3}) == {"sub": "1", "a": 1, "b": 3}
    for other in ({"sub": "2"}, {}, [], None):
        with pytest.raises(ClaimsRefused):
            with_userinfo({"sub": "1"}, other)


def test_userinfo_is_asked_for_what_is_missing() -> None:
    full = {"sub": "1", "email": "x", "preferred_username": "y"}
    assert not lacks(full, CONFIG)
    assert lacks({"sub": "1"}, CONFIG)
    assert lacks(full, Oidc(name="u", issuer=ISSUER, client_id="c", group_claim="groups"))
