"""MindRouter's API at the real door: the command lines of its documents as they are written; every endpoint once."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mrproxy.control.first_administrator import PASSWORD_NAME
from mrproxy.control.mindrouter.table import mindrouter_apis
from tests.fakes.engine import run_scripted_engine
from tests.front_door.gateway import Gateway, backend_table, eventually, run_gateway, run_mock

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/usr/bin/curl").exists(), reason="there is no curl")]

# Standing at the beginning of each: nothing that changes what is sent.
CURLRC = 'silent\nwrite-out = "\\n%{http_code}"\nnoproxy = "*"\nmax-time = 20\n'

# As the documents have them. Order: administration first, for the models to be there.
REGISTER_NODE_WITH_KEY = """curl -X POST http://mindrouter:8000/api/admin/nodes/register \\
  -H "Authorization: Bearer admin-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "name": "gpu-server-1",
    "hostname": "gpu1.example.com",
    "sidecar_url": "http://gpu1.example.com:8007",
    "sidecar_key": "your-generated-key"
  }'"""
REGISTER_NODE = """curl -X POST http://localhost:8000/api/admin/nodes/register \\
  -H "Authorization: Bearer admin-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "name": "gpu-server-1",
    "hostname": "gpu1.example.com",
    "sidecar_url": "http://gpu1.example.com:8007"
  }'"""
REGISTER_OLLAMA = """curl -X POST http://localhost:8000/api/admin/backends/register \\
  -H "Authorization: Bearer admin-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "name": "ollama-gpu1",
    "url": "http://gpu1.example.com:11434",
    "engine": "ollama",
    "max_concurrent": 4,
    "node_id": 1
  }'"""
REGISTER_VLLM = """curl -X POST http://localhost:8000/api/admin/backends/register \\
  -H "Authorization: Bearer admin-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "name": "vllm-gpu1-01",
    "url": "http://gpu1.example.com:8000",
    "engine": "vllm",
    "max_concurrent": 16,
    "node_id": 1,
    "gpu_indices": [0, 1]
  }'"""
CHAT = """curl -X POST http://localhost:8000/v1/chat/completions \\
  -H "Authorization: Bearer your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "llama3.2",
    "messages": [{"role": "user", "content": "Hello!"}],
    "stream": false
  }'"""
EMBEDDINGS = """curl -X POST http://localhost:8000/v1/embeddings \\
  -H "Authorization: Bearer your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "nomic-embed-text",
    "input": "Hello world"
  }'"""
MODELS = """curl http://localhost:8000/v1/models \\
  -H "Authorization: Bearer your-api-key\""""
ANTHROPIC = """curl -X POST http://localhost:8000/anthropic/v1/messages \\
  -H "Authorization: Bearer your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "llama3.2",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "Hello!"}]
  }'"""
OLLAMA_CHAT = """curl -X POST http://localhost:8000/api/chat \\
  -H "Authorization: Bearer your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "llama3.2",
    "messages": [{"role": "user", "content": "Hello!"}],
    "stream": false
  }'"""
OLLAMA_GENERATE = """curl -X POST http://localhost:8000/api/generate \\
  -H "Authorization: Bearer your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "llama3.2",
    "prompt": "Why is the sky blue?"
  }'"""


@dataclass
class House:
    """`admin`, `member`, `auditor` are keys."""

    gateway: Gateway
    ollama_url: str
    vllm_url: str
    directory: Path
    admin: str
    auditor: str
    member: str
    member_id: int
    backend: int = 0

    def run(self, command: str) -> tuple[int, str]:
        """By the shell: status and body."""
        for written, ours in (
            ("http://localhost:8000", self.gateway.url),
            ("http://mindrouter:8000", self.gateway.url),
            ("http://gpu1.example.com:11434", self.ollama_url),
            ("http://gpu1.example.com:8000", self.vllm_url),
            ("your-api-key", self.member),
            ("admin-api-key", self.admin),
        ):
            command = command.replace(written, ours)
        environment = os.environ | {"CURL_HOME": str(self.directory)}
        ended = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, timeout=30, check=True)
        body, _, status = ended.stdout.decode().rpartition("\n")
        return int(status), body

    def ask(self, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, Any]:
        answer = self.gateway.ask(method, path, body, key=self.admin if key is None else key)
        return answer.status, answer.json()

    def done(self, method: str, path: str, body: object = None) -> Any:
        status, found = self.ask(method, f"/api/admin{path}", body)
        assert status == 200, found
        return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("mindrouter")
    (directory / ".curlrc").write_text(CURLRC)
    models = ("--model=llama3.2", "--model=nomic-embed-text", "--answer-tokens=4", "--load-ms=1")
    with (
        run_mock("ollama", directory, *models) as ollama_url,
        run_mock("vllm", directory, "--model=mock-8b", "--answer-tokens=4") as vllm_url,
        run_scripted_engine("configured") as configured,
    ):
        config = "capture_bodies = true\n" + backend_table("configured", "openai", configured.url)
        with run_gateway(directory, config, options=["--no-discover"]) as gateway:
            found = furnished(gateway)
            yield House(gateway, ollama_url, vllm_url, directory, *found)


def furnished(gateway: Gateway) -> tuple[str, str, str, int]:
    """An administrator, an auditor and a member with a key each, made by the owner of the data directory."""
    eventually(lambda: (gateway.data_dir / PASSWORD_NAME).exists() or None, "there is no administrator")
    transport = httpx.HTTPTransport(uds=str(gateway.data_dir / "run" / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://control/api/admin", timeout=15) as client:

        def made(path: str, body: object) -> Any:
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        groups = {each["name"]: each["id"] for each in client.get("/groups").json()["groups"]}
        keys, number = [], 0
        for name, group in (("root", "admin"), ("watcher", "auditor"), ("ada", "staff")):
            user = {
                "username": name,
                "email": f"{name}@example.edu",
                "password": "correct horse battery",
                "group_id": groups[group],
            }
            number = made("/users", user)["id"]
            keys.append(made(f"/users/{number}/api-keys", {"name": "laptop"})["full_key"])
    return keys[0], keys[1], keys[2], number


@pytest.fixture(scope="module")
def registered(house: House) -> House:
    """By the command lines; then the models are there."""
    status, body = house.run(REGISTER_NODE_WITH_KEY)
    assert (status, json.loads(body)["sidecar_key_set"]) == (200, True), body
    assert "your-generated-key" not in body
    assert house.done("DELETE", "/nodes/1") == {"status": "deleted", "node_id": 1}
    for command in (REGISTER_NODE, REGISTER_OLLAMA, REGISTER_VLLM):
        status, body = house.run(command)
        assert status == 200, body
    ollama, vllm = house.done("GET", "/backends")[:2]
    assert (ollama["node_name"], ollama["max_concurrent"]) == ("gpu-server-1", 4)
    assert (vllm["gpu_indices"], vllm["engine"]) == ([0, 1], "vllm")
    house.backend = ollama["id"]
    eventually(lambda: are_healthy(house) or None, f"{house.done('GET', '/backends')}")
    return house


def are_healthy(house: House) -> bool:
    return {each["status"] for each in house.done("GET", "/backends")} == {"healthy"}


def test_what_is_registered_twice_is_a_conflict(registered: House) -> None:
    for command in (REGISTER_NODE, REGISTER_OLLAMA, REGISTER_VLLM):
        status, body = registered.run(command)
        assert (status, list(json.loads(body))) == (409, ["detail"])


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (CHAT, "chat.completion"),
        (EMBEDDINGS, "embedding"),
        (MODELS, "llama3.2"),
        (ANTHROPIC, '"role":"assistant"'),
        (OLLAMA_CHAT, '"done":true'),
        (OLLAMA_GENERATE, '"done":true'),
    ],
    ids=["chat", "embeddings", "models", "anthropic", "ollama-chat", "ollama-generate"],
)
def test_a_documented_command_line_runs_as_written(registered: House, command: str, word: str) -> None:
    status, body = registered.run(command)
    assert status == 200, body
    assert word in body.replace(" ", "")


def test_backends_and_nodes_are_administered(registered: House) -> None:
    path = f"/backends/{registered.backend}"
    after = registered.done("PATCH", path, {"gpu_type": "H100", "max_concurrent": 6})
    assert (after["gpu_type"], after["max_concurrent"], after["version"]) == ("H100", 6, after["version"])
    assert registered.done("PATCH", path, {"gpu_type": None})["gpu_type"] is None
    assert registered.done("POST", f"{path}/disable")["status"] == "disabled"
    asked = {"model": "llama3.2", "messages": [{"role": "user", "content": "x"}]}
    refused, _ = registered.ask("POST", "/v1/chat/completions", asked, registered.member)
    assert refused in (404, 503)
    assert registered.done("POST", f"{path}/enable")["status"] == "enabled"
    eventually(lambda: are_healthy(registered) or None, "it does not come back")
    assert registered.done("POST", f"{path}/refresh") == {"status": "refreshed", "backend_id": registered.backend}
    assert registered.ask("DELETE", "/api/admin/nodes/1")[0] == 409
    assert registered.done("PATCH", "/nodes/1", {"hostname": "gpu1"})["hostname"] == "gpu1"
    assert registered.done("GET", "/nodes")[0]["status"] == "unknown"
    assert registered.ask("POST", "/api/admin/nodes/1/refresh")[0] == 502  # nobody answers at that name


def test_the_mock_of_ollama_does_not_pull_and_that_is_said(registered: House) -> None:
    path = f"/backends/{registered.backend}/ollama"
    started = registered.done("POST", f"{path}/pull", {"model": "tiny"})
    job = registered.done("GET", f"{path}/pull/{started['job_id']}")
    assert (job["model"], job["status"], job["ollama_url"]) == ("tiny", "pulling", registered.ollama_url)
    assert registered.ask("POST", f"/api/admin{path}/delete", {"model": "tiny"})[0] in (404, 502)
    assert registered.ask("GET", f"/api/admin{path}/pull/none")[0] == 404


def test_users_groups_and_keys_are_administered_and_in_force(registered: House) -> None:
    group = registered.done("POST", "/groups", {"name": "lab", "display_name": "The lab", "token_budget": 0})
    user = {"username": "eve", "email": "eve@example.edu", "password": "correct horse battery", "group_id": group["id"]}
    made = registered.done("POST", "/users", user)
    assert (made["group_name"], made["role"]) == ("The lab", "student")
    key = registered.done("POST", f"/users/{made['id']}/api-keys", {"name": "laptop", "expires_at": "2090-01-01"})
    assert registered.ask("GET", "/v1/models", key=key["full_key"])[0] == 200
    assert [each["username"] for each in registered.done("GET", "/users?search=EVE&limit=5")["users"]] == ["eve"]
    assert registered.done("PATCH", f"/users/{made['id']}", {"full_name": "Eve"})["status"] == "updated"
    assert registered.done("GET", f"/users/{made['id']}")["user"]["full_name"] == "Eve"
    new = {"new_password": "another horse battery"}
    assert registered.done("POST", f"/users/{made['id']}/reset-password", new)["status"] == "password_reset"
    sign_in = {"username": "eve", "password": "another horse battery"}
    assert registered.ask("POST", "/v0/auth/login", sign_in, key="")[0] == 200
    found = registered.done("GET", "/api-keys?search=laptop&status=active")
    assert key["id"] in [each["id"] for each in found["api_keys"]]
    assert registered.ask("DELETE", f"/api/admin/groups/{group['id']}")[0] == 409
    assert registered.done("POST", f"/api-keys/{key['id']}/revoke")["status"] == "revoked"
    assert registered.ask("GET", "/v1/models", key=key["full_key"])[0] == 401
    assert registered.done("DELETE", f"/api-keys/{key['id']}")["status"] == "deleted"
    assert registered.done("DELETE", f"/users/{made['id']}")["status"] == "deleted"
    assert registered.done("PATCH", f"/groups/{group['id']}", {"rpm_limit": 7})["status"] == "updated"
    assert registered.done("DELETE", f"/groups/{group['id']}")["status"] == "deleted"


def test_an_approved_request_really_changes_the_budget(registered: House) -> None:
    staff = next(each for each in registered.done("GET", "/groups")["groups"] if each["name"] == "staff")
    registered.done("PATCH", f"/groups/{staff['id']}", {"token_budget": 1000})
    wanted = {"justification": "thesis", "requested_tokens": 500}
    member = registered.done("POST", f"/users/{registered.member_id}/api-keys", {"name": "own", "scopes": ["own"]})
    asked, _ = registered.ask("POST", "/admin/api/v1/me/quota-requests", wanted, member["full_key"])
    assert asked == 201
    (request,) = registered.done("GET", "/quota-requests?status=pending")["requests"]
    review = {"approved": True, "notes": "fine", "granted_tokens": 250}
    assert registered.done("POST", f"/quota-requests/{request['id']}/review", review)["approved"] is True
    assert registered.done("GET", f"/users/{registered.member_id}")["quota"]["token_budget"] == 1250
    assert registered.ask("POST", f"/api/admin/quota-requests/{request['id']}/review", review)[0] == 409
    registered.done("PATCH", f"/groups/{staff['id']}", {"token_budget": 0})


def test_requests_are_found_and_read_with_what_was_said(registered: House) -> None:
    assert registered.run(CHAT)[0] == 200
    path = f"/audit/search?model=llama3.2&user_id={registered.member_id}&status=completed&search_text=hello"
    found = eventually(lambda: registered.done("GET", path)["results"] or None, "it is not found")
    details = registered.done("GET", f"/audit/{found[0]['id']}")
    assert details["request"]["messages"] or details["request"]["prompt"]
    assert details["response"]["content"]
    assert details["request"]["user_id"] == registered.member_id
    exported = registered.done("GET", "/conversations/export?search=hello&model_filter=llama3.2")
    assert {each["username"] for each in exported} == {"ada"}
    assert [each["role"] for each in exported[0]["messages"]][-1] == "assistant"
    assert registered.done("GET", "/top-users?window=1h")["users"][0]["username"] == "ada"


def test_the_queue_and_the_cluster_are_shown(registered: House) -> None:
    assert registered.done("GET", "/queue")["queue"]["total"] == 0
    monitor = registered.done("GET", "/queue/monitor?window=60")
    assert monitor["capacity"]["mock-8b"]["healthy_backends"] == 1
    for path in ("total-tokens", "throughput", "trends?range=hour", "trends?range=month"):
        status, body = registered.ask("GET", f"/api/cluster/{path}", key="")
        assert status == 200
        assert "ada" not in json.dumps(body)
    status, body = registered.ask("GET", "/status", key="")
    assert (status, body["service"], body["queue"]["total"]) == (200, "mrproxy", 0)


def test_auditors_read_and_members_do_not(registered: House) -> None:
    for api in mindrouter_apis(lambda: 0.0)[:1]:
        for endpoint in api.endpoints:
            path = api.prefix + endpoint.path.replace("{", "9").replace("}", "9").replace("_", "")
            member, body = registered.ask(endpoint.method, path, {}, registered.member)
            auditor, _ = registered.ask(endpoint.method, path, {}, registered.auditor)
            nobody, _ = registered.ask(endpoint.method, path, {}, "")
            assert (nobody, member) == (401, 403), path
            assert list(body) == ["detail"], path
            assert (auditor == 403) == (endpoint.method != "GET"), path


def test_what_is_not_there_is_said_as_there(registered: House) -> None:
    assert registered.ask("GET", "/api/admin/nothing") == (404, {"detail": "There is nothing at this path."})
    status, body = registered.ask("POST", "/api/admin/backends/register", {"name": "x"})
    assert (status, body["detail"][0]["type"]) == (422, "missing")
