"""Shell. What a new database needs before anybody can do anything with it: groups, and one administrator.

Somebody who has the role makes this nobody's business any more, active or not: a gateway never makes a second one.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage import audit
from mrproxy.storage.facts import begin_change, take_turn
from mrproxy.storage.people.errors import NotAllowed
from mrproxy.storage.people.groups import seed_groups
from mrproxy.storage.people.users import create_user
from mrproxy.storage.people.values import NewUser, User
from mrproxy.storage.schema_people import groups, users

PROGRAM = audit.Program()


async def has_administrator(connection: AsyncConnection) -> bool:
    joined = users.join(groups, users.c.group_id == groups.c.id)
    found = await connection.execute(select(users.c.id).select_from(joined).where(groups.c.is_admin).limit(1))
    return found.first() is not None


async def ensure_groups(connection: AsyncConnection, now_utc: float) -> int:
    """The usual ones, in a database that has none; how many."""
    await take_turn(connection)
    if (await connection.execute(select(groups.c.id).limit(1))).first() is not None:
        return 0
    made = await seed_groups(connection, now_utc)
    await audit.append(connection, PROGRAM, "group.seed", "group", "", None, None, now_utc, f"{made} groups")
    return made


async def create_first_administrator(
    connection: AsyncConnection, name: str, password_hash: str, must_change_password: bool, now_utc: float
) -> User | None:
    """None: somebody has been quicker. Raises Taken, Invalid (the name); NotAllowed where no group has the role."""
    await begin_change(connection)
    if await has_administrator(connection):
        return None
    chosen = select(groups.c.id).where(groups.c.is_admin).order_by(groups.c.id).limit(1)
    group_id = (await connection.execute(chosen)).scalar_one_or_none()
    if group_id is None:
        raise NotAllowed("no group has the role of an administrator")
    wanted = NewUser(
        name=name, group_id=group_id, password_hash=password_hash, must_change_password=must_change_password
    )
    user = await create_user(connection, wanted, now_utc)
    await audit.append(
        connection, PROGRAM, "user.create", "user", user.name, None, user, now_utc, "first administrator"
    )
    return user
