"""Pure. Access tokens of `/v0/auth`: JSON Web Tokens, HS256, under a key that signs nothing else.

A token is only as good as its session row, which `jti` names: signing out, a new role or a new password end it at
once. So its claims are for reading; what counts is asked from the database each time.

Strictness (RFC 8725): one algorithm and one type, whatever the header says, so that neither `none` nor a public key
used as a secret gets anywhere; every claim must be there, of its type, and its time must be right.
Source: RFC 7519 §4.1, §7.2; RFC 7515 §5.2.
"""

from base64 import urlsafe_b64decode
from dataclasses import dataclass

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry

ALGORITHM = "HS256"
_HEADER = {"alg": ALGORITHM, "typ": "JWT"}
ISSUER = "mrproxy"
LIFETIME_SECONDS = 86_400
LEEWAY_SECONDS = 30  # one machine wrote it, but its clock may have been set back
MAX_CHARACTERS = 2_000

_NO_CLAIM = "a claim is missing or has a wrong value"


class TokenRefused(Exception):
    """The reason is for the log and for tests; a caller learns only that his token is not valid."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """`session` is the id of the row; `subject` the user's uuid."""

    subject: str
    role: str
    session: str
    issued_utc: int
    expires_utc: int


def looks_like_token(credential: str) -> bool:
    """A bearer is a token or an API key; keys have no dots, tokens have two (RFC 7515 §3.1)."""
    return credential.count(".") == 2


def issue_token(key: bytes, claims: TokenClaims) -> str:
    body = {
        "iss": ISSUER,
        "sub": claims.subject,
        "role": claims.role,
        "jti": claims.session,
        "iat": claims.issued_utc,
        "exp": claims.expires_utc,
    }
    return jwt.encode(_HEADER, body, OctKey.import_key(key), [ALGORITHM])


def verify_token(key: bytes, token: str, now_utc: float) -> TokenClaims:
    """Raises TokenRefused."""
    if len(token) > MAX_CHARACTERS or not token.isascii():
        raise TokenRefused("no token of ours is that long or has such characters")
    if _header_of(token) != _HEADER:  # before joserfc, which believes what a header says of itself (`crit`, a number)
        raise TokenRefused("the header is not one of ours")
    try:
        found = jwt.decode(token, OctKey.import_key(key), [ALGORITHM], JWSRegistry(algorithms=[ALGORITHM]))
    except (JoseError, ValueError, RecursionError) as exc:
        raise TokenRefused(str(exc)) from exc
    return checked(found.claims, now_utc)


def _header_of(token: str) -> object:
    try:
        return msgspec.json.decode(urlsafe_b64decode(token.partition(".")[0] + "=="))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def checked(claims: dict[str, object], now_utc: float) -> TokenClaims:
    match claims:
        case {
            "iss": str(issuer),
            "sub": str(subject),
            "role": str(role),
            "jti": str(session),
            "iat": int(issued_utc),
            "exp": int(expires_utc),
        } if issuer == ISSUER and subject and session:
            pass
        case _:
            raise TokenRefused(_NO_CLAIM)
    if isinstance(claims["iat"], bool) or isinstance(claims["exp"], bool):
        raise TokenRefused(_NO_CLAIM)
    if issued_utc > now_utc + LEEWAY_SECONDS:
        raise TokenRefused("it was issued in the future")
    if expires_utc <= now_utc:
        raise TokenRefused("it has expired")
    if expires_utc - issued_utc > LIFETIME_SECONDS:
        raise TokenRefused("it lives longer than any of ours")
    return TokenClaims(subject, role, session, issued_utc, expires_utc)
