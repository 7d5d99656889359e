"""Shell. What workers ask about responses and conversations, answered from the tables.

Every question first waits for what is in the spools (`spooled.py`). Whatever the database does, there is an answer
within ANSWER_SECONDS: that it is not available, if nothing else. What belongs to another owner does not exist.
Read next: `mrproxy/link/state.py`, the questions; `mrproxy/control/responses.py`, who may ask.
"""

from collections.abc import Awaitable, Callable
from typing import assert_never

import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.link.spool import ResponseDeleted
from mrproxy.link.state import (
    ANSWER_SECONDS,
    MAX_STATE_BYTES,
    Answer,
    AppendItems,
    ChangeConversation,
    Clash,
    Conversation,
    CreateConversation,
    DeleteConversation,
    DeleteItem,
    DeleteResponse,
    Done,
    FindConversation,
    FindItem,
    FindResponse,
    Items,
    ListItems,
    Missing,
    Question,
    ReadItems,
    States,
    TooLarge,
    Unavailable,
)
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
from mrproxy.storage.outage import FAILURES
from mrproxy.storage.responses import ChainTooLarge, delete_response, find_chain

NO_CONVERSATION = Missing("conversation")
_READING = FindResponse | FindConversation | ListItems | ReadItems | FindItem


class StateKeeper:
    """`wait_current` returns when the tables have what the spools have, or raises one of FAILURES."""

    def __init__(
        self, database: Database, wait_current: Callable[[], Awaitable[None]], clock: Clock, keep_seconds: float
    ) -> None:
        self._database = database
        self._wait_current = wait_current
        self._clock = clock
        self._keep_seconds = keep_seconds

    async def answer(self, question: Question) -> Answer:
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await self._wait_current()
                now_utc = self._clock()
                if isinstance(question, _READING):
                    return await self._database.read(answer_reading, question, now_utc)
                return await self._database.transact(answer_writing, question, now_utc, self._keep_seconds)
        except (ChainTooLarge, ItemsTooLarge):
            return TooLarge()
        except ItemExists as exc:
            return Clash(exc.item_id)
        except FAILURES:  # `spooled.py` says in the log what is wrong
            return Unavailable()


# What follows runs on the asyncio side, in one transaction.


async def answer_reading(connection: AsyncConnection, question: _READING, now_utc: float) -> Answer:
    """Raises ChainTooLarge and ItemsTooLarge."""
    if isinstance(question, FindResponse):
        owner, name = question.owner, question.id
        states = await find_chain(connection, owner, name, now_utc, MAX_STATE_BYTES, whole=question.with_chain)
        return States(tuple(states)) if states else Missing("response")
    if isinstance(question, FindConversation):
        return await find_conversation(connection, question.owner, question.id) or NO_CONVERSATION
    conversation_id = question.conversation_id
    if await find_conversation(connection, question.owner, conversation_id) is None:
        return NO_CONVERSATION
    match question:
        case ListItems(_, _, limit, is_ascending, after):
            page = await list_items(connection, conversation_id, limit, after, is_ascending=is_ascending)
            return page or Missing("item")
        case ReadItems():
            return await read_items(connection, conversation_id, MAX_STATE_BYTES)
        case FindItem():
            item = await find_item(connection, conversation_id, question.item_id)
            return Items((item,)) if item is not None else Missing("item")
        case _:
            assert_never(question)


async def answer_writing(
    connection: AsyncConnection,
    question: DeleteResponse | CreateConversation | ChangeConversation | DeleteConversation | AppendItems | DeleteItem,
    now_utc: float,
    keep_seconds: float,
) -> Answer:
    """Raises ItemExists, and then nothing is written."""
    owner = question.owner
    match question:
        case DeleteResponse():
            gone = ResponseDeleted(question.id, owner, now_utc, now_utc + keep_seconds)
            return Done() if await delete_response(connection, gone) else Missing("response")
        case CreateConversation():
            made = Conversation(question.id, now_utc, question.metadata)
            await create_conversation(connection, owner, made)
            await append_items(connection, made.id, question.items, now_utc, skips_known=False)
            return made
        case ChangeConversation(_, name, metadata):
            if not await touch_conversation(connection, owner, name, now_utc, metadata):
                return NO_CONVERSATION
            return await find_conversation(connection, owner, name) or NO_CONVERSATION
        case DeleteConversation():
            return Done() if await delete_conversation(connection, owner, question.id) else NO_CONVERSATION
        case AppendItems(_, name, items):
            if not await touch_conversation(connection, owner, name, now_utc):
                return NO_CONVERSATION
            await append_items(connection, name, items, now_utc, skips_known=False)
            return Items(items)
        case DeleteItem(_, name, item_id):
            if not await touch_conversation(connection, owner, name, now_utc):
                return NO_CONVERSATION
            if not await delete_item(connection, name, item_id):
                return Missing("item")
            return await find_conversation(connection, owner, name) or NO_CONVERSATION
        case _:
            assert_never(question)
