"""Shell. Stored responses in the table: put in as the spool says, found by their owner, deleted, forgotten.

Rules:
1. A response is stored once: its id is made once in the world, and what is there already stays.
2. A deleted response is a row that belongs to nobody. It keeps what was said, without its document, for those that
   continue it, and is emptied after GRACE_SECONDS where nobody does; the row itself stays until the response would have
   expired, so that a spool which comes late does not bring it back.
3. An expired response is found no more. Its row goes when nothing that is left continues it.
`state` is compressed (zlib); `mrproxy/dialects/responses/states.py` says what is in it.
Everything here runs on the asyncio side, in one transaction. Read next: `spooled.py`, `state.py`, who call it.
"""

import zlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, Exists, Select, delete, exists, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.dialects.responses.states import without_document
from mrproxy.link.spool import ResponseDeleted, ResponseStored
from mrproxy.storage.schema import schema_control

responses = schema_control.stored_responses
NOBODY = ""
EMPTY = b""
# Longer than any request takes: what continues a response is stored when it is complete.
GRACE_SECONDS = 3600.0
# More turns than a conversation has; the walk along a damaged chain must end.
_MOST_TURNS = 10_000


class ChainTooLarge(Exception):
    """More than the caller wanted to have."""


async def store_responses(connection: AsyncConnection, stored: Sequence[ResponseStored]) -> None:
    """`state` is compressed already."""
    columns = ("id", "owner", "previous_id", "conversation_id", "created_utc", "expires_utc", "state")
    rows = [{name: getattr(each, name) for name in columns} for each in stored]
    if connection.dialect.name == "postgresql":
        await connection.execute(postgresql.insert(responses).on_conflict_do_nothing(), rows)
    else:
        await connection.execute(sqlite.insert(responses).on_conflict_do_nothing(), rows)


async def delete_response(connection: AsyncConnection, deleted: ResponseDeleted) -> bool:
    """Whether its owner had it. What was not there (yet) leaves a row, so that it does not come later."""
    table = responses.c
    chosen = select(table.owner, table.expires_utc, table.state).where(table.id == deleted.id)
    found = (await connection.execute(chosen.with_for_update())).first()
    if found is None:
        tombstone = ResponseStored(deleted.id, NOBODY, None, None, deleted.deleted_utc, deleted.expires_utc, EMPTY)
        await store_responses(connection, [tombstone])
        return False
    owner, expires_utc, state = found
    if owner != deleted.owner:
        return False
    left = zlib.compress(without_document(zlib.decompress(state)))
    change = update(responses).where(table.id == deleted.id)
    await connection.execute(change.values(owner=NOBODY, created_utc=deleted.deleted_utc, state=left))
    return bool(expires_utc > deleted.deleted_utc)


async def find_chain(
    connection: AsyncConnection, owner: str, response_id: str, now_utc: float, most_bytes: int, *, whole: bool
) -> list[bytes]:
    """The states of a response and, if `whole`, of those that it continues, newest first; none if there is none.

    Raises ChainTooLarge."""
    states: list[bytes] = []
    room = most_bytes
    for compressed in (await connection.execute(_chain(owner, response_id, now_utc, whole=whole))).scalars():
        state = unpack(compressed, room)
        room -= len(state)
        states.append(state)
    return states


async def empty_deleted(connection: AsyncConnection, before_utc: float, limit: int) -> int:
    """Forget what those responses said that were deleted before and that nothing continues; how many."""
    table = responses.c
    chosen = select(table.id).where(
        table.owner == NOBODY, table.created_utc < before_utc, table.state != EMPTY, ~_is_continued()
    )
    change = update(responses).where(table.id.in_(chosen.limit(limit)))
    return (await connection.execute(change.values(state=EMPTY, previous_id=None))).rowcount


async def delete_expired(connection: AsyncConnection, now_utc: float, limit: int) -> int:
    """Those that nothing continues; how many. When they are gone, others may be such."""
    chosen = select(responses.c.id).where(responses.c.expires_utc < now_utc, ~_is_continued()).limit(limit)
    return (await connection.execute(delete(responses).where(responses.c.id.in_(chosen)))).rowcount


def unpack(compressed: bytes, most_bytes: int) -> bytes:
    """Raises ChainTooLarge before it has become so."""
    unpacking = zlib.decompressobj()
    state = unpacking.decompress(compressed, max(1, most_bytes))
    if not unpacking.eof:
        raise ChainTooLarge
    return state


def pack(event: ResponseStored) -> ResponseStored:
    return msgspec.structs.replace(event, state=zlib.compress(event.state))


def _chain(owner: str, response_id: str, now_utc: float, *, whole: bool) -> Select[bytes]:
    """The states, newest first."""
    table = responses.c
    first = select(table.previous_id, table.state, literal(0).label("depth"))
    first = first.where(*_is_alive(owner, response_id, now_utc))
    if not whole:
        return first.with_only_columns(table.state)
    chain = first.cte("chain", recursive=True)
    earlier = select(table.previous_id, table.state, chain.c.depth + 1)
    earlier = earlier.where(table.id == chain.c.previous_id, chain.c.depth < _MOST_TURNS)
    chain = chain.union_all(earlier)
    return select(chain.c.state).order_by(chain.c.depth)


def _is_alive(owner: str, response_id: str, now_utc: float) -> tuple[ColumnElement[bool], ...]:
    table = responses.c
    return table.id == response_id, table.owner == owner, table.expires_utc > now_utc


def _is_continued() -> Exists:
    following = responses.alias("following")
    return exists().where(following.c.previous_id == responses.c.id)
