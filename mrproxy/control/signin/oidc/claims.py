"""Pure. An ID token: whether it is the provider's, for us and for this visit; and who it says somebody is.

The checks are those of OpenID Connect Core 1.0 §3.1.3.7, by authlib's `CodeIDToken`; the signature's algorithm is one
of ours, whatever the token's header wishes, and its key one of the provider's published ones.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from mrproxy.config import Oidc
from mrproxy.control.signin.oidc.metadata import ALGORITHMS

LEEWAY_SECONDS = 60
MAX_TOKEN_CHARACTERS = 100_000  # Entra lists up to 200 groups in one
MAX_SUBJECT_CHARACTERS = 255  # Core 1.0 §2
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}

Claims = Mapping[str, object]


class ClaimsRefused(Exception):
    """The reason is for the log."""


class KeyUnknown(ClaimsRefused):
    """No published key fits: perhaps they were published anew."""


@dataclass(frozen=True, slots=True)
class Person:
    """`email` only if the provider has verified it. `group` None: no row of the table fits."""

    issuer: str
    subject: str
    name: str
    full_name: str
    email: str | None
    group: str | None


@dataclass(frozen=True, slots=True)
class Expected:
    issuer: str
    client_id: str
    nonce: str
    now_utc: float
    access_token: str | None = None


def read_keys(document: object) -> tuple[Key, ...]:
    """Of a JWK Set (RFC 7517 §5): those that can be read and may sign. Others there may be of kinds yet to come."""
    listed = document.get("keys") if isinstance(document, dict) else None
    found = []
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("use", "sig") == "sig" and each.get("kty") in set(KEY_TYPES.values()):
            try:
                found.append(JWKRegistry.import_key(each))
            except (JoseError, ValueError, TypeError, KeyError):
                continue
    return tuple(found)


def verify_id_token(token: str, keys: Iterable[Key], expected: Expected) -> Claims:
    """Its claims. Raises ClaimsRefused; KeyUnknown where other keys might help."""
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        raise ClaimsRefused("the ID token is too long")
    header = header_of(token)
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise ClaimsRefused("the ID token is signed by no algorithm that we take")
    claims = signed_by(token, [each for each in keys if fits(each, header)], str(algorithm))
    check_claims(claims, header, expected)
    return claims


def header_of(token: str) -> dict[str, object]:
    try:
        header: dict[str, object] = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, RecursionError) as exc:
        raise ClaimsRefused(f"the ID token cannot be read: {exc}") from exc
    return header


def fits(key: Key, header: Mapping[str, object]) -> bool:
    """By id where the token names one, by kind always. A key that says its algorithm is for no other."""
    named, own = header.get("kid"), key.as_dict(private=False)
    same_kind = own.get("kty") == KEY_TYPES[str(header["alg"])[:2]]
    return same_kind and own.get("alg", header["alg"]) == header["alg"] and (named is None or own.get("kid") == named)


def signed_by(token: str, keys: list[Key], algorithm: str) -> dict[str, object]:
    if not keys:
        raise KeyUnknown("the ID token is signed by a key that the provider has not published")
    reason = ""
    for key in keys:
        try:
            return jwt.decode(token, key, [algorithm]).claims
        except (JoseError, ValueError, RecursionError) as exc:
            reason = str(exc)
    raise KeyUnknown(f"the ID token is not signed by the provider: {reason}")


def check_claims(claims: dict[str, object], header: dict[str, object], expected: Expected) -> None:
    wanted = {
        "iss": {"essential": True, "value": expected.issuer},
        "aud": {"essential": True, "value": expected.client_id},
        "sub": {"essential": True},
    }
    params = {"nonce": expected.nonce, "client_id": expected.client_id, "access_token": expected.access_token}
    token = CodeIDToken(claims, header, wanted, params)
    try:
        token.validate(int(expected.now_utc), LEEWAY_SECONDS)
    except (JoseError, ValueError, TypeError) as exc:
        raise ClaimsRefused(f"the ID token is not valid: {exc}") from exc
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS:
        raise ClaimsRefused("sub is no text, or too long")


def with_userinfo(claims: Claims, more: object) -> Claims:
    """What the ID token does not say, the UserInfo endpoint may; about the same person (Core 1.0 §5.3.2)."""
    if not isinstance(more, dict) or more.get("sub") != claims["sub"]:
        raise ClaimsRefused("the UserInfo endpoint speaks of somebody else")
    return {**more, **claims}


def lacks(claims: Claims, provider: Oidc) -> bool:
    """Whether it is worth asking the UserInfo endpoint."""
    wants_group = bool(provider.group_claim) and value_at(claims, provider.group_claim) is None
    return wants_group or "email" not in claims or provider.name_claim not in claims


def person_of(claims: Claims, provider: Oidc) -> Person:
    """Raises ClaimsRefused when the configuration does not want such people."""
    subject, email = str(claims["sub"]), verified_email(claims)
    domain = (email or "").rpartition("@")[2].lower()
    if provider.allowed_domains and domain not in provider.allowed_domains:
        raise ClaimsRefused("the address is not verified, or in no domain that is allowed")
    full_name = claims.get("name")
    names = (claims.get(provider.name_claim), email, f"{provider.name}-{subject}")
    return Person(
        issuer=provider.issuer,
        subject=subject,
        name=next(each for each in names if isinstance(each, str) and each.strip()),
        full_name=full_name if isinstance(full_name, str) else "",
        email=email,
        group=group_of(claims, provider),
    )


def verified_email(claims: Claims) -> str | None:
    """Some say `"true"` (Apple, Cognito)."""
    email, is_verified = claims.get("email"), claims.get("email_verified")
    if isinstance(email, str) and "@" in email and (is_verified is True or is_verified == "true"):
        return email
    return None


def group_of(claims: Claims, provider: Oidc) -> str | None:
    """The first row of the table whose value somebody has."""
    if not provider.group_claim:
        return None
    found = value_at(claims, provider.group_claim)
    values = {str(each) for each in found} if isinstance(found, list) else {str(found)}
    return next((group for value, group in provider.group_map.items() if value in values), None)


def value_at(claims: Claims, path: str) -> object:
    """The claim itself, or where dots lead: names with dots in them (`https://…/roles`) are tried first."""
    if path in claims:
        return claims[path]
    value: object = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
