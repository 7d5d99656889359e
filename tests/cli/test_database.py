"""`mrproxy migrate` and `mrproxy db`, as an administrator meets them."""

import fcntl
import json
import sqlite3

import pytest
from click.testing import CliRunner

from mrproxy.cli import main
from mrproxy.provision import open_data_directory
from mrproxy.storage.migrate import newest_revision
from tests.fakes.postgres import PASSWORD


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A command on an empty data directory."""
    monkeypatch.delenv("MRPROXY_DATABASE_URL", raising=False)
    open_data_directory(str(tmp_path / "data"))

    def run(*words: str, text: str | None = None):
        return CliRunner().invoke(main, [*words, "--data-dir", str(tmp_path / "data")], input=text)

    return run


def test_a_first_migration_and_what_it_says(run):
    assert run("migrate", "--check").exit_code == 1
    done = run("migrate")
    assert done.exit_code == 0
    assert f"migrated from nothing to {newest_revision()}" in done.stdout
    assert f"up to date ({newest_revision()})" in run("migrate").stdout
    assert run("migrate", "--check").exit_code == 0


def test_looking_creates_nothing(run, tmp_path):
    assert "no tables yet; `mrproxy migrate` makes them" in run("migrate", "--check").stdout
    assert run("db", "check").exit_code == 1
    assert not (tmp_path / "data" / "mrproxy.db").exists()


def test_json(run, tmp_path):
    assert json.loads(run("migrate", "--json").stdout) == {
        "database": str(tmp_path / "data" / "mrproxy.db"),
        "was": None,
        "is": newest_revision(),
        "newest": newest_revision(),
        "state": "current",
    }


def test_a_newer_database_is_left_alone_and_no_error(run, tmp_path):
    run("migrate")
    with sqlite3.connect(tmp_path / "data" / "mrproxy.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for command in (("migrate",), ("migrate", "--check"), ("db", "check")):
        done = run(*command)
        assert done.exit_code == 0
        assert "newer than this version knows" in done.stdout


def test_there_and_back(run, tmp_path):
    run("migrate")
    backup = str(tmp_path / "backup.db")
    assert run("db", "backup", backup).exit_code == 0
    assert "exists already" in run("db", "backup", backup).stderr
    assert run("db", "backup", backup, "--overwrite").exit_code == 0
    done = run("db", "restore", backup, "--yes")
    assert done.exit_code == 0
    assert "restored from" in done.stdout
    assert "mrproxy.db.until-" in done.stdout


def test_restoring_asks_first(run, tmp_path):
    run("migrate")
    run("db", "backup", str(tmp_path / "backup.db"))
    done = run("db", "restore", str(tmp_path / "backup.db"), text="n\n")
    assert done.exit_code == 1
    assert "This replaces the database" in done.stdout
    assert "restored" not in done.stdout


def test_restoring_under_a_running_gateway_is_refused(run, tmp_path):
    run("migrate")
    run("db", "backup", str(tmp_path / "backup.db"))
    directory = open_data_directory(str(tmp_path / "data"))
    directory.pid_file.write_text("4711")
    with open(directory.lock, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("db", "restore", str(tmp_path / "backup.db"), "--yes")
    assert done.exit_code == 1
    assert "(process 4711); stop it first" in done.stderr


def test_a_check_of_a_sound_database_counts_its_rows(run):
    run("migrate")
    done = run("db", "check", "--json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert report["rows"]["records"] == 0


def test_a_check_of_a_damaged_database_says_what_is_wrong(run, tmp_path):
    run("migrate")
    file = tmp_path / "data" / "mrproxy.db"
    content = bytearray(file.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    file.write_bytes(content)
    done = run("db", "check")
    assert done.exit_code == 1
    assert "malformed" in done.output or "invalid page" in done.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("migrate",), "cannot be reached"),
        (("migrate", "--check"), "cannot be reached"),
        (("db", "check"), "cannot be reached"),
    ],
)
def test_a_server_that_is_not_there_is_one_line(run, arguments, reason):
    done = run(*arguments, "--database-url", "postgresql://ada:hush@127.0.0.1:1/x")
    assert done.exit_code == 1
    assert reason in done.stderr
    assert len(done.output.splitlines()) == 1
    assert "hush" not in done.output


def test_a_wrong_url_is_one_line(run):
    done = run("migrate", "--database-url", "mysql://ada:hush@localhost/x")
    assert done.exit_code == 1
    assert "'mysql' is not supported" in done.stderr
    assert "hush" not in done.output


def test_a_mistyped_data_directory_is_no_empty_database(tmp_path):
    done = CliRunner().invoke(main, ["migrate", "--data-dir", str(tmp_path / "typo")])
    assert done.exit_code == 1
    assert "there is no data directory" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_all_of_it_on_postgresql(run, tmp_path, postgres_url, monkeypatch):
    monkeypatch.setenv("MRPROXY_DATABASE_URL", postgres_url)
    backup = str(tmp_path / "backup.dump")
    outputs = []
    for command in (("migrate",), ("db", "backup", backup), ("db", "restore", backup, "--yes"), ("db", "check")):
        done = run(*command)
        assert done.exit_code == 0, done.output
        outputs.append(done.output)
    assert "records=0" in outputs[-1]
    assert not any(PASSWORD in output or PASSWORD.replace(" ", "%20") in output for output in outputs)


def test_postgresql_that_a_newer_version_has_migrated_is_not_restored_by_this_one(
    run, tmp_path, postgres_server, postgres_url, monkeypatch
):
    monkeypatch.setenv("MRPROXY_DATABASE_URL", postgres_url)
    run("migrate")
    run("db", "backup", str(tmp_path / "backup.dump"))
    postgres_server.sql("UPDATE alembic_version SET version_num = '9999'", postgres_url.rpartition("/")[2])
    done = run("db", "restore", str(tmp_path / "backup.dump"), "--yes")
    assert done.exit_code == 1
    assert "restore with that version" in done.stderr
