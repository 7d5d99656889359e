"""The administration API through a whole gateway: two at once, a database that is away, and none at all."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.front_door.gateway import KEY, MESSAGES, Gateway, backend_table, eventually, key_table, run_gateway, run_mock

pytestmark = pytest.mark.slow

API = "/admin/api/v1"
CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 3}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_mock("vllm", tmp_path_factory.mktemp("administration"), "--model=mock-8b") as url:
        yield backend_table("mock", "vllm", url) + key_table(KEY, "ada")


def as_owner(gateway: Gateway, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
    """On the socket that only the owner of the data directory can open."""
    transport = httpx.HTTPTransport(uds=str(gateway.data_dir / "run" / "control.sock"))
    with httpx.Client(transport=transport, base_url=f"http://mrproxy{API}", timeout=30) as client:
        return client.request(method, path, json=body, headers=headers)


def test_of_those_who_change_the_same_at_once_one_wins_each_time(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, config) as gateway:
        gateway.wait_for("the first administrator was made")
        assert as_owner(gateway, "POST", "/groups", {"name": "lab", "weight": 1}).status_code == 201

        def raise_weight(_: int) -> int:
            """Read, add one, write what was read plus one; again until nobody was quicker."""
            while True:
                found = as_owner(gateway, "GET", "/groups/lab")
                wanted = {"weight": found.json()["weight"] + 1}
                condition = {"If-Match": found.headers["ETag"]}
                status = as_owner(gateway, "PATCH", "/groups/lab", wanted, **condition).status_code
                if status != 412:
                    return status

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(raise_weight, range(12))) == {200}
        lab = as_owner(gateway, "GET", "/groups/lab").json()
        assert (lab["weight"], lab["version"]) == (13, 13)
        assert as_owner(gateway, "GET", "/audit/verify").json()["is_whole"] is True


def test_a_database_that_is_away_is_a_503_and_never_a_401(config: str, tmp_path: Path) -> None:
    nobody = "--database-url=postgresql://someone:secret@127.0.0.1:9/nothing"
    with run_gateway(tmp_path, config, options=[nobody]) as gateway:
        assert gateway.ask("POST", "/v1/chat/completions", CHAT).status == 200
        refused: Any = gateway.ask("GET", f"{API}/users").json()
        assert (refused["status"], refused["detail"]) == (403, "This needs the permission users.read.")
        response = as_owner(gateway, "GET", "/users")
        assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
        assert int(response.headers["Retry-After"]) > 0
        assert response.json()["type"] == "urn:mrproxy:problem:database"
        assert "secret" not in response.text + gateway.child.output()
        assert as_owner(gateway, "GET", "/settings").status_code == 200


def test_the_bootstrap_key_asks_models_and_administers_from_anywhere(config: str, tmp_path: Path) -> None:
    key, reader = "mr_front-door-bootstrap", "mr_front-door-reader"
    away = key_table("mr_front-door-away", "root", group="admin", scopes=["admin"], addresses=["192.0.2.0/24"])
    tables = config + key_table(reader, "auditor", group="admin", scopes=["read"]) + away
    with run_gateway(tmp_path, f'bootstrap_api_key = "{key}"\n{tables}') as gateway:
        gateway.wait_for("the first administrator was made")
        assert gateway.ask("POST", "/v1/chat/completions", CHAT, key).status == 200
        node = {"name": "gpu-server-1", "hostname": "gpu1.example.com", "sidecar_url": "http://127.0.0.1:9"}
        made = gateway.ask("POST", "/api/admin/nodes/register", node, key)
        assert made.status == 200, made.body
        nodes: Any = gateway.ask("GET", "/api/admin/nodes", None, key).json()
        assert "gpu-server-1" in str(nodes)
        assert gateway.ask("POST", f"{API}/groups", {"name": "lab"}, key).status == 201
        assert gateway.ask("GET", f"{API}/me/keys", None, key).status < 500
        assert gateway.ask("GET", f"{API}/groups", None, reader).status == 200
        assert gateway.ask("POST", f"{API}/groups", {"name": "den"}, reader).status == 403
        assert gateway.ask("POST", "/v1/chat/completions", CHAT, reader).status == 403
        refused: Any = gateway.ask("GET", f"{API}/groups", None, "mr_front-door-away").json()
        assert refused["detail"] == "This API key may not be used from this address."


def test_without_a_database_what_is_configured_is_shown(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, "records = false\n" + config) as gateway:
        backends = eventually(lambda: live_backends(gateway), "the worker's view is not shown")
        assert [(each["name"], each["source"], each["live"]["state"]) for each in backends] == [
            ("mock", "configuration", "routable")
        ]
        assert [each["user"] for each in as_owner(gateway, "GET", "/keys").json()["items"]] == ["ada"]
        response = as_owner(gateway, "POST", "/users", {"name": "bob"})
        assert (response.status_code, response.json()["type"]) == (503, "urn:mrproxy:problem:no-database")
        assert gateway.ask("GET", f"{API}/users").status == 403
        assert gateway.ask("GET", "/docs", key="").status == 200


def live_backends(gateway: Gateway) -> Any:
    found = as_owner(gateway, "GET", "/backends").json()["items"]
    return found if all(each["live"] for each in found) else None
