"""llmlb's API at a whole gateway: the curl examples of its documents as they are written, and each endpoint once.

The examples below are theirs, in bash and by the real `curl`; only host and port, key, id and the address of the engine
are put in. What curl prints besides is asked for in a `.curlrc`, so that the commands stay as they are.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrproxy.control.first_administrator import PASSWORD_NAME
from tests.front_door.gateway import KEY, MESSAGES, Answer, Gateway, eventually, key_table, run_gateway, run_mock

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
CURLRC = 'silent\nshow-error\nnoproxy = "*"\nmax-time = 20\nwrite-out = "\\n%{http_code}"\n'
# The host and port of the documents' examples, in the order of its versions.
HOSTS = re.compile(r"http://(?:localhost|router):(?:32768|8080)")
ENGINE = "http://192.168.1.100:11434"
KEYS = re.compile(r"sk_(?:your_)?(?:admin|api)_key")

REGISTER = """\
curl -X POST http://localhost:32768/v0/endpoints \\
  -H "Authorization: Bearer sk_your_api_key" \\
  -H "Content-Type: application/json" \\
  -d '{"name": "Ollama Server A", "base_url": "http://192.168.1.100:11434"}'
"""
LIST = """\
curl http://localhost:32768/v0/endpoints \\
  -H "Authorization: Bearer sk_your_api_key"
"""
SYNC = """\
curl -X POST http://localhost:32768/v0/endpoints/{id}/sync \\
  -H "Authorization: Bearer sk_your_api_key"
"""
RESPOND = """\
curl http://router:32768/v1/responses \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer sk_your_api_key" \\
  -d '{
    "model": "gpt-oss-20b",
    "input": "Hello!"
  }'
"""
CHAT = """\
curl http://router:8080/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer sk_your_api_key" \\
  -d '{
    "model": "gpt-oss:20b",
    "messages": [{"role": "user", "content": "Hello!"}],
    "stream": false
  }'
"""
MODELS = 'curl -H "Authorization: Bearer sk_api_key" http://localhost:8080/v1/models'
# Three that are written as a method and a path.
HISTORY = "GET /v0/dashboard/request-responses?page=1&per_page=50"
DETAILS = "GET /v0/dashboard/request-responses/{id}"
EXPORT = "GET /v0/dashboard/request-responses/export"


@dataclass(frozen=True)
class Place:
    gateway: Gateway
    engine: str
    home: Path

    def run(self, example: str, key: str, id_: str = "") -> tuple[int, Any]:
        """The status and the JSON of an example."""
        command = KEYS.sub(key, HOSTS.sub(self.gateway.url, example)).replace(ENGINE, self.engine).replace("{id}", id_)
        done = subprocess.run(
            ["bash", "-c", command], env={"CURL_HOME": str(self.home), "PATH": "/usr/bin:/bin"}, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.decode().rpartition("\n")
        return int(status), json.loads(body) if body.startswith(("{", "[")) else body

    def read(self, line: str, key: str, id_: str = "", host: str = "http://localhost:32768") -> tuple[int, Any]:
        """An example that is a method and a path."""
        method, path = line.split(" ")
        return self.run(f"curl -X {method} '{host}{path}' -H 'Authorization: Bearer sk_your_api_key'", key, id_)

    def ask(self, method: str, path: str, body: object = None, key: str = "", status: int = 200) -> Any:
        """JSON, or text that is none."""
        answer = self.gateway.ask(method, path, body, key=key)
        assert answer.status == status, (path, answer.status, answer.body)
        return json.loads(answer.body) if is_json(answer) else answer.body.decode()


def is_json(answer: Answer) -> bool:
    return bool(answer.body) and answer.headers["content-type"] == "application/json"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Nothing is configured but a key; the engine is registered by its example."""
    directory = tmp_path_factory.mktemp("llmlb")
    (directory / ".curlrc").write_text(CURLRC)
    config = "capture_bodies = true\n" + key_table(KEY, "ada")
    models = ("--model=gpt-oss:20b", "--model=gpt-oss-20b", "--answer-tokens=8", "--json-ms=1", "--load-ms=1")
    with (
        run_mock("ollama", directory, *models) as engine,
        run_gateway(directory, config, options=["--no-discover"], waits=False) as gateway,
    ):
        eventually(lambda: (gateway.data_dir / PASSWORD_NAME).exists() or None, gateway.child.output(), seconds=30)
        yield Place(gateway, engine, directory)


@pytest.fixture(scope="module")
def token(place: Place) -> str:
    """The first administrator's, who has chosen a password."""
    made = (place.gateway.data_dir / PASSWORD_NAME).read_text().strip()
    wanted = {"username": "admin", "password": made}

    def sign_in() -> Any:
        answer = place.gateway.ask("POST", "/v0/auth/login", wanted)
        return answer.json() if answer.status == 200 else None

    first = eventually(sign_in, place.gateway.child.output(), seconds=30)
    assert first["user"]["must_change_password"] is True
    refused = place.ask("GET", "/v0/users", key=first["token"], status=403)
    assert refused == {"error": "password_change_required"}
    place.ask("PUT", "/v0/auth/change-password", {"new_password": PASSWORD}, key=first["token"], status=204)
    second = place.ask("POST", "/v0/auth/login", {"username": "admin", "password": PASSWORD})
    return str(second["token"])


@pytest.fixture(scope="module")
def admin_key(place: Place, token: str) -> str:
    made = place.ask("POST", "/v0/api-keys", {"name": "admin", "scopes": ["admin"]}, key=token, status=201)
    return str(made["key"])


@pytest.fixture(scope="module")
def api_key(place: Place, token: str) -> str:
    made = place.ask("POST", "/v0/api-keys", {"name": "programs", "scopes": ["api"]}, key=token, status=201)
    return str(made["key"])


@pytest.fixture(scope="module")
def endpoint(place: Place, admin_key: str) -> Any:
    """Registered as the documents say, and online."""
    status, made = place.run(REGISTER, admin_key)
    assert status == 201, made
    assert (made["name"], made["base_url"], made["endpoint_type"]) == ("Ollama Server A", place.engine, "ollama")
    one = f"/v0/endpoints/{made['id']}"

    def online() -> Any:
        found = place.ask("GET", one, key=admin_key)
        return found if found["status"] == "online" else None

    return eventually(online, place.gateway.child.output())


@pytest.fixture(scope="module")
def chatted(place: Place, endpoint: Any, admin_key: str, api_key: str) -> Any:
    """A request of each example, and the history when it has them."""
    for example in (CHAT, RESPOND):
        status, answer = place.run(example, api_key)
        assert status == 200, answer

    def history() -> Any:
        found = place.read(HISTORY, admin_key)[1]
        return found if found["total_count"] >= 2 else None

    return eventually(history, place.gateway.child.output())


def test_the_examples_of_endpoints(place: Place, endpoint: Any, admin_key: str, api_key: str) -> None:
    status, listed = place.run(LIST, admin_key)
    assert (status, listed["total"]) == (200, 1)
    assert (listed["endpoints"][0]["id"], listed["endpoints"][0]["model_count"]) == (endpoint["id"], 2)
    status, synced = place.run(SYNC, admin_key, endpoint["id"])
    assert (status, synced["added"], synced["removed"], synced["updated"]) == (200, 0, 0, 2)
    assert place.run(REGISTER, admin_key)[0] == 400
    assert place.run(LIST, api_key)[0] == 403
    assert place.run(LIST, "mr_nobody")[0] == 401


def test_the_examples_of_inference(place: Place, chatted: Any, api_key: str, admin_key: str) -> None:
    status, models = place.run(MODELS, api_key)
    assert status == 200
    assert {"gpt-oss:20b"} <= {each["id"] for each in models["data"]}
    assert place.run(CHAT, admin_key)[0] == 403  # its scope is administration only


def test_the_examples_of_history(place: Place, chatted: Any, admin_key: str, token: str) -> None:
    types = {each["request_type"]: each for each in chatted["records"]}
    assert {"chat", "responses"} <= set(types)
    one = types["chat"]
    assert (one["endpoint_name"], one["status"], one["model"]) == (
        "Ollama Server A",
        {"type": "success"},
        "gpt-oss:20b",
    )

    def kept() -> Any:
        status, found = place.read(DETAILS, token, one["id"])
        return found if status == 200 and found["request_body"] is not None else None

    details = eventually(kept, "no body was kept")
    assert details["request_body"]["messages"][0]["content"] == "Hello!"
    assert details["response_body"]["object"] == "chat.completion"
    status, exported = place.read(EXPORT, admin_key)
    assert status == 200
    assert exported.startswith("id,timestamp,request_type,model,runtime_id,")
    assert one["id"] in exported
    older = HISTORY.replace("/v0/", "/api/")
    assert place.read(older, admin_key, host="http://localhost:8080")[1]["total_count"] >= 2


def test_a_token_until_it_is_given_back(place: Place, token: str) -> None:
    made = place.ask("POST", "/v0/users", {"username": "eve", "role": "admin"}, key=token, status=201)
    sign_in = {"username": "eve", "password": made["generated_password"]}
    theirs = place.ask("POST", "/v0/auth/login", sign_in)
    assert theirs["user"]["must_change_password"] is True
    key = theirs["token"]
    assert place.ask("GET", "/v0/auth/me", key=key)["user_id"] == made["id"]
    place.ask("PUT", "/v0/auth/change-password", {"new_password": PASSWORD + "!"}, key=key, status=204)
    key = place.ask("POST", "/v0/auth/login", sign_in | {"password": PASSWORD + "!"})["token"]
    assert "eve" in [each["username"] for each in place.ask("GET", "/v0/users", key=key)["users"]]
    place.ask("POST", "/v0/auth/logout", key=key, status=204)
    assert list(place.ask("GET", "/v0/auth/me", key=key, status=401)) == ["error"]
    assert list(place.ask("GET", "/v0/users", key=key, status=401)) == ["error"]


@pytest.mark.parametrize("base", ["/v0", "/api"])
def test_people_and_their_keys(place: Place, token: str, base: str) -> None:
    wanted = {"username": f"bob{base[1:]}", "password": PASSWORD, "role": "viewer"}
    bob = place.ask("POST", f"{base}/users", wanted, key=token, status=201)
    viewer = place.ask("POST", f"{base}/auth/login", {**wanted, "role": None})["token"]
    for path in ("/users", "/api-keys", "/endpoints", "/dashboard/overview", "/dashboard/request-responses"):
        assert "error" in place.ask("GET", base + path, key=viewer, status=403)
    own = place.ask("POST", f"{base}/me/api-keys", {"name": "mine"}, key=viewer, status=201)
    one = f"{base}/me/api-keys/{own['id']}"
    assert place.ask("PUT", one, {"name": "ours"}, key=viewer)["name"] == "ours"
    assert [each["name"] for each in place.ask("GET", f"{base}/me/api-keys", key=viewer)["api_keys"]] == ["ours"]
    assert place.gateway.ask("GET", "/v1/models", key=own["key"]).status == 200
    place.ask("DELETE", one, key=viewer, status=204)
    assert place.gateway.ask("GET", "/v1/models", key=own["key"]).status == 401
    assert place.ask("PUT", f"{base}/users/{bob['id']}", {"role": "admin"}, key=token)["role"] == "admin"
    assert place.ask("GET", f"{base}/users", key=viewer)["users"]
    place.ask("DELETE", f"{base}/users/{bob['id']}", key=token, status=204)
    assert "error" in place.ask("GET", f"{base}/users", key=viewer, status=401)


def test_keys_of_administrators(place: Place, token: str) -> None:
    made = place.ask("POST", "/v0/api-keys", {"name": "soon gone", "permissions": ["logs.read"]}, key=token, status=201)
    one = f"/v0/api-keys/{made['id']}"
    place.ask("PUT", one, {"name": "gone", "expires_at": "2099-01-01T00:00:00Z"}, key=token)
    assert made["id"] in str(place.ask("GET", "/v0/api-keys", key=token))
    assert place.ask("GET", "/v0/dashboard/logs/lb", key=made["key"])["entries"]
    place.ask("GET", "/v0/users", key=made["key"], status=403)
    place.ask("DELETE", one, key=token, status=204)
    place.ask("GET", "/v0/dashboard/logs/lb", key=made["key"], status=401)


def test_somebody_is_invited(place: Place, token: str) -> None:
    made = place.ask("POST", "/v0/invitations", {"expires_in_hours": 2}, key=token, status=201)
    wanted = {"invitation_code": made["code"], "username": "joe", "password": PASSWORD}
    joe = place.ask("POST", "/v0/auth/register", wanted, status=201)
    (listed,) = place.ask("GET", "/v0/invitations", key=token)["invitations"]
    assert (listed["status"], listed["used_by"]) == ("used", joe["id"])
    other = place.ask("POST", "/v0/invitations", {}, key=token, status=201)
    place.ask("DELETE", f"/v0/invitations/{other['id']}", key=token, status=204)
    place.ask("POST", "/v0/auth/register", wanted | {"invitation_code": other["code"], "username": "x"}, status=400)


def test_the_last_administrator_stays(place: Place, token: str) -> None:
    users = place.ask("GET", "/v0/users", key=token)["users"]
    for each in users:
        if each["role"] == "admin" and each["username"] != "admin":
            place.ask("DELETE", f"/v0/users/{each['id']}", key=token, status=204)
    (admin,) = [each for each in users if each["username"] == "admin"]
    refused = place.ask("DELETE", f"/v0/users/{admin['id']}", key=token, status=400)
    assert refused == {"error": "Cannot delete the last administrator"}


def test_an_endpoint_is_tested_changed_and_removed(place: Place, endpoint: Any, admin_key: str) -> None:
    wanted = {"name": "B", "base_url": "http://127.0.0.1:9", "health_check_interval_secs": 300, "notes": "none there"}
    made = place.ask("POST", "/v0/endpoints", wanted, key=admin_key, status=201)
    assert made["status"] == "pending"
    one = f"/v0/endpoints/{made['id']}"
    assert place.ask("POST", f"{one}/test", key=admin_key)["success"] is False
    assert "error" in place.ask("POST", f"{one}/sync", key=admin_key, status=503)
    eventually(lambda: place.ask("GET", one, key=admin_key)["status"] == "offline" or None, "it is not offline")
    assert place.ask("PUT", one, {"notes": None}, key=admin_key)["notes"] is None
    place.ask("PUT", one, {"health_check_interval_secs": 5}, key=admin_key, status=400)
    place.ask("DELETE", one, key=admin_key, status=204)
    place.ask("GET", one, key=admin_key, status=404)
    tested = place.ask("POST", f"/v0/endpoints/{endpoint['id']}/test", key=admin_key)
    assert (tested["success"], tested["endpoint_info"]) == (True, {"model_count": 2})
    models = place.ask("GET", f"/v0/endpoints/{endpoint['id']}/models", key=admin_key)["models"]
    assert len(models) == endpoint["model_count"]


def test_the_dashboard(place: Place, endpoint: Any, chatted: Any, admin_key: str) -> None:
    def ask(path: str) -> Any:
        return place.ask("GET", f"/v0/dashboard{path}", key=admin_key)

    for word in ("nodes", "runtimes", "endpoints"):
        assert [each["id"] for each in ask(f"/{word}")] == [endpoint["id"]]
    stats = ask("/stats")
    assert (stats["total_endpoints"], stats["online_endpoints"], stats["openai_key_present"]) == (1, 1, False)
    assert stats["successful_requests"] >= 2
    assert ask("/stats/tokens")["total_tokens"] == stats["total_tokens"] > 0
    assert sum(each["request_count"] for each in ask("/stats/tokens/daily?days=2")) == stats["total_requests"]
    assert sum(each["request_count"] for each in ask("/stats/tokens/monthly")) == stats["total_requests"]
    assert len(ask("/request-history")) == 60
    overview = ask("/overview")
    assert overview["endpoint_tps"][0]["total_requests"] == overview["nodes"][0]["total_requests"] >= 2
    assert sum(each["total_requests"] for each in ask(f"/metrics/{endpoint['id']}")) >= 2
    assert ask("/logs/router")["source"] == "router"
    assert place.ask("GET", "/v0/metrics/summary", key=admin_key)["total_nodes"] == 1


def test_the_audit_log(place: Place, token: str, endpoint: Any) -> None:
    found = place.ask("GET", "/v0/dashboard/audit-logs?per_page=5&search=backend.create", key=token)
    assert found["items"][-1]["entity"] == "Ollama Server A"
    assert place.ask("GET", "/v0/dashboard/audit-logs/stats", key=token)["last_24h"] >= found["total"]
    assert place.ask("POST", "/v0/dashboard/audit-logs/verify", key=token)["valid"] is True


def test_metrics_of_providers(place: Place, admin_key: str) -> None:
    """A provider by its name, which nobody reaches by another."""
    with run_mock("vllm", place.home, "--model=gpt-cloud", "--answer-tokens=4", "--json-ms=1", name="cloud") as url:
        made = place.ask("POST", "/v0/endpoints", {"name": "openai", "base_url": url}, key=admin_key, status=201)
        asked = {"model": "gpt-cloud", "messages": MESSAGES}
        eventually(
            lambda: place.gateway.ask("POST", "/v1/chat/completions", asked, key=KEY).status == 200 or None,
            "the provider does not serve",
        )
        counted = 'cloud_requests_total{provider="openai",status="200"}'
        for path, key in (("/v0/metrics/cloud", admin_key), ("/api/metrics/cloud", admin_key), ("/metrics/cloud", "")):
            eventually(lambda path=path, key=key: counted in place.ask("GET", path, key=key) or None, path)
        place.ask("DELETE", f"/v0/endpoints/{made['id']}", key=admin_key, status=204)
    place.ask("GET", "/v0/metrics/cloud", key="mr_nobody", status=401)


def test_what_runs(place: Place) -> None:
    """`/api/version` is Ollama's, and says Ollama's version."""
    ours = place.ask("GET", "/v0/version")["version"]
    assert place.ask("GET", "/v0/system")["version"] == place.ask("GET", "/api/system")["version"] == ours


@pytest.mark.parametrize("path", ["/v0/nodes", "/v0/runtimes", "/api/models/register", "/v0/none", "/v0/users/1/2"])
def test_what_is_not_there_is_a_404_in_their_words(place: Place, path: str, token: str) -> None:
    assert place.ask("GET", path, key=token, status=404) == {"error": "There is nothing at this path."}
