"""Pure. API keys: how they are made and under what they are stored.

A key is looked up by its digest in a dict. That lookup is not constant in time, and need not be: what an attacker
could learn byte by byte is the digest, and without the secret he cannot choose keys with a digest he wants. This is
why the digest is keyed and the key itself is never compared (`hmac.compare_digest` in a loop over all keys would
protect the same thing at O(keys) per request, which a flood of invalid keys could turn into work).

A fast hash is right here although it is wrong for passwords: a generated key has 256 random bits, so nobody guesses
it, however cheap a guess. BLAKE2b keyed is a MAC by construction (RFC 7693 §2.9) and takes 1 µs.
"""

import hashlib
import secrets

DIGEST_BYTES = 16  # 2^-64 for an accidental collision even among four billion keys
SECRET_BYTES = 32
KEY_PREFIX = "mr_"  # lets secret scanners recognise a leaked key


def digest_key(secret: bytes, key: bytes) -> bytes:
    """16 bytes. `key` is whatever the caller sent, of any length; `secret` is the data directory's."""
    return hashlib.blake2b(key, key=secret, digest_size=DIGEST_BYTES).digest()


def generate_key() -> str:
    """`mr_` and 43 URL-safe characters: 256 bits from the system."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def generate_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)
