"""Pure. Who is asking the control plane, and how somebody proves it: passwords, sessions, tokens, OpenID Connect.

Pure cores: `derived.py` (keys from one secret), `throttle.py`, `cookies.py`, `csrf.py`, `tokens.py`, `redirects.py`,
`password_policy.py`, and of OpenID Connect `oidc/flow.py` and `oidc/claims.py`. Shells: `passwords.py` (hashing),
`sessions.py` and `accounts.py` (the database), `identify.py` (request → actor), the routes.
Read next: docs/security.md, for what all this is against.
"""
