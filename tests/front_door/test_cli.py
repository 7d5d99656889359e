"""Each verb of the command line against a running gateway: here over its socket, and elsewhere by a key."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.children import run_child, wait_for_output
from bench.demo import program
from mrproxy.cli import main
from mrproxy.control.first_administrator import PASSWORD_NAME
from tests.front_door.gateway import KEY, MESSAGES, Gateway, eventually, key_table, run_gateway, run_mock

pytestmark = pytest.mark.slow

CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 3}
NAME = "zoë 用户"
HERE = ("MRPROXY_URL", "MRPROXY_KEY", "MRPROXY_KEY_FILE", "MRPROXY_DATA_DIR", "MRPROXY_CONFIG")


@dataclass
class Shell:
    """`here("user", "list")` and `there(...)`, the same by a key. What is printed on standard output comes back."""

    gateway: Gateway
    key: str = ""
    environment: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(HERE))

    def run(self, *words: str, text: str | None = None, **environment: str) -> Result:
        return CliRunner().invoke(main, words, input=text, env=self.environment | environment)

    def here(self, *words: str) -> str:
        result = self.run(*words, f"--data-dir={self.gateway.data_dir}")
        assert result.exit_code == 0, (words, result.output)
        return result.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.here(*words, "--json"))

    def there(self, *words: str) -> str:
        result = self.run(*words, MRPROXY_URL=self.gateway.url, MRPROXY_KEY=self.key)
        assert result.exit_code == 0, (words, result.output)
        return result.stdout

    def done(self, *words: str) -> bool | None:
        """None until it goes well."""
        return self.run(*words, f"--data-dir={self.gateway.data_dir}").exit_code == 0 or None

    def chat(self, key: str) -> int:
        return self.gateway.ask("POST", "/v1/chat/completions", CHAT, key=key).status


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("cli")
    users = '[[users]]\nname = "ada"\ngroup = "staff"\n'
    with run_gateway(directory, users + key_table(KEY, "ada"), options=["--no-discover"], waits=False) as running:
        eventually(lambda: (running.data_dir / PASSWORD_NAME).exists() or None, running.child.output())
        yield running


@pytest.fixture(scope="module")
def shell(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """With a backend, an administrator's key, and a request that was answered."""
    with run_mock("vllm", tmp_path_factory.mktemp("engine"), "--model=mock-8b") as url:
        made = Shell(gateway)
        assert made.json("backend", "add", f"vllm={url}", "--name=engine")["source"] == "managed"
        words = ("--user=root", "--group=admin", "--scopes=admin,inference")
        made.key = made.here("key", "create", *words).strip()
        eventually(lambda: made.chat(made.key) == 200 or None, "the new backend does not serve")
        eventually(lambda: made.json("records", "list") or None, "the request does not come into the database")
        yield made


# Here


def test_users_are_managed(shell: Shell):
    assert shell.json("user", "add", NAME, "--group=student", "--token-budget=500")["limits"]["token_budget"] == 500
    assert shell.json("user", "change", NAME, "--token-budget=none", "--full-name=Zoë")["full_name"] == "Zoë"
    assert shell.json("user", "show", NAME)["limits"]["token_budget"] is None
    names = [line.split("\t")[0] for line in shell.here("user", "list").splitlines()]
    assert {"name", "ada", NAME, "admin"} <= set(names)
    assert len(shell.here("user", "reset-password", NAME).strip()) >= 20
    shell.here("user", "unlock", NAME)
    assert shell.here("user", "invite", "--group=student").startswith("inv_")
    (invitation,) = shell.json("user", "invitations", "--status=active")
    shell.here("user", "uninvite", invitation["id"])
    assert "sessions have ended" in shell.here("session", "revoke", NAME, "--all")
    assert shell.json("session", "list", NAME) == []
    assert shell.here("user", "delete", NAME, "--yes").startswith(NAME)


def test_groups_are_managed(shell: Shell):
    assert shell.json("group", "add", "räume", "--weight=3", "--shared-concurrent-requests=4")["weight"] == 3
    assert shell.json("group", "change", "räume", "--models=mock-8b")["models"] == ["mock-8b"]
    assert shell.json("group", "show", "räume")["shared"]["concurrent_requests"] == 4
    assert "räume\tmanaged\t3" in shell.here("group", "list")
    assert shell.here("group", "delete", "räume", "--yes") == "räume: deleted\n"


def test_a_key_is_good_when_it_is_printed_and_bad_when_it_is_revoked(shell: Shell):
    key = shell.here("key", "create", "--user=bob", "--group=staff", "--name=laptop").strip()
    assert shell.chat(key) == 200
    assert shell.json("key", "change", "laptop", "--requests-per-minute=600")["limits"]["requests_per_minute"] == 600
    assert shell.json("key", "show", "laptop")["user"] == "bob"
    newer = shell.here("key", "rotate", "laptop").strip()
    assert (shell.chat(key), shell.chat(newer)) == (401, 200)
    (listed,) = shell.json("key", "list", "--user=bob", "--status=active")
    assert "Revoked" in shell.here("key", "revoke", listed["id"])
    assert shell.chat(newer) == 401


def test_a_user_of_the_configuration_gets_a_key_in_the_file_and_loses_it(shell: Shell):
    made = shell.json("key", "create", "--user=ada", "--name=from the file")
    eventually(lambda: shell.chat(made["key"]) == 200 or None, "the new key is not taken over")
    assert [each["id"] for each in shell.json("key", "list", "--offline", "--user=ada")] == [made["id"]]
    assert "keys.json" in shell.here("key", "revoke", made["id"])
    eventually(lambda: shell.chat(made["key"]) == 401 or None, "the revoked key is still good")


def test_backends_are_managed(shell: Shell):
    shell.here("backend", "add", "http://127.0.0.1:9", "--name=höhle", "--priority=3")
    assert shell.json("backend", "change", "höhle", "--max-concurrent=7")["max_concurrent"] == 7
    assert shell.json("backend", "show", "höhle")["priority"] == 3
    for verb, state in (("drain", "draining"), ("undrain", "down")):
        eventually(lambda verb=verb: shell.done("backend", verb, "höhle"), f"no worker can be told to {verb}")
        found = {each["name"]: each["live"] for each in shell.json("backend", "list")}
        assert found["höhle"]["state"] == state
    assert shell.here("backend", "disable", "höhle") == "höhle: disabled\n"
    assert shell.here("backend", "enable", "höhle") == "höhle: enabled\n"
    assert shell.here("backend", "remove", "höhle", "--yes") == "höhle: removed\n"
    assert [each["name"] for each in shell.json("backend", "list", "--workers")][:1] == ["engine"]


def test_models_have_weights_and_prices(shell: Shell):
    assert shell.json("model", "set", "org/modell-ü", "--weight=2", "--prompt-price=0.15")["prompt_price"] == 150_000
    assert shell.json("model", "set", "org/modell-ü", "--prompt-price=none")["prompt_price"] is None
    assert "org/modell-ü\tmanaged\t2\t-\t-" in shell.here("model", "list")
    shell.here("model", "delete", "org/modell-ü")
    assert shell.json("model", "list") == []


def test_a_member_asks_for_more_and_sees_only_his_own(shell: Shell):
    words = ("--user=eve", "--group=student", "--scopes=own,inference")
    member = Shell(shell.gateway, shell.here("key", "create", *words).strip())
    member.there("quota", "ask", "--tokens=1000", "--justification=thesis")
    member.there("quota", "ask", "--requests-per-minute=90")
    numbers = [each["id"] for each in shell.json("quota", "list", "--status=pending", "--user=eve")]
    shell.here("quota", "approve", numbers[0], "--notes=yes")
    shell.here("quota", "deny", numbers[1])
    assert "approved" in member.there("quota", "list", "--mine")
    assert [each["name"] for each in json.loads(member.there("key", "list", "--mine", "--json"))] == ["eve"]
    assert json.loads(member.there("records", "list", "--json")) == []
    assert "own-keys.read" in member.there("whoami")
    for verb in (["user", "list"], ["audit", "list"], ["log"], ["backend", "list"], ["usage", "--user=root"]):
        result = member.run(*verb, MRPROXY_URL=shell.gateway.url, MRPROXY_KEY=member.key)
        assert (result.exit_code, result.stdout) == (1, ""), verb
        assert "You may not do this: This needs the permission" in result.stderr
        assert member.key not in result.output


def test_what_went_on_is_seen(shell: Shell):
    assert "engine\tvllm\troutable" in shell.here("status")
    publisher = shell.json("status")["publisher"]
    assert (publisher["problem"], publisher["is_audit_log_whole"], publisher["changes"] > 0) == (None, True, True)
    assert "mrproxy_publisher_up 1.0" in shell.gateway.ask("GET", "/metrics").body.decode()
    assert shell.json("top")["status"]["ready"] is True
    assert "# callers that wait" in shell.here("top")
    assert any(entry["event"] == "reloaded" for entry in shell.json("log", "--component=worker w1"))
    assert shell.json("audit", "list", "--action=backend.create")[-1]["entity"] == "engine"
    assert "none changed or removed" in shell.here("audit", "verify")
    assert shell.json("whoami")["kind"] == "local"
    found = {each["check"]: each["level"] for each in shell.json("doctor")}
    assert (found["gateway"], found["database"], found["backend engine"]) == ("ok", "ok", "ok")


# Elsewhere


def test_all_of_it_can_be_asked_elsewhere_by_a_key(shell: Shell, tmp_path: Path):
    listed = json.loads(shell.there("user", "list", "--json"))
    assert {"ada", "root"} <= {each["name"] for each in listed}
    assert json.loads(shell.there("user", "add", "ünal", "--json"))["group"] == "other"
    assert shell.there("user", "delete", "ünal", "--yes") == "ünal: deleted\n"
    assert "routable" in shell.there("backend", "list")
    assert "none changed or removed" in shell.there("audit", "verify")
    assert "reloaded" in shell.there("log")
    there, here = json.loads(shell.there("records", "list", "--status=2xx", "--json")), shell.json("records", "list")
    assert {each["request_id"] for each in there} <= {each["request_id"] for each in here}
    one = there[-1]["request_id"]
    assert f"request_id\t{one}" in shell.there("records", "show", one)
    shell.there("records", "export", "--format=jsonl", "--status=2xx", f"--output={tmp_path / 'out'}")
    assert one in [json.loads(line)["request_id"] for line in (tmp_path / "out").read_text().splitlines()]
    assert shell.there("usage", "--by=user").splitlines()[-1].startswith("(all)\t")


def test_a_wrong_key_is_refused_and_not_repeated(shell: Shell):
    result = shell.run("user", "list", MRPROXY_URL=shell.gateway.url, MRPROXY_KEY="mr_wrong")
    assert (result.exit_code, "mr_wrong" in result.output) == (1, False)
    assert "These credentials are not valid" in result.stderr
    nobody = shell.run("user", "list", MRPROXY_URL=shell.gateway.url)
    assert "No key was sent: use --key-file" in nobody.stderr


def test_a_mistake_is_said_with_the_field(shell: Shell):
    result = shell.run("user", "add", "x" * 200, f"--data-dir={shell.gateway.data_dir}")
    assert result.exit_code == 1
    assert "/name: " in result.stderr


# As a program


def test_a_reader_that_has_seen_enough_ends_it_quietly(shell: Shell):
    command = program("mrproxy", "audit", "list", f"--data-dir={shell.gateway.data_dir}")
    environment = {name: value for name, value in os.environ.items() if name not in HERE}
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=environment, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


def test_ctrl_c_ends_following_quietly(shell: Shell, tmp_path: Path):
    command = program("mrproxy", "log", "--follow", f"--data-dir={shell.gateway.data_dir}")
    with run_child("log", command, tmp_path, environment={"PYTHONUNBUFFERED": "1"}) as child:
        wait_for_output(child, "reloaded", seconds=15)
        child.process.send_signal(signal.SIGINT)
        assert child.process.wait(10) == 0
        assert "Traceback" not in child.output()


# Without a database


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    config = "records = false\n" + key_table(KEY, "root", group="admin")
    with run_gateway(tmp_path_factory.mktemp("bare"), config, options=["--no-discover"], waits=False) as running:
        eventually(lambda: running.ask("GET", "/status").status == 200 or None, "the control plane does not answer")
        yield Shell(running, KEY)


def test_what_needs_a_database_says_that_there_is_none(bare: Shell):
    result = bare.run("user", "add", "zoë", f"--data-dir={bare.gateway.data_dir}")
    assert result.exit_code == 1
    assert "This gateway has no database" in result.stderr
    answer = bare.gateway.ask("GET", "/admin/api/v1/audit", key="")
    assert answer.status == 401
    socket_answer = bare.run("audit", "list", f"--data-dir={bare.gateway.data_dir}")
    assert (socket_answer.exit_code, socket_answer.stdout) == (1, "")


def test_what_needs_none_is_there(bare: Shell):
    assert [each["name"] for each in bare.json("key", "list")] == []
    assert [each["id"] for each in bare.json("user", "list")] == []
    assert bare.json("log")
    assert "warning: there is no database" in bare.here("status")
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert bare.gateway.ask("GET", path, key="").status == 200


def test_keys_are_kept_in_the_file(bare: Shell):
    made = bare.json("key", "create", "--user=zoë", "--group=staff")
    eventually(lambda: bare.chat(made["key"]) != 401 or None, "the new key is not taken over")
    assert [each["id"] for each in bare.json("key", "list")] == [made["id"]]
    assert "keys.json" in bare.here("key", "revoke", made["id"])
