"""Shell. How far each worker's files have been taken over: moved in the transaction that stores what was taken.

Workers' names are the same everywhere, and a journal may be thrown away while the database is kept. So positions
belong to a journal with an identity of its own, the file `journal.id` beside the segments. Captured bodies have
positions of their own, under the same identity with a word in front.
Read next: `ingest.py` and `captures.py`, who move them.
"""

import secrets
from pathlib import Path

from sqlalchemy import and_, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.journal import Position
from mrproxy.storage.schema import ingest_positions

ID_NAME = "journal.id"


class PositionMoved(Exception):
    """Another process takes over the same files, or an answer was lost and the batch is in the table already."""


def read_journal_id(directory: Path) -> str:
    """The journal's identity, made at the first call. Raises OSError."""
    path = directory / ID_NAME
    try:
        found = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        found = ""
    if found.isalnum():
        return found
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made, temporary = secrets.token_hex(8), path.with_name(f".{ID_NAME}")
    temporary.touch(0o600)
    temporary.write_text(f"{made}\n")
    temporary.replace(path)
    return made


def of_bodies(journal_id: str) -> str:
    return f"bodies:{journal_id}"


# What follows runs on the asyncio side, in one transaction.


async def load_positions(connection: AsyncConnection, journal_id: str) -> dict[str, Position]:
    table = ingest_positions.c
    chosen = select(table.worker, table.sequence, table.byte_offset).where(table.worker.startswith(f"{journal_id}/"))
    found = await connection.execute(chosen)
    return {worker.partition("/")[2]: Position(sequence, offset) for worker, sequence, offset in found}


async def move_position(
    connection: AsyncConnection, key: str, before: Position | None, after: Position, count: int
) -> None:
    """Before anything else: it takes the lock, and it begins the transaction that COPY joins. Raises PositionMoved."""
    table = ingest_positions.c
    values = {"sequence": after.sequence, "byte_offset": after.offset}
    if before is None:
        try:
            await connection.execute(insert(ingest_positions).values(worker=key, records=count, **values))
        except IntegrityError as exc:
            raise PositionMoved(key) from exc
        return
    is_where_it_was = and_(table.worker == key, table.sequence == before.sequence, table.byte_offset == before.offset)
    move = update(ingest_positions).where(is_where_it_was).values(records=table.records + count, **values)
    if (await connection.execute(move)).rowcount != 1:
        raise PositionMoved(key)
