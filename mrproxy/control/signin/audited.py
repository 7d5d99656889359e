"""Shell. What the audit log says of signing in; written in the transaction of what it tells.

What somebody typed as a name that nobody has is not kept: often it is a password in the wrong field.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.api.actor import Actor
from mrproxy.storage import audit
from mrproxy.storage.people.values import User

UNKNOWN = "(unknown)"


async def note(
    connection: AsyncConnection, actor: Actor, action: str, user: User | None, now_utc: float, *, detail: str = ""
) -> None:
    entity = UNKNOWN if user is None else user.name
    await audit.append(
        connection, actor, action, "user", entity, before=None, after=None, detail=detail, now_utc=now_utc
    )
