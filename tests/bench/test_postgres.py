"""A server of one's own: what it is asked to do, it does."""

import os
import subprocess
from pathlib import Path

import pytest

from bench import postgres
from tests.fakes.postgres import PostgresServer, postgres_server
from tests.front_door.gateway import eventually

__all__ = ["postgres_server"]

pytestmark = pytest.mark.slow


def states(server: PostgresServer) -> set[str]:
    """Of its processes, as the kernel says: T is stopped."""
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in server._processes()}


def test_a_server_that_is_frozen_answers_once_it_is_thawed(postgres_server):
    postgres_server.freeze()
    try:
        eventually(lambda: states(postgres_server) == {"T"} or None, "a process goes on")
    finally:
        postgres_server.thaw()
    assert postgres_server.sql("SELECT 1 + 1") == "2"


def test_what_was_committed_outlives_a_kill(postgres_server):
    url = postgres_server.create_database()
    name = url.rpartition("/")[2]
    postgres_server.sql("CREATE TABLE kept AS SELECT 7 AS number", name)
    postgres_server.kill()
    assert not postgres_server.is_running()
    postgres_server.start()
    assert postgres_server.sql("SELECT number FROM kept", name) == "7"
    postgres_server.drop_database(url)


def test_one_that_is_dead_does_not_run_whether_it_was_reaped_or_not(tmp_path):
    server = postgres.PostgresServer(tmp_path, tmp_path, 0)
    (tmp_path / "data").mkdir()
    with subprocess.Popen(["true"]) as dead:
        (tmp_path / "data" / "postmaster.pid").write_text(f"{dead.pid}\n")
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        assert not server.is_running()
    assert not server.is_running()


def test_a_statement_that_fails_says_why(postgres_server):
    with pytest.raises(RuntimeError, match="syntax error"):
        postgres_server.sql("SELEKT 1")


def test_without_binaries_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(postgres, "find_binaries", lambda: None)
    with pytest.raises(FileNotFoundError, match="apt-get install postgresql"), postgres.run_postgres():
        raise AssertionError


def test_programs_run_without_privileges_where_that_is_possible():
    runner = postgres.unprivileged()
    assert subprocess.run(["true"], **runner, check=True).returncode == 0
    assert runner.get("user") != 0
