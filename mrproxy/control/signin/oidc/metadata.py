"""Pure. What a provider says about itself at `/.well-known/openid-configuration`, as far as we need and believe it.

It must call itself what the configuration calls it, to the letter (Discovery 1.0 §4.3), or one provider could speak
in another's name. Its addresses are https, on this machine http as well.
"""

from urllib.parse import urlsplit

import msgspec

from mrproxy.config.tables import LOOPBACK

# Signatures by a private key that only the provider has. With `HS256` the client's own secret would sign, and `none`
# does not sign at all.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")


class MetadataRefused(Exception):
    """The message is for an administrator."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Names as in Discovery 1.0 §3, RFC 8414 and RFC 9207. Whatever else is there is not read."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False

    @property
    def says_iss(self) -> bool:
        return self.authorization_response_iss_parameter_supported

    @property
    def takes_basic(self) -> bool:
        return "client_secret_basic" in self.token_endpoint_auth_methods_supported


def discovery_url(issuer: str) -> str:
    """Discovery 1.0 §4.1: the path of the issuer stays in front."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def read_metadata(document: bytes, issuer: str) -> Metadata:
    """Raises MetadataRefused."""
    try:
        metadata = msgspec.json.decode(document, type=Metadata)
    except msgspec.MsgspecError as exc:
        raise MetadataRefused(f"what it says about itself cannot be read: {exc}") from exc
    if metadata.issuer != issuer:
        raise MetadataRefused(f"it calls itself {metadata.issuer[:200]!r}")
    for url in (
        metadata.authorization_endpoint,
        metadata.token_endpoint,
        metadata.jwks_uri,
        metadata.userinfo_endpoint,
    ):
        if url is not None and not is_safe(url):
            raise MetadataRefused(f"{url[:200]!r} is no https URL")
    return metadata


def is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_here = parts.scheme == "http" and parts.hostname in LOOPBACK
    return bool(parts.hostname) and (parts.scheme == "https" or is_here) and parts.username is None
