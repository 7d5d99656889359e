"""Databases with their tables."""

from collections.abc import AsyncIterator

import pytest

from mrproxy.storage.database import Database
from mrproxy.storage.people.groups import create_group
from mrproxy.storage.people.values import Group, NewGroup
from mrproxy.storage.urls import Location
from tests.storage.tables import opened_with_tables


@pytest.fixture
async def database(location: Location) -> AsyncIterator[Database]:
    async with opened_with_tables(location) as opened:
        yield opened


@pytest.fixture
async def staff(database: Database) -> Group:
    """A group to be in."""
    return await database.transact(create_group, NewGroup(name="staff", weight=2), 1.0)
