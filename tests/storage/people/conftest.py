"""People belong to groups."""

import pytest

from mrproxy.storage.database import Database
from mrproxy.storage.people.groups import create_group
from mrproxy.storage.people.values import Group, NewGroup


@pytest.fixture
async def staff(database: Database) -> Group:
    """A group to be in."""
    return await database.transact(create_group, NewGroup(name="staff", weight=2), 1.0)
