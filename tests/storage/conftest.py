"""Every test of the storage runs on both databases, unless it is about one of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import Database, open_database
from mrproxy.storage.urls import Location, locate


@asynccontextmanager
async def opened(location: Location) -> AsyncIterator[Database]:
    """With a bridge of its own."""
    async with open_bridge() as bridge, open_database(location, bridge) as database:
        yield database


@pytest.fixture
def sqlite_location(tmp_path: Path) -> Location:
    return locate("", tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty database: of each kind, one after the other."""
    if request.param == "sqlite":
        return locate("", tmp_path)
    return locate(request.getfixturevalue("postgres_url"), tmp_path)


@pytest.fixture
async def database(location: Location) -> AsyncIterator[Database]:
    async with opened(location) as database:
        yield database
