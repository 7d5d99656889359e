"""Pure. Cookies: their names, what stands in them, and how a forged one is told before anybody is asked.

    session   a random token, signed; 64 hex digits made of it are the row's id
    csrf      what a page's script must repeat in a header (`csrf.py`); the only one that scripts can read
    device    who signed in on this device before (`throttle.py`)
    form      before signing in: what the form of the sign-in page belongs to
    flow      before signing in: a visit to an OpenID Connect provider (`oidc/flow.py`)

Over TLS their names begin with `__Host-`: a browser then takes them from this very host and over TLS only, so that a
neighbour's page or a man in the middle cannot plant one (RFC 6265bis §4.1.3.2). Without TLS the plain names are read,
never both, so that a planted plain one is not looked at where the other kind is used.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from itsdangerous import BadSignature, Signer

from mrproxy.control.signin.derived import DerivedKeys, tag

Header = tuple[str, str]

MAX_CHARACTERS = 3_000  # browsers keep 4,096 bytes of one, name and attributes included (RFC 6265 §6.1)


class Kind(enum.StrEnum):
    SESSION = "session"
    CSRF = "csrf"
    DEVICE = "device"
    FORM = "form"
    FLOW = "flow"


SIGNED = frozenset({Kind.SESSION, Kind.DEVICE, Kind.FORM, Kind.FLOW})


@dataclass(frozen=True, slots=True)
class Jar:
    """The cookies of one request and its answer. `is_secure`: it came by TLS, or cookies shall be as if."""

    keys: DerivedKeys
    is_secure: bool

    def name(self, kind: Kind) -> str:
        return f"__Host-mrproxy_{kind}" if self.is_secure else f"mrproxy_{kind}"

    def read(self, kind: Kind, cookies: Mapping[str, str]) -> str | None:
        """What was put in, if it was put in by us."""
        found = cookies.get(self.name(kind), "")
        if not found or len(found) > MAX_CHARACTERS or not found.isascii():
            return None
        if kind not in SIGNED:
            return found
        try:
            return self._signer(kind).unsign(found).decode()
        except BadSignature:
            return None

    def put(self, kind: Kind, value: str, max_age_seconds: float) -> Header:
        """`value` is of letters, digits and `-_.~`. A header for the answer."""
        text = self._signer(kind).sign(value).decode() if kind in SIGNED else value
        return self._header(kind, text, int(max_age_seconds))

    def drop(self, kind: Kind) -> Header:
        return self._header(kind, "", 0)

    def _signer(self, kind: Kind) -> Signer:
        return Signer(self.keys.cookie, salt=kind.encode(), digest_method=sha256)

    def _header(self, kind: Kind, text: str, max_age: int) -> Header:
        attributes = [f"{self.name(kind)}={text}", "Path=/", f"Max-Age={max_age}", "SameSite=Lax"]
        attributes += [] if kind is Kind.CSRF else ["HttpOnly"]
        attributes += ["Secure"] if self.is_secure else []
        return "Set-Cookie", "; ".join(attributes)


def session_id(keys: DerivedKeys, token: str) -> str:
    """The row's id. Who reads the table, or a backup of it, cannot make a cookie of what he finds."""
    return tag(keys.session_id, token)
