"""Tokens: what is issued is accepted, and nothing else."""

import base64
import hashlib
import hmac
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from mrproxy.control.signin.tokens import (
    LEEWAY_SECONDS,
    LIFETIME_SECONDS,
    TokenClaims,
    TokenRefused,
    issue_token,
    looks_like_token,
    verify_token,
)

KEY = b"k" * 32
NOW = 1_800_000_000
CLAIMS = TokenClaims("uuid-of-ada", "admin", "session-row", NOW, NOW + LIFETIME_SECONDS)
BODY = {"iss": "mrproxy", "sub": "u", "role": "admin", "jti": "s", "iat": NOW, "exp": NOW + 100}


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged(header: Mapping[str, object], body: object, key: bytes = KEY) -> str:
    """Signed with HMAC whatever the header says."""
    signed = f"{part(header)}.{part(body)}"
    signature = base64.urlsafe_b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    return f"{signed}.{signature.rstrip('=')}"


def refused(token: str, now_utc: float = NOW) -> str:
    with pytest.raises(TokenRefused) as caught:
        verify_token(KEY, token, now_utc)
    return str(caught.value)


def test_what_is_issued_is_accepted_until_it_expires() -> None:
    token = issue_token(KEY, CLAIMS)
    assert looks_like_token(token)
    assert verify_token(KEY, token, NOW) == CLAIMS
    assert verify_token(KEY, token, NOW + LIFETIME_SECONDS - 1) == CLAIMS
    assert "expired" in refused(token, NOW + LIFETIME_SECONDS)


def test_a_token_is_a_plain_jwt_that_others_can_read() -> None:
    header, body, _ = issue_token(KEY, CLAIMS).split(".")
    padded = [text + "=" * (-len(text) % 4) for text in (header, body)]
    assert json.loads(base64.urlsafe_b64decode(padded[0])) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(padded[1]))["sub"] == "uuid-of-ada"


def test_the_forgery_of_these_tests_is_accepted_with_the_right_key_only() -> None:
    header = {"alg": "HS256", "typ": "JWT"}
    assert verify_token(KEY, forged(header, BODY), NOW).subject == "u"
    refused(forged(header, BODY, b"another key of thirty-two bytes!"))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "x", "AAAA"])
def test_no_algorithm_is_no_signature(algorithm: str, signature: str) -> None:
    refused(f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(BODY)}.{signature}")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256"])
def test_another_algorithm_in_the_header_is_refused_though_the_mac_is_right(algorithm: str) -> None:
    refused(forged({"alg": algorithm, "typ": "JWT"}, BODY))


def test_a_token_signed_with_a_private_key_is_refused() -> None:
    key = RSAKey.generate_key(2048)
    refused(jwt.encode({"alg": "RS256"}, dict(BODY), key, ["RS256"]))


def test_a_public_key_as_the_secret_is_refused() -> None:
    public = generate_private_key(65537, 2048).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    refused(forged({"alg": "HS256", "typ": "JWT"}, BODY, pem))


def test_a_key_that_the_token_brings_along_is_not_used() -> None:
    theirs = OctKey.import_key(b"t" * 32)
    header = {"alg": "HS256", "typ": "JWT", "jwk": theirs.as_dict(private=True), "kid": "../../dev/null"}
    refused(forged(header, BODY, b"t" * 32))
    assert "header" in refused(forged(header, BODY))


@pytest.mark.parametrize("header", [{"typ": "at+jwt"}, {"typ": "JOSE"}, {"typ": "JWT", "crit": ["exp"]}, {}])
def test_another_type_is_refused_though_the_mac_is_right(header: dict[str, object]) -> None:
    refused(forged({"alg": "HS256", **header}, BODY))


@pytest.mark.parametrize(
    "header", [{"crit": 1}, {"crit": None}, {"crit": [[]]}, {"b64": 1, "crit": "b64"}, [], 1, "x", None]
)
def test_a_header_that_a_library_would_stumble_over_is_refused(header: object) -> None:
    for one in (header, {"alg": "HS256", "typ": "JWT", **header} if isinstance(header, dict) else header):
        refused(f"{part(one)}.{part(BODY)}.AAAA")
    refused("eyJ.e30.AAAA")
    refused("A.e30.AAAA")
    refused("%%.e30.AAAA")


@pytest.mark.parametrize("name", BODY)
@pytest.mark.parametrize("value", [None, [], {}, True, 1.5, "", "absent"])
def test_a_claim_that_is_missing_or_of_a_wrong_type_is_refused(name: str, value: object) -> None:
    if name == "role" and isinstance(value, str):
        return  # a word like any other: what somebody may do, the database says
    if name in ("sub", "jti") and value == "absent":
        value = None
    body = {key: each for key, each in BODY.items() if key != name}
    refused(forged({"alg": "HS256", "typ": "JWT"}, body))
    refused(forged({"alg": "HS256", "typ": "JWT"}, body | {name: value}))


def test_a_token_from_the_future_is_refused_beyond_the_leeway() -> None:
    assert verify_token(KEY, issue_token(KEY, CLAIMS), NOW - LEEWAY_SECONDS) == CLAIMS
    assert "future" in refused(issue_token(KEY, CLAIMS), NOW - LEEWAY_SECONDS - 1)


def test_a_token_that_would_live_for_ever_is_refused() -> None:
    refused(issue_token(KEY, replace(CLAIMS, expires_utc=NOW + LIFETIME_SECONDS + 1)))


@pytest.mark.parametrize("body", [[], "text", 1, None])
def test_a_payload_that_is_no_object_is_refused(body: object) -> None:
    refused(forged({"alg": "HS256", "typ": "JWT"}, body))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "a" * 5000, f"{'[' * 900}.x.y"])
def test_garbage_is_refused(token: str) -> None:
    refused(token)


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_a_changed_character_is_noticed(position: int, replacement: str) -> None:
    token = issue_token(KEY, CLAIMS)
    position %= len(token)
    changed = token[:position] + replacement + token[position + 1 :]
    with warnings.catch_warnings(action="error"):
        try:
            found = verify_token(KEY, changed, NOW)
        except TokenRefused:
            return
    # The last character of base64 carries bits that mean nothing.
    assert changed == token or position == len(token) - 1
    assert found == CLAIMS


@given(st.text(st.sampled_from("aAzZ09-_.=eyJ{}\n"), max_size=60))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    refused(text)
