"""Stored responses in the table: once, for their owner, for their time; what continues them outlasts them."""

import zlib

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.dialects.responses.states import decode_chain, encode_state
from mrproxy.dialects.responses.store import StoredResponse, Turn
from mrproxy.link.spool import ResponseDeleted, ResponseStored
from mrproxy.storage.database import Database
from mrproxy.storage.responses import (
    NOBODY,
    ChainTooLarge,
    delete_expired,
    delete_response,
    empty_deleted,
    find_chain,
    pack,
    responses,
    store_responses,
    unpack,
)

PLENTY = 1 << 20
ADA, BOB = "user:ada", "user:bob"
ITEM = b'{"type":"message","role":"user","content":"%b"}'


def event(name: str, previous: str | None = None, *, owner: str = ADA, expires_utc: float = 100.0) -> ResponseStored:
    """One whose turn is its name."""
    kept = StoredResponse(name, b'{"id":"%b"}' % name.encode(), (ITEM % name.encode(),), Turn(()))
    return pack(ResponseStored(name, owner, previous, None, 1.0, expires_utc, encode_state(kept, [])))


def deletion(name: str, *, owner: str = ADA, now_utc: float = 50.0) -> ResponseDeleted:
    return ResponseDeleted(name, owner, now_utc, now_utc + 1000)


async def find(database: Database, name: str, *, owner: str = ADA, now_utc: float = 50.0) -> list[str] | None:
    """What was said in the conversation that it ends, or None."""
    states = await database.read(look, owner, name, now_utc, PLENTY, True)
    if not states:
        return None
    return [part.text for message in decode_chain(states).turn.conversation() for part in message.parts]


async def look(
    connection: AsyncConnection, owner: str, name: str, now_utc: float, most_bytes: int, whole: bool
) -> list[bytes]:
    return await find_chain(connection, owner, name, now_utc, most_bytes, whole=whole)


async def row(connection: AsyncConnection, name: str) -> tuple[str, bytes] | None:
    chosen = select(responses.c.owner, responses.c.state).where(responses.c.id == name)
    found = (await connection.execute(chosen)).first()
    return (found[0], found[1]) if found is not None else None


async def test_a_response_is_found_by_its_owner_until_its_time_is_over(database: Database) -> None:
    await database.transact(store_responses, [event("a")])
    assert await find(database, "a") == ["a"]
    assert await find(database, "a", owner=BOB) is None
    assert await find(database, "a", owner=NOBODY) is None
    assert await find(database, "b") is None
    assert await find(database, "a", now_utc=100.0) is None


async def test_what_is_stored_again_stays_as_it_was(database: Database) -> None:
    await database.transact(store_responses, [event("a")])
    await database.transact(store_responses, [event("a", owner=BOB), event("b"), event("b")])
    assert await find(database, "a") == ["a"]
    assert await find(database, "b") == ["b"]


async def test_a_chain_is_read_whole_or_not(database: Database) -> None:
    await database.transact(store_responses, [event("a"), event("b", "a"), event("c", "b"), event("d", "a")])
    assert await find(database, "c") == ["a", "b", "c"]
    assert await find(database, "d") == ["a", "d"]
    assert len(await database.read(look, ADA, "c", 50.0, PLENTY, False)) == 1


async def test_a_chain_in_a_circle_ends(database: Database) -> None:
    await database.transact(store_responses, [event("a", "b"), event("b", "a")])
    found = await find(database, "a")
    assert found is not None
    assert found[:2] in (["a", "b"], ["b", "a"])


async def test_a_chain_that_is_too_large_is_not_read(database: Database) -> None:
    await database.transact(store_responses, [event("a"), event("b", "a")])
    with pytest.raises(ChainTooLarge):
        await database.read(look, ADA, "b", 50.0, 60, True)


def test_nothing_is_unpacked_beyond_its_bound() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(ChainTooLarge):
        unpack(bomb, 1000)
    assert unpack(zlib.compress(b"x" * 1000), 1000) == b"x" * 1000


async def test_a_deleted_response_is_gone_and_what_continues_it_is_not(database: Database) -> None:
    await database.transact(store_responses, [event("a"), event("b", "a")])
    assert not await database.transact(delete_response, deletion("a", owner=BOB))
    assert await find(database, "a") == ["a"]
    assert await database.transact(delete_response, deletion("a"))
    assert not await database.transact(delete_response, deletion("a"))
    assert await find(database, "a") is None
    assert await find(database, "b") == ["a", "b"]


async def test_an_expired_response_cannot_be_deleted_once_more(database: Database) -> None:
    await database.transact(store_responses, [event("a")])
    assert not await database.transact(delete_response, deletion("a", now_utc=200.0))


async def test_a_deletion_that_comes_first_keeps_the_response_away(database: Database) -> None:
    assert not await database.transact(delete_response, deletion("a"))
    await database.transact(store_responses, [event("a")])
    assert await find(database, "a") is None


async def test_what_a_deleted_response_said_is_forgotten_when_nothing_continues_it(database: Database) -> None:
    await database.transact(store_responses, [event("a"), event("b", "a"), event("c")])
    for name in ("a", "c"):
        await database.transact(delete_response, deletion(name))
    owner, state = await database.read(row, "c")
    assert (owner, b'"id":"c"' in zlib.decompress(state)) == (NOBODY, False)
    assert await database.transact(empty_deleted, 50.0, 10) == 0  # not before its grace is over
    assert await database.transact(empty_deleted, 51.0, 10) == 1
    assert await database.read(row, "c") == (NOBODY, b"")
    assert await find(database, "b") == ["a", "b"]
    # Now the other one: from the end of the chain to its beginning.
    await database.transact(delete_response, deletion("b"))
    assert [await database.transact(empty_deleted, 51.0, 10) for _ in range(3)] == [1, 1, 0]
    assert await database.read(row, "a") == (NOBODY, b"")


async def test_expired_responses_go_when_nothing_continues_them(database: Database) -> None:
    rows = [event("a"), event("b", "a", expires_utc=200.0), event("c"), event("d", "c")]
    await database.transact(store_responses, rows)
    assert await database.transact(delete_expired, 150.0, 10) == 1  # d; then c; a is continued
    assert await database.transact(delete_expired, 150.0, 10) == 1
    assert await database.transact(delete_expired, 150.0, 10) == 0
    assert await find(database, "b", now_utc=150.0) == ["a", "b"]
    assert await find(database, "a", now_utc=150.0) is None
    assert [await database.transact(delete_expired, 250.0, 1) for _ in range(3)] == [1, 1, 0]
