"""Shell. Requests that may come twice: what was answered to the first is kept, and a second does nothing.

One row per key, which is a digest of who asks, for what, and the key that he chose. Its `status` tells how far it is:

    null        it runs, or was cut off before it changed anything: after RUNNING_SECONDS it may be tried again
    0           what it changed is committed, in the same transaction as this; the answer is not here (yet)
    100 to 599  it is done, and this is the answer, encrypted: it may show a new key

So nothing is done twice, whenever the process is killed. What failed leaves no row.
Source: draft-ietf-httpapi-idempotency-key-header-07 (2025-10).
"""

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.facts import take_turn
from mrproxy.storage.schema_control import idempotency

KEEP_SECONDS = 24 * 3600.0
# No request of an administrator takes longer; its client, and the front door, have given up by then.
RUNNING_SECONDS = 120.0
COMMITTED = 0


class Earlier(msgspec.Struct, frozen=True):
    """The request that had this key before. `status` as above."""

    fingerprint: str
    created_utc: float
    status: int | None
    body: str | None
    location: str | None


async def claim(connection: AsyncConnection, key: str, fingerprint: str, now_utc: float) -> Earlier | None:
    """None: the key is the caller's now. Otherwise what is known of whoever had it before."""
    await take_turn(connection)
    await connection.execute(delete(idempotency).where(idempotency.c.created_utc < now_utc - KEEP_SECONDS))
    chosen = select(*(idempotency.c[name] for name in Earlier.__struct_fields__)).where(idempotency.c.key == key)
    row = (await connection.execute(chosen)).first()
    if row is not None:
        earlier = Earlier(*row)
        if earlier.status is not None or now_utc < earlier.created_utc + RUNNING_SECONDS:
            return earlier
        await release(connection, key)
    await connection.execute(insert(idempotency).values(key=key, fingerprint=fingerprint, created_utc=now_utc))
    return None


async def mark_committed(connection: AsyncConnection, key: str) -> None:
    """In the transaction of what the request changes."""
    await connection.execute(update(idempotency).where(idempotency.c.key == key).values(status=COMMITTED))


async def keep_answer(connection: AsyncConnection, key: str, status: int, body: str, location: str) -> None:
    done = update(idempotency).where(idempotency.c.key == key)
    await connection.execute(done.values(status=status, body=body, location=location))


async def release(connection: AsyncConnection, key: str) -> None:
    """It failed and changed nothing: it may be tried again."""
    has_done_nothing = (idempotency.c.key == key) & idempotency.c.status.is_(None)
    await connection.execute(delete(idempotency).where(has_done_nothing))
