"""Shell. Whose turn it is to change what is administered, and how often that has happened.

Administrative changes exclude each other, on both databases: SQLite has one writer anyhow, PostgreSQL an advisory lock
that is held until the end of the transaction. They are rare, and so a rule about several rows (there is always an
administrator; no more keys than the group allows) can be a SELECT before the UPDATE. Whoever takes the turn takes it
before it touches any row; then no two transactions can wait for each other.

The counter is for those who keep a copy, such as the snapshot: one look tells whether anything has changed since.
"""

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.schema_control import facts

# Beside migrate.MIGRATION_LOCK; PostgreSQL knows advisory locks by number only.
TURN_LOCK = 0x6D72_7072_6F78_7901
CHANGES = "managed_changes"


async def take_turn(connection: AsyncConnection) -> None:
    """Wait until nobody else changes anything. May be called again in the same transaction."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": TURN_LOCK})


async def begin_change(connection: AsyncConnection) -> None:
    """Take the turn and count a change of what workers serve from."""
    await take_turn(connection)
    await write_fact(connection, CHANGES, str(await count_changes(connection) + 1))


async def count_changes(connection: AsyncConnection) -> int:
    """It only grows, as long as the database is the same."""
    return int(await read_fact(connection, CHANGES) or 0)


async def read_fact(connection: AsyncConnection, name: str) -> str | None:
    found = await connection.execute(select(facts.c.value).where(facts.c.name == name))
    value: str | None = found.scalar_one_or_none()
    return value


async def write_fact(connection: AsyncConnection, name: str, value: str) -> None:
    """In one's turn, or two could write the same name for the first time."""
    written = await connection.execute(update(facts).where(facts.c.name == name).values(value=value))
    if written.rowcount == 0:
        await connection.execute(insert(facts).values(name=name, value=value))
