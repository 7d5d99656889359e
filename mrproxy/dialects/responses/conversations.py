"""Pure. OpenAI's Conversations: items that last, in an order, with metadata.

Requests become questions to the control plane (`mrproxy/link/state.py`), its answers become documents. An item that is
added needs what any input item needs, since a model will be told of it. Ids are unique in their conversation.
Source: OpenAI API reference, "Conversations" and "Conversation items" (2026); the SDK's `types/conversations`.
"""

import re
from collections.abc import Iterable
from urllib.parse import parse_qs

import msgspec

from mrproxy.canonical.conversation import Message
from mrproxy.dialects.responses.documents import OutputItem
from mrproxy.dialects.responses.items import FindItem, decode_input, decode_kept
from mrproxy.dialects.responses.listing import complete_items
from mrproxy.dialects.responses.reading import (
    ABSENT,
    Warnings,
    invalid,
    is_given,
    read,
    read_fields,
    require_utf8,
)
from mrproxy.errors import ClientError, Code
from mrproxy.link.state import Conversation, Item, Items

# "You may add up to 20 items at a time."
MAX_ITEMS = 20
# "Set of 16 key-value pairs … Keys … 64 characters. Values … 512 characters."
_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512
_CONVERSATION_ID = re.compile(r"conv_[0-9a-f]{32}")
_ITEM_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_ENCRYPTED = "reasoning.encrypted_content"


class _Create(msgspec.Struct):
    items: msgspec.Raw = ABSENT
    metadata: dict[str, str] | None = None


class _Update(msgspec.Struct):
    metadata: dict[str, str] | None


class _Add(msgspec.Struct):
    items: msgspec.Raw


class _Kept(msgspec.Struct):
    type: str
    status: msgspec.Raw = ABSENT


_create = msgspec.json.Decoder(_Create)
_update = msgspec.json.Decoder(_Update)
_add = msgspec.json.Decoder(_Add)
_kept = msgspec.json.Decoder(_Kept)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def is_conversation_id(text: str) -> bool:
    """Whether there can be a conversation of this id; nobody is asked for others."""
    return _CONVERSATION_ID.fullmatch(text) is not None


def is_item_id(text: str) -> bool:
    return _ITEM_ID.fullmatch(text) is not None


def conversation_not_found(conversation_id: str) -> ClientError:
    """It never was, is gone, or is somebody else's."""
    return ClientError(Code.UNKNOWN_ROUTE, f"Conversation with id '{conversation_id[:80]}' not found.")


def item_not_found(item_id: str, conversation_id: str) -> ClientError:
    return ClientError(
        Code.UNKNOWN_ROUTE, f"Item with id '{item_id[:80]}' not found in conversation '{conversation_id[:80]}'."
    )


def item_exists(item_id: str) -> ClientError:
    return invalid("items", f"the conversation has an item '{item_id[:80]}' already")


# Requests


def decode_create(body: bytes, stem: str, find_item: FindItem) -> tuple[str, tuple[Item, ...]]:
    """The metadata as JSON, and the first items. `stem` makes ids. Raises ClientError."""
    require_utf8(body)
    body = body or b"{}"
    _refuse_unknown(body, _Create)
    asked = read(_create, body, "")
    items = _new_items(asked.items, stem, find_item) if is_given(asked.items) else ()
    return _metadata(asked.metadata), items


def decode_update(body: bytes) -> str:
    """The new metadata as JSON. Raises ClientError."""
    require_utf8(body)
    _refuse_unknown(body, _Update)
    return _metadata(read(_update, body, "").metadata)


def decode_items(body: bytes, stem: str, find_item: FindItem) -> tuple[Item, ...]:
    """The items to be added. Raises ClientError."""
    require_utf8(body)
    _refuse_unknown(body, _Add)
    items = _new_items(read(_add, body, "").items, stem, find_item)
    if not items:
        raise invalid("items", "empty")
    return items


def decode_include(query: str) -> bool:
    """Whether reasoning is wanted with what only its provider can read. Raises ClientError."""
    asked = parse_qs(query)
    return _ENCRYPTED in asked.get("include[]", []) + asked.get("include", [])


def _refuse_unknown(body: bytes, known: type[msgspec.Struct]) -> None:
    for name, value in read_fields(body, "").items():
        if name not in known.__struct_fields__ and is_given(value):
            raise ClientError(Code.INVALID_FIELD, f"unknown parameter: '{name[:80]}'", param=name[:80])


def _metadata(given: dict[str, str] | None) -> str:
    given = given or {}
    if len(given) > _MAX_PAIRS:
        raise invalid("metadata", f"more than {_MAX_PAIRS} pairs")
    for key, value in given.items():
        if len(key) > _MAX_KEY:
            raise invalid("metadata", f"a key longer than {_MAX_KEY} characters")
        if len(value) > _MAX_VALUE:
            raise invalid(f"metadata.{key}", f"longer than {_MAX_VALUE} characters")
    return _encode(given).decode()


def _new_items(given: msgspec.Raw, stem: str, find_item: FindItem) -> tuple[Item, ...]:
    if bytes(given)[:1] == b'"':
        raise invalid("items", "not a list")
    _, raws = decode_input(given, find_item, Warnings(), "items")
    if len(raws) > MAX_ITEMS:
        raise invalid("items", f"more than {MAX_ITEMS} at a time")
    items = with_ids(complete_items(raws, stem))
    ids = set()
    for number, item in enumerate(items):
        if not is_item_id(item.id):
            raise invalid(f"items[{number}].id", "not an id")
        if item.id in ids:
            raise invalid(f"items[{number}].id", f"'{item.id}' is there twice")
        ids.add(item.id)
    return items


# What is kept


def with_ids(items: Iterable[dict[str, object]]) -> tuple[Item, ...]:
    """Items that have one."""
    return tuple(Item(str(item["id"]), _encode(item).decode()) for item in items)


def items_of_answer(
    input_items: Iterable[bytes | msgspec.Raw], output: Iterable[OutputItem], stem: str
) -> tuple[Item, ...]:
    """What a response adds to its conversation: its input, where ids that cannot be are made anew, and its output."""
    given = complete_items(input_items, stem)
    for number, item in enumerate(given):
        if not is_item_id(str(item["id"])):
            given[number] = {**item, "id": f"item_{stem}_i{number}"}
    said = tuple(Item(item.id, _encode(item).decode()) for item in output)
    return with_ids(given) + said


def messages_of(items: Iterable[Item]) -> tuple[Message, ...]:
    """What a model is told of a conversation. A call that was cut off is nothing: no engine would take it back."""
    return decode_kept(msgspec.Raw(item.json.encode()) for item in items if not _is_cut_off(item))


def _is_cut_off(item: Item) -> bool:
    kept = _kept.decode(item.json)
    return kept.type == "function_call" and bytes(kept.status) == b'"incomplete"'


# Answers


def encode_conversation(found: Conversation) -> bytes:
    return _encode(
        {
            "id": found.id,
            "object": "conversation",
            "created_at": int(found.created_utc),
            "metadata": msgspec.Raw(found.metadata.encode()),
        }
    )


def encode_deleted(conversation_id: str) -> bytes:
    return _encode({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


def encode_item(item: Item, *, shows_sealed: bool) -> bytes:
    return _encode(_shown(item, shows_sealed=shows_sealed))


def encode_items(found: Items, *, shows_sealed: bool) -> bytes:
    items = found.items
    return _encode(
        {
            "object": "list",
            "data": [_shown(item, shows_sealed=shows_sealed) for item in items],
            "first_id": items[0].id if items else "",
            "last_id": items[-1].id if items else "",
            "has_more": found.has_more,
        }
    )


def _shown(item: Item, *, shows_sealed: bool) -> msgspec.Raw | dict[str, msgspec.Raw]:
    raw = msgspec.Raw(item.json.encode())
    if shows_sealed or '"encrypted_content"' not in item.json:
        return raw
    members = _members.decode(raw)
    if bytes(members["type"]) == b'"reasoning"':
        members.pop("encrypted_content", None)
    return members
