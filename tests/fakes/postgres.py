"""A PostgreSQL server of the tests' own; a session starts one at its first need.

Import `postgres_server` into a conftest.py. Without binaries its tests are skipped.
"""

from collections.abc import Iterator

import pytest

from bench.children import free_port
from bench.postgres import PASSWORD, PostgresServer, find_binaries, run_postgres

__all__ = ["PASSWORD", "PostgresServer", "free_port", "postgres_server", "postgres_url"]


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
