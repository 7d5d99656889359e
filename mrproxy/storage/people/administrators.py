"""Shell. There is always somebody who may do everything, once there has been somebody.

Deleting, deactivating and moving a user, and taking a group its role: whatever would leave nobody is undone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.people.errors import NotAllowed
from mrproxy.storage.schema_people import groups, users


async def count_administrators(connection: AsyncConnection) -> int:
    """Users that are active, in groups with the role."""
    joined = users.join(groups, users.c.group_id == groups.c.id)
    counted = select(func.count()).select_from(joined).where(groups.c.is_admin, users.c.is_active)
    return int((await connection.execute(counted)).scalar_one())


@asynccontextmanager
async def keep_an_administrator(connection: AsyncConnection) -> AsyncIterator[None]:
    """Around a change, in one's turn. Raises NotAllowed, for the transaction to be rolled back."""
    had_some = await count_administrators(connection) > 0
    yield
    if had_some and await count_administrators(connection) == 0:
        raise NotAllowed("nobody would be an administrator any more")
