"""Shell. Whether a data directory's secret is the one under which this database's keys were digested.

Keys are found by a digest under the secret. With another one all of them are unknown: somebody lost the file, gave two
gateways one database and not one secret, or named the wrong database. None of it shows otherwise, but in the callers'
401s; so the database keeps a mark of its secret, from which nothing of the secret follows.
"""

import hmac

from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.facts import read_fact, take_turn, write_fact
from mrproxy.storage.secrets import subkey

MARK = "secret_mark"
PURPOSE = "mark of the secret"


def mark_of(secret: bytes) -> str:
    return subkey(secret, PURPOSE).hex()


async def is_related(connection: AsyncConnection, secret: bytes) -> bool:
    """For `Database.transact`. The first secret that comes is the database's."""
    await take_turn(connection)
    known, ours = await read_fact(connection, MARK), mark_of(secret)
    if known is None:
        await write_fact(connection, MARK, ours)
        return True
    return hmac.compare_digest(known, ours)
