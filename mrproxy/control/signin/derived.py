"""Pure. One key for each purpose, derived from the data directory's secret: what signs cookies signs nothing else.

HKDF with SHA-256 (RFC 5869), the purpose as `info`. The secret has 256 random bits, so no salt is needed (§3.1).
Changing the number in a purpose retires everything that was signed for it; replacing the secret retires all of it.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256

from mrproxy.storage.secrets import subkey


@dataclass(frozen=True, slots=True, repr=False)
class DerivedKeys:
    """`repr` is the default one of objects: keys do not belong into tracebacks."""

    cookie: bytes
    csrf: bytes
    device: bytes
    flow: bytes
    session_id: bytes
    token: bytes


def derive_keys(secret: bytes) -> DerivedKeys:
    return DerivedKeys(
        cookie=subkey(secret, "session cookie 1"),
        csrf=subkey(secret, "csrf token 1"),
        device=subkey(secret, "device cookie 1"),
        flow=subkey(secret, "sign-in flow 1"),
        session_id=subkey(secret, "session id 1"),
        token=subkey(secret, "access token HS256 1"),
    )


def tag(key: bytes, *parts: str) -> str:
    """A MAC over the parts as 64 hex digits; lengths are in it, so that no two lists of parts look alike."""
    message = b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)
    return hmac.new(key, message, sha256).hexdigest()


def is_tag(found: str, key: bytes, *parts: str) -> bool:
    """In constant time. `found` may be anything."""
    return hmac.compare_digest(found.encode("utf-8", "surrogatepass"), tag(key, *parts).encode())
