"""Every test of the storage runs on both databases, unless it is about one of them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mrproxy.storage.database import Database
from mrproxy.storage.urls import Location, locate
from tests.fakes.postgres import PostgresServer, SharedDatabase
from tests.storage.tables import make_file, opened, statements

KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture
def sqlite_location(tmp_path: Path) -> Location:
    return locate("", tmp_path)


@pytest.fixture(scope="session")
def empty_postgres(postgres_server: PostgresServer) -> Iterator[SharedDatabase]:
    with closing(SharedDatabase(postgres_server)) as shared:
        yield shared


@pytest.fixture(scope="session")
def postgres_with_tables(postgres_server: PostgresServer) -> Iterator[SharedDatabase]:
    with closing(SharedDatabase(postgres_server, statements("postgresql+asyncpg://"))) as shared:
        yield shared


@pytest.fixture(params=KINDS)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty database: of each kind, one after the other."""
    if request.param == "sqlite":
        return locate("", tmp_path)
    return locate(request.getfixturevalue("empty_postgres").take(), tmp_path)


@pytest.fixture(params=KINDS)
def location_with_tables(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "sqlite":
        location = locate("", tmp_path)
        make_file(location)
        return location
    return locate(request.getfixturevalue("postgres_with_tables").take(), tmp_path)


@pytest.fixture
async def database(location_with_tables: Location) -> AsyncIterator[Database]:
    """With its tables and without rows."""
    async with opened(location_with_tables) as database:
        yield database
