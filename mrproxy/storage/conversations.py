"""Shell. Conversations and their items in the tables.

An item's row is named by its conversation and its id: callers choose ids as well, and may choose what others chose.
Whatever appends locks the conversation's row first, so that positions follow each other without gaps or clashes.
Everything here runs on the asyncio side, in one transaction. Read next: `state.py`, who calls it.
"""

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.state import Conversation, Item, Items
from mrproxy.storage.schema import schema_control

conversations = schema_control.conversations
conversation_items = schema_control.conversation_items


class ItemExists(Exception):
    def __init__(self, item_id: str) -> None:
        super().__init__(item_id)
        self.item_id = item_id


class ItemsTooLarge(Exception):
    """More than the caller wanted to have."""


async def create_conversation(connection: AsyncConnection, owner: str, created: Conversation) -> None:
    now_utc = created.created_utc
    row = {"id": created.id, "owner": owner, "metadata": created.metadata, "created_utc": now_utc}
    await connection.execute(insert(conversations).values(**row, updated_utc=now_utc))


async def find_conversation(connection: AsyncConnection, owner: str, conversation_id: str) -> Conversation | None:
    table = conversations.c
    chosen = select(table.id, table.created_utc, table.metadata)
    chosen = chosen.where(table.id == conversation_id, table.owner == owner)
    found = (await connection.execute(chosen)).first()
    return Conversation(*found) if found is not None else None


async def touch_conversation(
    connection: AsyncConnection, owner: str, conversation_id: str, now_utc: float, metadata: str | None = None
) -> bool:
    """Lock it for this transaction, with new metadata if there are such; false if the owner has none of this id."""
    table = conversations.c
    change = update(conversations).where(table.id == conversation_id, table.owner == owner)
    values = {"updated_utc": now_utc} | ({} if metadata is None else {"metadata": metadata})
    return (await connection.execute(change.values(**values))).rowcount == 1


async def delete_conversation(connection: AsyncConnection, owner: str, conversation_id: str) -> bool:
    """With its items."""
    table = conversations.c
    gone = delete(conversations).where(table.id == conversation_id, table.owner == owner)
    if not (await connection.execute(gone)).rowcount:
        return False
    await connection.execute(delete(conversation_items).where(conversation_items.c.conversation_id == conversation_id))
    return True


async def append_items(
    connection: AsyncConnection, conversation_id: str, items: Sequence[Item], now_utc: float, *, skips_known: bool
) -> None:
    """Behind all others; the conversation is locked. Raises ItemExists, unless items that are there may be skipped."""
    if not items:
        return
    table = conversation_items.c
    names = {_row_id(conversation_id, item.id): item for item in items}
    there = set((await connection.execute(select(table.id).where(table.id.in_(names)))).scalars())
    if there and not skips_known:
        raise ItemExists(names[min(there)].id)
    last = select(func.coalesce(func.max(table.position), -1)).where(table.conversation_id == conversation_id)
    first_free = (await connection.execute(last)).scalar_one() + 1
    new = [(name, item) for name, item in names.items() if name not in there]
    rows = [
        {
            "id": name,
            "conversation_id": conversation_id,
            "position": first_free + number,
            "item": item.json,
            "created_utc": now_utc,
        }
        for number, (name, item) in enumerate(new)
    ]
    if rows:
        await connection.execute(insert(conversation_items), rows)


async def list_items(
    connection: AsyncConnection, conversation_id: str, limit: int, after: str | None, *, is_ascending: bool
) -> Items | None:
    """A page; None if there is no item to begin after."""
    table = conversation_items.c
    chosen = select(table.id, table.item).where(table.conversation_id == conversation_id).limit(limit + 1)
    if after is not None:
        place = await _position(connection, conversation_id, after)
        if place is None:
            return None
        chosen = chosen.where(table.position > place if is_ascending else table.position < place)
    chosen = chosen.order_by(table.position if is_ascending else table.position.desc())
    found = (await connection.execute(chosen)).all()
    return Items(tuple(Item(_item_id(name), json) for name, json in found[:limit]), len(found) > limit)


async def read_items(connection: AsyncConnection, conversation_id: str, most_bytes: int) -> Items:
    """All, oldest first. Raises ItemsTooLarge before they are read."""
    table = conversation_items.c
    of_it = table.conversation_id == conversation_id
    size = select(func.coalesce(func.sum(func.length(table.item)), 0)).where(of_it)
    if (await connection.execute(size)).scalar_one() > most_bytes:
        raise ItemsTooLarge
    found = await connection.execute(select(table.id, table.item).where(of_it).order_by(table.position))
    return Items(tuple(Item(_item_id(name), json) for name, json in found))


async def find_item(connection: AsyncConnection, conversation_id: str, item_id: str) -> Item | None:
    table = conversation_items.c
    chosen = select(table.item).where(table.id == _row_id(conversation_id, item_id))
    json = (await connection.execute(chosen)).scalar_one_or_none()
    return Item(item_id, json) if json is not None else None


async def delete_item(connection: AsyncConnection, conversation_id: str, item_id: str) -> bool:
    gone = delete(conversation_items).where(conversation_items.c.id == _row_id(conversation_id, item_id))
    return (await connection.execute(gone)).rowcount == 1


async def _position(connection: AsyncConnection, conversation_id: str, item_id: str) -> int | None:
    table = conversation_items.c
    chosen = select(table.position).where(table.id == _row_id(conversation_id, item_id))
    found: int | None = (await connection.execute(chosen)).scalar_one_or_none()
    return found


def _row_id(conversation_id: str, item_id: str) -> str:
    return f"{conversation_id}/{item_id}"


def _item_id(row_id: str) -> str:
    return row_id.partition("/")[2]
