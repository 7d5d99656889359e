"""What the administration changes is in force when it is answered; and the first administrator can sign in."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mrproxy.control.first_administrator import PASSWORD_NAME
from tests.front_door.gateway import KEY, MESSAGES, Gateway, eventually, key_table, run_gateway, run_mock

pytestmark = pytest.mark.slow

CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 3}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Nothing is configured but a key."""
    directory = tmp_path_factory.mktemp("managed")
    with run_gateway(directory, key_table(KEY, "ada"), options=["--no-discover"], waits=False) as running:
        eventually(lambda: (running.data_dir / PASSWORD_NAME).exists() or None, running.child.output())
        yield running


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_mock("vllm", tmp_path_factory.mktemp("engine"), "--model=mock-8b") as url:
        yield url


def administer(gateway: Gateway, method: str, path: str, body: object = None) -> Any:
    """As the owner of the data directory, at its socket."""
    transport = httpx.HTTPTransport(uds=str(gateway.data_dir / "run" / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://control/admin/api/v1", timeout=15) as client:
        answer = client.request(method, path, json=body)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def chat_status(gateway: Gateway, key: str) -> int:
    return gateway.ask("POST", "/v1/chat/completions", CHAT, key=key).status


@pytest.fixture(scope="module")
def backend(gateway: Gateway, engine: str) -> str:
    made = administer(gateway, "POST", "/backends", {"name": "engine", "kind": "vllm", "url": engine})
    eventually(lambda: chat_status(gateway, KEY) == 200 or None, "the new backend does not serve")
    return str(made["name"])


def test_a_key_is_good_when_it_is_shown_and_bad_when_its_revocation_is_answered(gateway: Gateway, backend: str):
    administer(gateway, "POST", "/users", {"name": "bob", "group": "staff"})
    for _ in range(3):
        made = administer(gateway, "POST", "/keys", {"name": "laptop", "user": "bob"})
        assert chat_status(gateway, made["key"]) == 200
        administer(gateway, "POST", f"/keys/{made['id']}/revoke")
        assert chat_status(gateway, made["key"]) == 401


def test_a_group_that_may_use_no_such_model_is_told_at_once(gateway: Gateway, backend: str):
    administer(gateway, "POST", "/groups", {"name": "narrow", "models": ["mock-8b"]})
    administer(gateway, "POST", "/users", {"name": "eve", "group": "narrow"})
    made = administer(gateway, "POST", "/keys", {"name": "laptop", "user": "eve"})
    assert chat_status(gateway, made["key"]) == 200
    administer(gateway, "PATCH", "/groups/narrow", {"models": ["another"]})
    assert chat_status(gateway, made["key"]) in (403, 404)


def test_the_first_administrator_signs_in_with_the_password_in_the_file(gateway: Gateway):
    password = (gateway.data_dir / PASSWORD_NAME).read_text().strip()
    assert password not in gateway.child.output()
    sign_in = {"username": "admin", "password": password}
    answer = gateway.ask("POST", "/v0/auth/login", sign_in, headers={"Authorization": ""})
    assert answer.status == 200, answer.body
    token = json.loads(answer.body)["token"]
    assert gateway.ask("GET", "/v0/auth/me", key=token).json()["username"] == "admin"


def test_no_secret_is_in_the_snapshot_or_the_log(gateway: Gateway):
    password = (gateway.data_dir / PASSWORD_NAME).read_text().strip()
    for name in ("snapshot.json", "managed.json", "configured.json"):
        assert password not in (gateway.data_dir / name).read_text()
