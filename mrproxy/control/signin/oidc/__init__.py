"""Pure. Signing in at an OpenID Connect provider: the code flow with PKCE, as a confidential or public client.

authlib has the words of the protocol (`prepare_grant_uri`, `create_s256_code_challenge`, `CodeIDToken`), joserfc the
signatures; requests are our own, by httpx on trio: authlib's client wants httpx2, and refreshes tokens, which we drop.

`flow.py` (what goes out and what comes back), `claims.py` (who somebody is), `provider.py` (asking the provider),
`provisioning.py` (whom that makes here), `routes.py`.
Sources: OpenID Connect Core 1.0, Discovery 1.0; RFC 6749, 7636 (PKCE), 9207 (iss), 9700 (best current practice).
"""
