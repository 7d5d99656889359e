"""An OpenID Connect provider as a process of its own: honest until it is told to lie.

It approves everybody at once, as the person that `/_test` names. It checks what a good one checks: client, redirect
URI, PKCE with S256, a code once. Run it with `python -m tests.fakes.oidc_provider`; tests use `run_provider`.
"""

import base64
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from bench.children import run_child, wait_for_output

CLIENT_ID, CLIENT_SECRET = "gateway", "provider's secret of the gateway: %&+"
PERSON = {
    "sub": "248289761001",
    "preferred_username": "jane",
    "name": "Jane Doe",
    "email": "jane@example.edu",
    "email_verified": True,
}


@dataclass
class State:
    """`person` is who signs in; `lies` what is said instead of the truth, see `answer_token` and `describe`."""

    url: str = ""
    person: dict[str, Any] = field(default_factory=lambda: dict(PERSON))
    lies: dict[str, Any] = field(default_factory=dict)
    keys: list[RSAKey] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def rotate(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})]


STATE = State()


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
        STATE.calls[path] = STATE.calls.get(path, 0) + 1
        match path:
            case "/.well-known/openid-configuration":
                self.answer(200, describe())
            case "/authorize":
                self.authorize(query)
            case "/jwks":
                self.answer(200, {"keys": [key.as_dict(private=False) for key in STATE.keys]})
            case "/userinfo":
                claims = STATE.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
                self.answer(401 if claims is None else 200, claims or {"error": "invalid_token"})
            case "/_test":
                self.answer(200, {"calls": STATE.calls})
            case _:
                self.answer(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        STATE.calls[path] = STATE.calls.get(path, 0) + 1
        if path == "/_test":
            self.be_told(json.loads(body))
        elif path == "/token":
            status, answer = answer_token(dict(parse_qsl(body.decode())), self.headers.get("Authorization", ""))
            self.answer(status, answer)
        else:
            self.answer(404, {})

    def be_told(self, told: dict[str, Any]) -> None:
        STATE.person = told.get("person", dict(PERSON))
        STATE.lies = told.get("lies", {})
        STATE.calls = {}
        if told.get("rotate"):
            STATE.rotate()
        self.answer(200, {})

    def authorize(self, query: dict[str, str]) -> None:
        is_right = (
            query.get("client_id") == CLIENT_ID
            and query.get("response_type") == "code"
            and "openid" in query.get("scope", "").split()
            and urlsplit(query.get("redirect_uri", "")).path.startswith("/login/oidc/")
            and query.get("code_challenge_method") == "S256"
            and len(query.get("code_challenge", "")) == 43
            and bool(query.get("nonce"))
        )
        if not is_right:
            self.answer(400, {"error": "invalid_request"})
            return
        code = secrets.token_urlsafe(16)
        STATE.codes[code] = query
        back = {"code": code, "state": query.get("state", ""), "iss": STATE.url} | STATE.lies.get("back", {})
        back = {name: value for name, value in back.items() if value is not None}
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{urlencode(back)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def describe() -> dict[str, object]:
    truth: dict[str, object] = {
        "issuer": STATE.url,
        "authorization_endpoint": f"{STATE.url}/authorize",
        "token_endpoint": f"{STATE.url}/token",
        "jwks_uri": f"{STATE.url}/jwks",
        "userinfo_endpoint": f"{STATE.url}/userinfo",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
    return truth | STATE.lies.get("metadata", {})


def answer_token(form: dict[str, str], authorization: str) -> tuple[int, dict[str, object]]:
    if not knows_secret(form, authorization):
        return 401, {"error": "invalid_client"}
    asked = STATE.codes.pop(form.get("code", ""), None)
    if asked is None or asked["redirect_uri"] != form.get("redirect_uri"):
        return 400, {"error": "invalid_grant"}
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    if base64.urlsafe_b64encode(digest).decode().rstrip("=") != asked["code_challenge"]:
        return 400, {"error": "invalid_grant", "error_description": "PKCE"}
    access_token = secrets.token_urlsafe(16)
    STATE.tokens[access_token] = STATE.person | STATE.lies.get("userinfo", {})
    return 200, {"access_token": access_token, "token_type": "Bearer", "id_token": id_token(asked["nonce"])}


def knows_secret(form: dict[str, str], authorization: str) -> bool:
    if authorization.startswith("Basic "):
        name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
        return (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)
    return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)


def id_token(nonce: str) -> str:
    """`lies`: `claims` (None removes one), `hides` (in UserInfo only), `algorithm`, `key`."""
    now = int(time.time())
    claims = {"iss": STATE.url, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": nonce, **STATE.person}
    claims |= STATE.lies.get("claims", {})
    hidden = STATE.lies.get("hides", [])
    claims = {name: value for name, value in claims.items() if value is not None and name not in hidden}
    header = {"kid": STATE.keys[0].kid}
    match STATE.lies.get("algorithm"):
        case "none":
            parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in
                     ({"alg": "none"}, claims)]  # fmt: skip
            return ".".join([*parts, ""])
        case "HS256 with the client's secret":
            return jwt.encode({"alg": "HS256", **header}, claims, OctKey.import_key(CLIENT_SECRET))
        case "HS256 with the public key":
            public = STATE.keys[0].as_pem(private=False)
            return jwt.encode({"alg": "HS256", **header}, claims, OctKey.import_key(base64.b64encode(public)))
    key = STATE.keys[0]
    if STATE.lies.get("key") == "unpublished":
        key = RSAKey.generate_key(2048, {"kid": "unpublished"})
        header = {"kid": "unpublished"}
    elif STATE.lies.get("key") == "another of the same name":
        key = RSAKey.generate_key(2048, {"kid": STATE.keys[0].kid})
    elif STATE.lies.get("key") == "nameless":
        header = {}
    return jwt.encode({"alg": "RS256", **header}, claims, key)


@dataclass(frozen=True)
class FakeProvider:
    """The process, from outside."""

    url: str

    def tell(self, **told: object) -> None:
        """Who signs in (`person`), which `lies` are told, whether keys `rotate`. What is not named is as at first."""
        httpx.post(f"{self.url}/_test", json=told, trust_env=False).raise_for_status()

    def calls(self) -> dict[str, int]:
        """Since it was last told something."""
        found: dict[str, int] = httpx.get(f"{self.url}/_test", trust_env=False).json()["calls"]
        return found

    def table(self, **values: object) -> str:
        """`[[oidc]]` of it for a configuration file."""
        rows = {"name": "fake", "issuer": self.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **values}
        return "[[oidc]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items())


@contextmanager
def run_provider(directory: Path) -> Iterator[FakeProvider]:
    command = (sys.executable, "-m", "tests.fakes.oidc_provider")
    with run_child("provider", command, directory) as child:
        yield FakeProvider(wait_for_output(child, r"provider at (http://\S+)", seconds=30)[1])


def main() -> None:
    STATE.rotate()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    STATE.url = f"http://127.0.0.1:{server.server_address[1]}"
    print(f"provider at {STATE.url}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
