"""Shell. An entry of the audit log, written in the transaction of what it tells: the framework's actor, storage's log.

Read next: `mrproxy/storage/audit.py`, which takes the secrets out.
"""

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.shapes import name_of
from mrproxy.control.api.actor import Actor
from mrproxy.storage import audit


async def note(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    entity_kind: str,
    entity: str,
    before: msgspec.Struct | None,
    after: msgspec.Struct | None,
    now_utc: float,
) -> None:
    """`before` and `after` as storage has them; None where there was or is nothing."""
    named = msgspec.structs.replace(actor, name=name_of(actor))
    await audit.append(connection, named, action, entity_kind, entity, before, after, now_utc)
