"""Pure. Keys and their digests."""

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.identity.digest import DIGEST_BYTES, SECRET_BYTES, digest_key, generate_key, generate_secret


@given(st.binary(max_size=64), st.binary())
def test_the_digest_is_keyed_blake2b_of_sixteen_bytes(secret, key):
    assert digest_key(secret, key) == hashlib.blake2b(key, key=secret, digest_size=16).digest()
    assert len(digest_key(secret, key)) == DIGEST_BYTES


def test_another_secret_gives_another_digest():
    assert digest_key(b"a" * 32, b"key") != digest_key(b"b" * 32, b"key")


def test_generated_keys_are_recognisable_url_safe_and_distinct():
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"mr_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_secrets_are_long_and_distinct():
    assert len(generate_secret()) == SECRET_BYTES
    assert generate_secret() != generate_secret()
