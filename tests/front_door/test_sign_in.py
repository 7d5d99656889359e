"""Signing in at a whole gateway, and at a real provider through it."""

import http.client
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from tests.fakes.oidc_provider import CLIENT_SECRET, FakeProvider, run_provider
from tests.front_door.gateway import KEY, Gateway, backend_table, eventually, key_table, run_gateway

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
API = "/admin/api/v1"


@dataclass(frozen=True)
class Place:
    gateway: Gateway
    provider: FakeProvider

    def browser(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.gateway.url, headers=headers, trust_env=False, timeout=20)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("sign-in")
    with run_provider(directory) as provider:
        config = [
            'trusted_proxies = "127.0.0.1"\n',
            provider.table(label="Fake University"),
            key_table(KEY, "admin"),
            backend_table("none", "openai", "http://127.0.0.1:9"),
        ]
        with run_gateway(directory, "\n".join(config), waits=False) as gateway:
            eventually(lambda: gateway.ask("GET", "/healthz").status == 200 or None, gateway.child.output(), seconds=30)
            make_user(gateway)
            yield Place(gateway, provider)


def make_user(gateway: Gateway) -> None:
    """By the owner of the data directory, as the command line does."""
    transport = httpx.HTTPTransport(uds=str(gateway.data_dir / "run" / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://control", timeout=20) as client:
        user = {"name": "ada", "group": "staff", "password": PASSWORD}

        def made() -> httpx.Response | None:
            answer = client.post(f"{API}/users", json=user)
            return answer if answer.status_code == 201 else None

        eventually(made, gateway.child.output(), seconds=30)


def test_a_session_a_change_and_an_end_to_it(place: Place) -> None:
    with place.browser() as browser:
        me = browser.post(f"{API}/session", json={"name": "ada", "password": PASSWORD}).json()
        assert browser.get(f"{API}/session").json()["name"] == "ada"
        assert browser.delete(f"{API}/me/sessions").status_code == 403
        proof = {"X-CSRF-Token": me["csrf_token"]}
        assert browser.delete(f"{API}/me/sessions", headers=proof).status_code == 204
        assert browser.delete(f"{API}/session", headers=proof).status_code == 204
        assert browser.get(f"{API}/session").status_code == 401


def test_curl_signs_in_as_at_llmlb(place: Place) -> None:
    with place.browser() as browser:
        for base in ("/v0/auth", "/api/auth"):
            answer = browser.post(f"{base}/login", json={"username": "ada", "password": PASSWORD})
            token = {"Authorization": f"Bearer {answer.json()['token']}"}
            assert browser.get(f"{base}/me", headers=token).json()["username"] == "ada"
            assert browser.post(f"{base}/logout", headers=token).status_code == 204
            assert browser.get(f"{base}/me", headers=token).status_code == 401


def test_the_form_works_over_tls_at_a_trusted_proxy(place: Place) -> None:
    with place.browser(**{"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}) as browser:
        page = browser.get("/login?next=/dashboard")
        assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert page.headers["referrer-policy"] == "same-origin"
        cookies = dict(browser.cookies.items())  # httpx sends no Secure cookie over HTTP
        assert list(cookies) == ["__Host-mrproxy_form"]
        found = re.search(r'name="csrf_token" value="(\w+)"', page.text)
        assert found is not None
        form = {"csrf_token": found[1], "name": "ada", "password": PASSWORD, "next": "/dashboard"}
        sent = {"Cookie": f"__Host-mrproxy_form={cookies['__Host-mrproxy_form']}"}
        answer = browser.post("/login", data=form, headers=sent)
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
        lines = answer.headers.get_list("set-cookie")
        assert all(line.startswith("__Host-") and line.endswith("; Secure") for line in lines)
    with sqlite3.connect(place.gateway.data_dir / "mrproxy.db") as database:
        rows = database.execute("SELECT address FROM sessions ORDER BY created_utc DESC").fetchall()
    assert rows[0] == ("198.51.100.7",)


def test_the_header_that_tells_the_owner_cannot_be_left_out_by_a_client(place: Place) -> None:
    """Who comes by the front door is forwarded as such, whatever he sends and however he writes it."""
    host = urlsplit(place.gateway.url).netloc
    for name in ("X-Forwarded-For", "x-forwarded-for", "X_Forwarded_For", "Connection"):
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.putrequest("GET", f"{API}/session")
        connection.putheader(name, "X-Forwarded-For, close" if name == "Connection" else "")
        connection.endheaders()
        assert connection.getresponse().status == 401, name
        connection.close()


def test_somebody_of_a_provider_signs_in(place: Place) -> None:
    place.provider.tell()
    with place.browser() as browser:
        assert "Fake University" in browser.get("/login").text
        there = browser.get("/login/oidc/fake?next=/after")
        back = httpx.get(there.headers["location"], trust_env=False).headers["location"]
        answer = browser.get(back)
        assert (answer.status_code, answer.headers["location"]) == (303, "/after")
        assert browser.get(f"{API}/session").json()["name"] == "jane"
        assert browser.get(back).headers["location"] == "/login?error=provider"


def test_a_provider_that_lies_signs_nobody_in(place: Place) -> None:
    with place.browser() as browser:
        for lies in ({"algorithm": "none"}, {"claims": {"aud": "another"}}, {"key": "unpublished"}):
            place.provider.tell(lies=lies)
            there = browser.get("/login/oidc/fake").headers["location"]
            back = httpx.get(there, trust_env=False).headers["location"]
            assert browser.get(back).headers["location"] == "/login?error=provider"
            assert browser.get(f"{API}/session").status_code == 401


def test_secrets_are_neither_in_the_snapshot_nor_in_a_log_nor_in_the_database(place: Place) -> None:
    with place.browser() as browser:
        browser.post(f"{API}/session", json={"name": "ada", "password": PASSWORD})
        browser.get(f"/login?{urlencode({'next': '/x'})}")
        cookie = browser.cookies["mrproxy_session"]
    files = [path for path in place.gateway.data_dir.rglob("*") if path.is_file()]
    everything = b"".join(path.read_bytes() for path in files) + place.gateway.child.output().encode()
    for secret in (PASSWORD, CLIENT_SECRET, cookie, cookie.partition(".")[0]):
        assert secret.encode() not in everything


def test_nobody_else_reads_what_is_secret(place: Place) -> None:
    """Names of files below the data directory, which is for its owner alone."""
    directory: Path = place.gateway.data_dir
    assert directory.stat().st_mode & 0o077 == 0
    for name in ("secret", "snapshot.json", "run/control.sock"):
        assert (directory / name).stat().st_mode & 0o077 == 0, name
