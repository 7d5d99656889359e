"""Pure. What a worker asks of the control plane about stored responses and conversations, and what it is answered.

One question is one `POST /internal/state` on the control plane's socket, msgpack both ways; an array's first element
says which question or answer it is. `owner` is the flow that asks: whatever belongs to another one does not exist.
Only workers may ask (`mrproxy/control/responses.py`). What these things are to a caller, and in which words, is the
dialect's: `mrproxy/dialects/responses/conversations.py`.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

PATH = "/internal/state"
# Within this the control plane answers, if only that it cannot; the worker waits a little longer, and no longer.
ANSWER_SECONDS = 1.8
DEADLINE_SECONDS = 2.0
# What a conversation, or a chain of responses, may have in all. Far above every model's context in text.
MAX_STATE_BYTES = 64 << 20


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One item of a conversation: its id, unique in the conversation, and the JSON object."""

    id: str
    json: str


class FindResponse(msgspec.Struct, frozen=True, array_like=True, tag="find_response"):
    """`with_chain`: and those that it continues. Answered by States."""

    owner: str
    id: str
    with_chain: bool


class DeleteResponse(msgspec.Struct, frozen=True, array_like=True, tag="delete_response"):
    owner: str
    id: str


class CreateConversation(msgspec.Struct, frozen=True, array_like=True, tag="create_conversation"):
    """`metadata` is a JSON object. Answered by Conversation."""

    owner: str
    id: str
    metadata: str
    items: tuple[Item, ...]


class FindConversation(msgspec.Struct, frozen=True, array_like=True, tag="find_conversation"):
    owner: str
    id: str


class ChangeConversation(msgspec.Struct, frozen=True, array_like=True, tag="change_conversation"):
    owner: str
    id: str
    metadata: str


class DeleteConversation(msgspec.Struct, frozen=True, array_like=True, tag="delete_conversation"):
    """And all its items."""

    owner: str
    id: str


class AppendItems(msgspec.Struct, frozen=True, array_like=True, tag="append_items"):
    """All or none: Clash if one of them is there already."""

    owner: str
    conversation_id: str
    items: tuple[Item, ...]


class ListItems(msgspec.Struct, frozen=True, array_like=True, tag="list_items"):
    """One page, behind the item `after`. Answered by Items."""

    owner: str
    conversation_id: str
    limit: int
    is_ascending: bool
    after: str | None


class ReadItems(msgspec.Struct, frozen=True, array_like=True, tag="read_items"):
    """All items, oldest first: what a model is told of a conversation. Answered by Items."""

    owner: str
    conversation_id: str


class FindItem(msgspec.Struct, frozen=True, array_like=True, tag="find_item"):
    owner: str
    conversation_id: str
    item_id: str


class DeleteItem(msgspec.Struct, frozen=True, array_like=True, tag="delete_item"):
    """Answered by Conversation."""

    owner: str
    conversation_id: str
    item_id: str


Question: TypeAlias = (
    FindResponse
    | DeleteResponse
    | CreateConversation
    | FindConversation
    | ChangeConversation
    | DeleteConversation
    | AppendItems
    | ListItems
    | ReadItems
    | FindItem
    | DeleteItem
)


class States(msgspec.Struct, frozen=True, array_like=True, tag="states"):
    """Of a response and of those that it continues, newest first."""

    states: tuple[bytes, ...]


class Conversation(msgspec.Struct, frozen=True, array_like=True, tag="conversation"):
    id: str
    created_utc: float
    metadata: str


class Items(msgspec.Struct, frozen=True, array_like=True, tag="items"):
    items: tuple[Item, ...]
    has_more: bool = False


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """It is gone."""


class Missing(msgspec.Struct, frozen=True, array_like=True, tag="missing"):
    """`what` is a word: response, conversation, item."""

    what: str


class Clash(msgspec.Struct, frozen=True, array_like=True, tag="clash"):
    """There is an item of this id."""

    item_id: str


class TooLarge(msgspec.Struct, frozen=True, array_like=True, tag="too_large"):
    """More than MAX_STATE_BYTES."""


class Unavailable(msgspec.Struct, frozen=True, array_like=True, tag="unavailable"):
    """The database does not answer, or is behind."""


Answer: TypeAlias = States | Conversation | Items | Done | Missing | Clash | TooLarge | Unavailable

encode: Callable[[Question | Answer], bytes] = msgspec.msgpack.Encoder().encode
# Raise msgspec.MsgspecError.
decode_question: Callable[[bytes], Question] = msgspec.msgpack.Decoder(Question).decode
decode_answer: Callable[[bytes], Answer] = msgspec.msgpack.Decoder(Answer).decode
