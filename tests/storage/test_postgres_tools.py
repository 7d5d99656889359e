"""PostgreSQL's programs: found or asked for, never told a password where others can read it."""

from pathlib import Path

import pytest

from mrproxy.storage import postgres_tools as module
from mrproxy.storage.backup import back_up, restore
from mrproxy.storage.postgres_tools import ToolFailed, environment, find
from mrproxy.storage.urls import locate


def test_the_environment_says_where_the_database_is():
    url = locate("postgresql://ada:s%20e@db.example:5433/gateway?sslmode=require&connect_timeout=3", Path()).url
    assert environment(url) == {
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGUSER": "ada",
        "PGPASSWORD": "s e",
        "PGDATABASE": "gateway",
        "PGSSLMODE": "require",
        "PGCONNECT_TIMEOUT": "3",
        "PGAPPNAME": "mrproxy",
        "LC_ALL": "C",
    }


def test_what_the_url_leaves_open_is_left_to_libpq():
    url = locate("postgresql:///gateway?host=/run/postgresql&port=5433", Path()).url
    assert environment(url).keys() & {"PGUSER", "PGPASSWORD", "PGSSLMODE"} == set()
    assert (environment(url)["PGHOST"], environment(url)["PGPORT"]) == ("/run/postgresql", "5433")


def test_a_program_of_the_path_comes_first_then_debians_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for directory in ("9/bin", "15/bin", "x/bin"):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "pg_dump").touch()
    assert find("pg_dump") == str(tmp_path / "15/bin/pg_dump")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "pg_dump").touch(mode=0o755)
    assert find("pg_dump") == str(tmp_path / "path/pg_dump")


def test_a_program_that_is_missing_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    location = locate("postgresql://a@127.0.0.1/x", tmp_path)
    (tmp_path / "dump").touch()
    for act in (lambda: back_up(location, tmp_path / "new"), lambda: restore(location, tmp_path / "dump", float)):
        with pytest.raises(ToolFailed, match="apt-get install postgresql-client"):
            act()
    assert [each.name for each in tmp_path.iterdir()] == ["dump"]


def test_a_refused_login_is_said_and_not_shown(postgres_server, tmp_path):
    location = locate(postgres_server.url("postgres", password="guessed"), tmp_path)
    with pytest.raises(ToolFailed, match="password authentication failed") as caught:
        back_up(location, tmp_path / "backup")
    assert "guessed" not in str(caught.value)


def test_what_others_have_in_the_database_survives_a_restore(postgres_server, postgres_url, tmp_path):
    location, name = locate(postgres_url, tmp_path), postgres_url.rpartition("/")[2]
    back_up(location, tmp_path / "backup")
    postgres_server.sql("CREATE TABLE theirs (x int); INSERT INTO theirs VALUES (7)", name)
    restore(location, tmp_path / "backup", float)
    assert postgres_server.sql("SELECT x FROM theirs", name) == "7"


def test_a_restore_that_fails_at_its_end_changes_nothing(postgres_server, postgres_url, tmp_path):
    location, name = locate(postgres_url, tmp_path), postgres_url.rpartition("/")[2]
    postgres_server.sql("CREATE TABLE ours (x int); CREATE TABLE parent (id int)", name)
    back_up(location, tmp_path / "backup")
    # A view of somebody else's stands on a table that the restore has to drop.
    postgres_server.sql("CREATE VIEW theirs AS SELECT * FROM parent; INSERT INTO ours VALUES (7)", name)
    with pytest.raises(ToolFailed, match="depend"):
        restore(location, tmp_path / "backup", float)
    assert postgres_server.sql("SELECT x FROM ours", name) == "7"
