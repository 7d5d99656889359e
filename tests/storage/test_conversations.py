"""Conversations in the tables: owners, order, pages, and items that two callers call the same."""

import json

import pytest
import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.state import Conversation, Item, Items
from mrproxy.storage.conversations import (
    ItemExists,
    ItemsTooLarge,
    append_items,
    create_conversation,
    delete_conversation,
    delete_item,
    find_conversation,
    find_item,
    list_items,
    read_items,
    touch_conversation,
)
from mrproxy.storage.database import Database

ADA, BOB = "user:ada", "user:bob"
PLENTY = 1 << 20


@pytest.fixture
async def database(database: Database) -> Database:
    for name in ("one", "two"):
        await database.transact(create_conversation, ADA, Conversation(name, 1.0, "{}"))
    return database


def items_of(*names: str) -> tuple[Item, ...]:
    return tuple(Item(name, json.dumps({"id": name, "text": "Schüssel \0 🥣"})) for name in names)


async def add(
    connection: AsyncConnection, conversation_id: str, items: tuple[Item, ...], skips_known: bool = False
) -> None:
    assert await touch_conversation(connection, ADA, conversation_id, 2.0)
    await append_items(connection, conversation_id, items, 2.0, skips_known=skips_known)


async def page(
    connection: AsyncConnection, conversation_id: str, limit: int, after: str | None, is_ascending: bool
) -> Items | None:
    return await list_items(connection, conversation_id, limit, after, is_ascending=is_ascending)


async def names(database: Database, conversation_id: str = "one") -> list[str]:
    return [item.id for item in (await database.read(read_items, conversation_id, PLENTY)).items]


async def test_a_conversation_belongs_to_its_owner(database: Database) -> None:
    assert await database.read(find_conversation, ADA, "one") == Conversation("one", 1.0, "{}")
    assert await database.read(find_conversation, BOB, "one") is None
    assert not await database.transact(touch_conversation, BOB, "one", 2.0, '{"a":"b"}')
    assert not await database.transact(delete_conversation, BOB, "one")
    assert await database.transact(touch_conversation, ADA, "one", 2.0, '{"a":"ü"}')
    assert await database.read(find_conversation, ADA, "one") == Conversation("one", 1.0, '{"a":"ü"}')


async def test_a_conversation_goes_with_its_items(database: Database) -> None:
    for name in ("one", "two"):
        await database.transact(add, name, items_of("a"))
    assert await database.transact(delete_conversation, ADA, "one")
    assert not await database.transact(delete_conversation, ADA, "one")
    assert await names(database) == []
    assert await names(database, "two") == ["a"]


async def test_items_keep_their_order_and_are_what_they_were(database: Database) -> None:
    await database.transact(add, "one", items_of("b", "a"))
    await database.transact(add, "one", items_of("d", "c"))
    assert await names(database) == ["b", "a", "d", "c"]
    assert await database.read(find_item, "one", "a") == items_of("a")[0]
    assert await database.read(find_item, "two", "a") is None


async def test_pages_go_in_both_directions(database: Database) -> None:
    await database.transact(add, "one", items_of(*"abcde"))
    for is_ascending, order in ((True, "abcde"), (False, "edcba")):
        seen, after = "", None
        while True:
            found = await database.read(page, "one", 2, after, is_ascending)
            assert found is not None
            seen += "".join(item.id for item in found.items)
            if not found.has_more:
                break
            after = found.items[-1].id
        assert seen == order
    assert await database.read(page, "one", 2, "x", True) is None
    assert await database.read(page, "two", 2, "a", True) is None
    assert await database.read(page, "two", 2, None, True) == Items(())


async def test_an_item_that_is_there_is_refused_or_left_where_it_is(database: Database) -> None:
    await database.transact(add, "one", items_of("a", "b"))
    with pytest.raises(ItemExists) as caught:
        await database.transact(add, "one", items_of("c", "b"))
    assert caught.value.item_id == "b"
    assert await names(database) == ["a", "b"]
    await database.transact(add, "one", items_of("c", "b", "d"), True)
    assert await names(database) == ["a", "b", "c", "d"]
    await database.transact(add, "two", items_of("a"))
    assert await names(database, "two") == ["a"]


async def test_a_removed_item_leaves_the_others_in_order(database: Database) -> None:
    await database.transact(add, "one", items_of("a", "b", "c"))
    assert not await database.transact(delete_item, "two", "b")
    assert await database.transact(delete_item, "one", "c")
    assert not await database.transact(delete_item, "one", "c")
    await database.transact(add, "one", items_of("d"))
    assert await names(database) == ["a", "b", "d"]


async def test_no_more_is_read_than_may_be(database: Database) -> None:
    await database.transact(add, "one", items_of("a", "b"))
    with pytest.raises(ItemsTooLarge):
        await database.read(read_items, "one", 50)


async def test_who_adds_at_the_same_time_adds_behind_each_other(database: Database) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(database.transact, add, "one", items_of(f"{number}a", f"{number}b"))
    found = await names(database)
    assert sorted(found) == sorted(f"{number}{letter}" for number in range(8) for letter in "ab")
    assert [name[0] for name in found[::2]] == [name[0] for name in found[1::2]]
