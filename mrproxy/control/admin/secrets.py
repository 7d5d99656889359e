"""Shell. Passwords that are set and keys that are made: hashed here, in a worker thread, before a transaction begins.

A key is kept as a keyed digest, to be found by, and as an Argon2id hash; it is shown once, in the answer that made it.
"""

from dataclasses import dataclass
from typing import Any

from mrproxy.control.api.call import Call
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.control.signin.password_policy import why_not
from mrproxy.control.signin.passwords import TooBusy
from mrproxy.identity.digest import digest_key, generate_key

PREFIX_CHARACTERS = 10  # of which three are `mr_`: 42 random bits of 256


@dataclass(frozen=True, slots=True)
class MadeKey:
    """`key` is the secret itself."""

    key: str
    digest: str
    prefix: str
    hash: str


async def hashed_password(call: Call[Any, Any], password: str, *names: str) -> str:
    """Raises Problem for one that nobody should have, and when too many are hashed at the moment."""
    if reason := why_not(password, *names):
        raise Problem("invalid", reason, errors=(Detail("/password", reason),))
    return await hashed(call, password)


async def made_key(call: Call[Any, Any]) -> MadeKey:
    """Raises Problem when too many are made at the moment."""
    key = generate_key()
    return MadeKey(key, digest_of(call, key), key[:PREFIX_CHARACTERS], await hashed(call, key))


def digest_of(call: Call[Any, Any], secret: str) -> str:
    return digest_key(call.plane.secret, secret.encode("utf-8", "replace")).hex()


async def hashed(call: Call[Any, Any], secret: str) -> str:
    try:
        return await call.plane.passwords.hash(secret)
    except TooBusy as exc:
        raise Problem("unavailable", "Too many secrets are hashed at the moment.", retry_seconds=2) from exc
