"""Shell. `mrproxy key` without a database: keys.json of the data directory."""

import fcntl
import json
import os
import signal

import pytest
from click.testing import CliRunner

from mrproxy.cli import main
from mrproxy.identity.digest import digest_key
from mrproxy.provision import open_data_directory, read_keys, read_secret


@pytest.fixture
def key(tmp_path):
    def run(command: str, *arguments: str, text: str | None = None):
        return CliRunner().invoke(main, ["key", command, "--data-dir", str(tmp_path / "data"), *arguments], input=text)

    return run


def test_a_created_key_is_the_only_line_on_standard_output(key, tmp_path):
    result = key(
        "create", "--user", "ada", "--models", "a, b", "--token-budget", "5", "--expires", "2027-01-01T00:00:00Z"
    )
    assert result.exit_code == 0
    secret = result.stdout.strip()
    directory = open_data_directory(str(tmp_path / "data"))
    (stored,) = read_keys(directory) or ()
    assert stored.digest == digest_key(read_secret(directory), secret.encode()).hex()
    assert (stored.user, stored.models, stored.limits.token_budget) == ("ada", ("a", "b"), 5)
    assert "cannot be shown again" in result.stderr
    assert "at its next start" in result.stderr


def test_json_has_the_key_once_and_the_list_never(key):
    created = json.loads(key("create", "--name", "n", "--json").stdout)
    assert created["key"].startswith("mr_")
    (listed,) = json.loads(key("list", "--json").stdout)
    assert listed == {name: value for name, value in created.items() if name != "key"}


def test_the_list_on_a_pipe_is_tab_separated(key):
    key("create", "--user", "ada", "--user", "ada", "--requests-per-minute", "3", "--expires", "2027-01-01T00:00:00Z")
    header, row = key("list").stdout.splitlines()
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert (cells["user"], cells["expires_utc"], cells["limits"]) == (
        "ada",
        "2027-01-01T00:00:00Z",
        "requests_per_minute=3",
    )
    assert cells["models"] == "-"


def test_a_revoked_key_is_gone(key):
    key("create", "--name", "n")
    assert "Revoked" in key("revoke", "n").stdout
    assert json.loads(key("list", "--json").stdout) == []
    result = key("revoke", "n")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: no key is called 'n'; see `mrproxy key list` and use the id\n",
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--group", "staff"), "a group belongs to a user"),
        (("--expires", "soon"), "RFC 3339"),
        (("--scopes", "admin"), "only a gateway with a database"),
        (("--addresses", "10.0.0.0/8", "--scopes=read"), "--scopes and --addresses"),
        (("--token-budget", "0"), "0 is not in the range"),
    ],
)
def test_wrong_wishes_are_refused_with_the_reason(key, arguments, reason):
    result = key("create", *arguments)
    assert result.exit_code in (1, 2)
    assert reason in result.stderr


def test_a_digest_is_made_from_standard_input(key, tmp_path):
    key("create")
    result = key("digest", text="my key\n")
    secret = read_secret(open_data_directory(str(tmp_path / "data")))
    assert result.stdout.strip() == digest_key(secret, b"my key").hex()
    assert key("digest", text="").exit_code == 1


def test_a_running_supervisor_is_told_to_reload(key, tmp_path):
    received = []
    before = signal.signal(signal.SIGHUP, lambda number, _: received.append(number))
    directory = open_data_directory(str(tmp_path / "data"))
    directory.pid_file.write_text(str(os.getpid()))
    try:
        with open(directory.lock, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert "was told to reload" in key("create").stderr
    finally:
        signal.signal(signal.SIGHUP, before)
    assert received == [signal.SIGHUP]


def test_one_key_is_shown_and_lists_can_be_narrowed(key):
    key("create", "--user", "ada", "--name", "a")
    key("create", "--user", "bob", "--name", "Zz", "--expires", "2020-01-01T00:00:00Z")
    assert "user\tada\n" in key("show", "a").stdout
    assert key("show", "nobody").exit_code == 1
    for words in (["--user=bob"], ["--status=expired"], ["--search=zz"]):
        assert [row["name"] for row in json.loads(key("list", "--json", *words).stdout)] == ["Zz"]


def test_what_needs_a_database_says_so(key):
    key("create", "--name", "a")
    for words in (["rotate", "a"], ["change", "a", "--rename=b"]):
        result = key(*words)
        assert result.exit_code == 1
        assert "needs a gateway that runs with a database" in result.stderr


def test_which_way_it_was_is_said(key, tmp_path):
    assert "keys.json) No gateway runs" in key("create").stderr
    assert f"These are the keys of {tmp_path / 'data' / 'keys.json'}" in key("list").stderr
