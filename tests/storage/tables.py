"""A database that has its tables."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mrproxy.storage.database import Database
from mrproxy.storage.schema import metadata
from mrproxy.storage.urls import Location
from tests.storage.conftest import opened


@asynccontextmanager
async def opened_with_tables(location: Location) -> AsyncIterator[Database]:
    """Without the migrations, which have tests of their own and take longer."""
    async with opened(location) as database:
        await database.transact(lambda connection: connection.run_sync(metadata.create_all))
        yield database
