"""What a provider says about itself."""

import json

import pytest

from mrproxy.control.signin.oidc.metadata import MetadataRefused, discovery_url, is_safe, read_metadata

ISSUER = "https://login.microsoftonline.com/0000/v2.0"
ENTRA = {  # as of 2026-02, shortened
    "issuer": ISSUER,
    "authorization_endpoint": "https://login.microsoftonline.com/0000/oauth2/v2.0/authorize",
    "token_endpoint": "https://login.microsoftonline.com/0000/oauth2/v2.0/token",
    "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
    "jwks_uri": "https://login.microsoftonline.com/0000/discovery/v2.0/keys",
    "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
    "claims_supported": ["sub", "iss"],
}


def read(**changes: object) -> object:
    return read_metadata(json.dumps(ENTRA | changes).encode(), ISSUER)


def test_the_document_is_where_discovery_says() -> None:
    assert (
        discovery_url("https://accounts.google.com") == "https://accounts.google.com/.well-known/openid-configuration"
    )
    assert discovery_url(f"{ISSUER}/") == f"{ISSUER}/.well-known/openid-configuration"


def test_entras_words_are_understood() -> None:
    metadata = read_metadata(json.dumps(ENTRA).encode(), ISSUER)
    assert (metadata.takes_basic, metadata.says_iss) == (True, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"},
        {"issuer": f"{ISSUER}/"},
        {"token_endpoint": "http://login.microsoftonline.com/token"},
        {"jwks_uri": "https://user@evil.example/keys"},
        {"userinfo_endpoint": "ftp://x"},
        {"jwks_uri": None},
        {"authorization_endpoint": 7},
    ],
)
def test_what_is_not_the_providers_or_not_safe_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MetadataRefused):
        read(**changes)


@pytest.mark.parametrize("document", [b"", b"[]", b"<html>", b"\xff", b'{"issuer": 1}'])
def test_what_is_no_document_is_refused(document: bytes) -> None:
    with pytest.raises(MetadataRefused):
        read_metadata(document, ISSUER)


@pytest.mark.parametrize("url", ["https://x/y", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]:2/"])
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert is_safe(url)


@pytest.mark.parametrize("url", ["http://x", "https://", "//x", "", "https://[x", "javascript:x"])
def test_everything_else_is_not_safe(url: str) -> None:
    assert not is_safe(url)
