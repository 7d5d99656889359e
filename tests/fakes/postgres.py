"""A PostgreSQL server of the tests' own; a session starts one at its first need.

Import `postgres_server` into a conftest.py. Without binaries its tests are skipped.
"""

import os
import select
import subprocess
from collections.abc import Iterator

import pytest

from bench.children import free_port
from bench.postgres import CLIENT, DEADLINE_SECONDS, PASSWORD, PostgresServer, find_binaries, run_postgres

__all__ = ["PASSWORD", "PostgresServer", "SharedDatabase", "free_port", "postgres_server", "postgres_url"]

END = "-- that was all --"
DISCONNECT_OTHERS = """
SET client_min_messages = warning;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
"""
# Where a statement that makes, changes or drops something writes, and the number that says whether that was built in.
CATALOGS = {
    "attrdef": "oid",
    "attribute": "attrelid",
    "class": "oid",
    "constraint": "oid",
    "index": "indexrelid",
    "namespace": "oid",
    "proc": "oid",
    "sequence": "seqrelid",
    "statistic": "starelid",
    "trigger": "oid",
    "type": "oid",
}
SHAPE = " UNION ALL ".join(
    f"SELECT count(*), max(xmin::text::bigint) FROM pg_{catalog} WHERE {oid} >= 16384"
    for catalog, oid in CATALOGS.items()
)
# The schema as it is in a new database.
NEW_SCHEMA = """
DROP SCHEMA public CASCADE;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
COMMENT ON SCHEMA public IS 'standard public schema';
"""
REMOVE_ROWS = """
SELECT 'TRUNCATE ' || string_agg(oid::regclass::text, ', ') || ' CASCADE'
    FROM pg_class WHERE oid >= 16384 AND relkind = 'r' AND pg_relation_size(oid) > 0
    HAVING count(*) > 0 \\gexec
SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence;
"""


class Session:
    """A psql that stays on one database: a statement costs neither a program nor a login. OSError when it is gone."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.url = url
        self._psql = subprocess.Popen(
            server.psql(url),
            env=CLIENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, script: str) -> str:
        """What it wrote. After an error, or when the server has gone, it has ended."""
        assert self._psql.stdin is not None
        assert self._psql.stdout is not None
        self._psql.stdin.write(f"{script}\n\\echo {END}\n".encode())
        self._psql.stdin.flush()
        output = b""
        while not output.endswith(f"{END}\n".encode()):
            readable, _, _ = select.select([self._psql.stdout], [], [], DEADLINE_SECONDS)
            read = os.read(self._psql.stdout.fileno(), 1 << 16) if readable else b""
            if not read:
                raise ConnectionError(f"psql: {output.decode()}")
            output += read
        return output.decode().removesuffix(f"{END}\n").strip()

    def close(self) -> None:
        self._psql.kill()
        self._psql.communicate()


class SharedDatabase:
    """One for many tests: to make it as new costs less than a new one. What it has when it is new, `tables` makes."""

    def __init__(self, server: PostgresServer, tables: str = "") -> None:
        self._server = server
        self._tables = tables
        self._session: Session | None = None
        self._shape = ""

    def take(self) -> str:
        """Its URL: as new, and nobody is on it any more. After the server was stopped or killed, another database."""
        if not self._server.is_running():
            self._server.start()  # the test before this one failed with the server down
        if self._session is not None:
            try:
                self._renew(self._session)
            except OSError:
                self.close()
        if self._session is None:
            self._session = Session(self._server, self._server.create_database())
            self._renew(self._session)
        return self._session.url

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session, self._shape = None, ""

    def _renew(self, session: Session) -> None:
        session.run(DISCONNECT_OTHERS)
        is_whole = session.run(f"{SHAPE};") == self._shape
        session.run(REMOVE_ROWS if is_whole else f"BEGIN;{NEW_SCHEMA}{self._tables};COMMIT;")
        self._shape = session.run(f"{SHAPE};")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Running. A test that stops it starts it again."""
    if find_binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with run_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database for one test."""
    if not postgres_server.is_running():
        postgres_server.start()  # the test before this one failed with the server down
    url = postgres_server.create_database()
    yield url
    if postgres_server.is_running():
        postgres_server.drop_database(url)
