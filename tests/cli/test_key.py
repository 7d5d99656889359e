"""Shell. `mrproxy key`: the way through the API, and which of the two ways is taken."""

import fcntl
import json
import os
from dataclasses import replace

import msgspec
import pytest

from mrproxy.link.snapshot import Snapshot, write
from mrproxy.provision import NewKey, create_key, open_data_directory, read_keys
from tests.fakes.api_server import page, problem

KEY = {"id": "k1", "name": "laptop", "source": "managed", "user": "ada", "limits": {"token_budget": None}}
MADE = KEY | {"key": "mr_shown-once"}
ADA = {"id": "u1", "name": "ada", "source": "managed", "group": "staff"}


@pytest.fixture
def keys(api):
    api.answers |= {"GET /keys": page(KEY), "GET /keys/k1": KEY, "POST /keys": MADE, "GET /users/ada": ADA}
    api.answers |= {"POST /keys/k1/revoke": KEY, "POST /keys/k1/rotate": MADE, "PATCH /keys/k1": KEY}
    return api


def test_a_created_key_is_the_only_line_on_standard_output(keys, run):
    result = run("key", "create", "--user=ada", "--models=a, b", "--scopes=read", "--addresses=10.0.0.0/8")
    assert result.stdout == "mr_shown-once\n"
    assert "kept in the database" in result.stderr
    wanted = {"name": "ada", "user": "ada", "models": ["a", "b"], "scopes": ["read"], "addresses": ["10.0.0.0/8"]}
    assert keys.bodies("POST") == [wanted]
    assert json.loads(run("key", "create", "--user=ada", "--json").stdout) == MADE


def test_without_a_user_it_is_a_service_key(keys, run):
    run("key", "create", "--name=ci", "--group=service", "--token-budget=5")
    run("key", "create")
    assert keys.bodies("POST") == [
        {"name": "ci", "group": "service", "limits": {"token_budget": 5}},
        {"name": "unnamed", "group": "other"},
    ]


def test_a_user_that_is_new_is_made(keys, run):
    keys.answers |= {"GET /users": page(), "POST /users": ADA | {"name": "bob"}}
    run("key", "create", "--user=bob")
    assert keys.bodies("POST") == [{"name": "bob", "group": "other"}, {"name": "bob", "user": "bob"}]
    assert "User bob was made, in staff." in run("key", "create", "--user=bob", "--group=staff").stderr
    assert keys.bodies("POST")[2:] == [{"name": "bob", "group": "staff"}, {"name": "bob", "user": "bob"}]


def test_a_user_stays_in_his_group(keys, run):
    assert run("key", "create", "--user=ada", "--group=staff").exit_code == 0
    result = run("key", "create", "--user=ada", "--group=admin")
    assert result.exit_code == 1
    assert "ada is in staff" in result.stderr


def test_a_user_of_the_configuration_has_his_keys_in_the_file(keys, run, tmp_path):
    keys.answers["GET /users/ada"] = ADA | {"source": "configuration"}
    assert "keys.json" in run("key", "create", "--user=ada").stderr
    (stored,) = read_keys(open_data_directory(str(tmp_path / "d"))) or ()
    assert (stored.user, keys.bodies("POST")) == ("ada", [])


def test_a_key_of_the_file_is_revoked_there(keys, run, tmp_path):
    directory = open_data_directory(str(tmp_path / "d"))
    _, stored = create_key(directory, NewKey(name="first", user="admin"), lambda: 1.0)
    keys.answers["GET /keys"] = page(KEY | {"id": stored.id, "name": "first", "source": "configuration"})
    assert f"Revoked {stored.id} (first)." in run("key", "revoke", "first").stdout
    assert (read_keys(directory), keys.bodies("POST")) == ((), [])


def test_a_key_of_the_configuration_is_refused_in_the_gateways_words(keys, run):
    keys.answers["GET /keys/k1"] = KEY | {"source": "configuration"}
    keys.answers["POST /keys/k1/revoke"] = problem(409, "configured", "It is set in the configuration", "Change it.")
    assert "It is set in the configuration: Change it." in run("key", "revoke", "k1").stderr


def test_a_key_is_found_by_the_name_of_one_that_is_good(keys, run):
    assert run("key", "revoke", "laptop").stdout == "Revoked k1 (laptop). Nobody can use it from now on.\n"
    assert keys.asked[-2].query == {"limit": "500", "status": "active", "search": "laptop"}
    assert "user\tada\n" in run("key", "show", "laptop").stdout


def test_change_and_rotation(keys, run):
    run("key", "change", "k1", "--expires=none", "--requests-per-minute=60")
    assert keys.bodies("PATCH") == [{"expires_utc": None, "limits": {"requests_per_minute": 60}}]
    assert run("key", "rotate", "laptop", "--overlap=24h").stdout == "mr_shown-once\n"
    assert json.loads(run("key", "rotate", "k1", "--json").stdout) == MADE
    assert keys.bodies("POST") == [{"overlap_seconds": 86_400.0}, {}]


def test_ones_own_keys_are_below_me(there, run):
    there.answers |= {"GET /me/keys": page(KEY), "POST /me/keys": MADE, "GET /me/keys/k1": KEY}
    there.answers |= {"POST /me/keys/k1/revoke": KEY, "POST /me/keys/k1/rotate": MADE}
    for words in (["create", "--name=x"], ["list"], ["show", "k1"], ["revoke", "k1"], ["rotate", "laptop"]):
        assert run("key", *words, "--mine", url=there.url).exit_code == 0
    assert {asked.path.split("/")[4] for asked in there.asked} == {"me"}
    assert run("key", "list", "--mine", "--user=ada", url=there.url).exit_code == 2


def test_a_list_elsewhere_asks_for_no_status(there, run):
    there.answers["GET /keys"] = page(KEY)
    assert "laptop" in run("key", "list", "--status=active", url=there.url).stdout
    assert there.targets() == ["GET /keys"]
    assert run("key", "list", "--offline", url=there.url).exit_code == 2


def test_a_gateway_without_a_database_has_its_keys_in_the_file(keys, run, tmp_path):
    keys.answers["GET /status"] = {"storage": None}
    assert "keys.json" in run("key", "create").stderr
    assert keys.bodies("POST") == []


def test_offline_is_offline(keys, run, tmp_path):
    run("key", "create", "--offline")
    assert (keys.asked, len(read_keys(open_data_directory(str(tmp_path / "d"))) or ())) == ([], 1)


@pytest.mark.parametrize(("records", "exit_code"), [(True, 3), (False, 0)])
def test_a_gateway_that_runs_and_does_not_answer_is_not_passed_over(run, tmp_path, records, exit_code):
    directory = open_data_directory(str(tmp_path / "d"))
    snapshot = Snapshot(generation=1, created_utc=0.0)
    write(directory.configured, snapshot if records else replaced(snapshot))
    directory.pid_file.write_text(str(os.getpid()))
    with open(directory.lock, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run("key", "list")
    assert result.exit_code == exit_code
    assert ("--offline uses keys.json" in result.stderr) is records


def replaced(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, settings=replace(snapshot.settings, records=False))
