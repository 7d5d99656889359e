"""Pure. What is told of stored responses: one response, its deletion, the items that were its input.

Source: OpenAI API reference, "Get a model response", "Delete a model response", "List input items" (2026). Input items
are those of the request itself; the conversation before it is told by the responses before it.
"""

import re
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import parse_qs

import msgspec

from mrproxy.dialects.responses.reading import invalid
from mrproxy.dialects.responses.store import ResponseStore, StoredResponse
from mrproxy.errors import ClientError, Code

_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}
_ITEM_ID = re.compile(r"(?:msg|rs|fc|fco)_(.+)_i?\d+")
# Made of our own request ids (`Stages.next_request_id`).
_RESPONSE_ID = re.compile(r"resp_[0-9a-f]{32}")
_MAX_LIMIT = 100


# What is not looked at stays as it was sent, whatever it is.
Item: TypeAlias = dict[str, object]
_INPUT_TEXT = msgspec.Raw(b'"input_text"')


class Page(msgspec.Struct, frozen=True):
    """Which items, and in which order. `after`: an item's id."""

    limit: int = 20
    is_ascending: bool = False
    after: str | None = None


class _WithOutput(msgspec.Struct):
    output: list[msgspec.Raw]


class _WithId(msgspec.Struct):
    id: str


_with_output = msgspec.json.Decoder(_WithOutput)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_parts = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_string = msgspec.json.Decoder(str)
_with_id = msgspec.json.Decoder(_WithId)


def is_response_id(text: str) -> bool:
    """Whether there can be a response of this id; nobody is asked for others."""
    return _RESPONSE_ID.fullmatch(text) is not None


def not_found(response_id: str) -> ClientError:
    """For GET and DELETE: it never was, is gone, or is somebody else's."""
    return ClientError(Code.UNKNOWN_ROUTE, f"Response with id '{response_id}' not found.")


def require_plain(query: str) -> None:
    """A stored response is given as a document: its events are gone. Raises ClientError."""
    if parse_qs(query).get("stream", ["false"])[-1] == "true":
        raise ClientError(Code.INVALID_FIELD, "a stored response cannot be streamed", param="stream")


def encode_deletion(response_id: str) -> bytes:
    return msgspec.json.encode({"id": response_id, "object": "response", "deleted": True})


def decode_page(query: str) -> Page:
    """From a query string. Raises ClientError."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    limit, order = asked.get("limit", "20"), asked.get("order", "desc")
    # Digits of other scripts are digits too, and long numbers are slow to read.
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= _MAX_LIMIT):
        raise invalid("limit", f"'{limit[:20]}' is no number from 1 to {_MAX_LIMIT}")
    if order not in ("asc", "desc"):
        raise invalid("order", f"'{order[:20]}' is none of asc, desc")
    return Page(int(limit), order == "asc", asked.get("after"))


def encode_input_items(stored: StoredResponse, page: Page) -> bytes:
    """Raises ClientError if there is no item to begin after."""
    items = input_items(stored)
    if not page.is_ascending:
        items.reverse()
    if page.after is not None:
        places = [number for number, item in enumerate(items) if item["id"] == page.after]
        if not places:
            raise invalid("after", f"there is no item '{page.after[:80]}'")
        items = items[places[0] + 1 :]
    shown = items[: page.limit]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else "",
            "last_id": shown[-1]["id"] if shown else "",
            "has_more": len(items) > len(shown),
        }
    )


def input_items(stored: StoredResponse) -> list[Item]:
    """As the API lists them."""
    return complete_items(stored.input_items, stored.id.removeprefix("resp_"))


def complete_items(items: Iterable[bytes | msgspec.Raw], stem: str) -> list[Item]:
    """Each with a type, an id and a status, content always as parts. `stem` makes the ids of those that have none."""
    return [_complete(_members.decode(raw), stem, number) for number, raw in enumerate(items)]


def _complete(given: dict[str, msgspec.Raw], stem: str, number: int) -> Item:
    kind = _text_of(given, "type") or "message"
    item: Item = {
        **given,
        "type": kind,
        "id": _text_of(given, "id") or f"{_PREFIXES[kind]}_{stem}_i{number}",
        "status": _text_of(given, "status") or "completed",
    }
    if kind == "message":
        content = given["content"]
        is_output = _text_of(given, "role") == "assistant"
        parts = [{"type": _INPUT_TEXT, "text": content}] if bytes(content)[:1] == b'"' else _parts.decode(content)
        item["content"] = [_complete_part(part, is_output=is_output) for part in parts]
    return item


def _complete_part(part: dict[str, msgspec.Raw], *, is_output: bool) -> Item:
    match _text_of(part, "type"):
        case "input_text" | "output_text" | "text" if is_output:
            return {"annotations": [], **part, "type": "output_text"}
        case "input_text" | "output_text" | "text":
            return {"type": "input_text", "text": part["text"]}
        case "input_image":
            return {"detail": "auto", **part}
        case _:
            return {**part}


def _text_of(members: dict[str, msgspec.Raw], name: str) -> str:
    """Empty if it is no string."""
    found = bytes(members.get(name, b""))
    return _string.decode(found) if found[:1] == b'"' else ""


def find_item(store: ResponseStore, owner: str, item_id: str, now: float) -> msgspec.Raw | None:
    """For `item_reference`. The id of an item that was made here leads to its response."""
    response_id = response_of_item(item_id)
    stored = store.get(owner, response_id, now) if response_id is not None else None
    return item_of(stored, item_id) if stored is not None else None


def response_of_item(item_id: str) -> str | None:
    """The id of the response in which an item of this id was made; None if it was not made in one."""
    named = _ITEM_ID.fullmatch(item_id)
    return f"resp_{named[1]}" if named is not None else None


def item_of(stored: StoredResponse, item_id: str) -> msgspec.Raw | None:
    """An item of the response's input or output by its id."""
    for raw in _with_output.decode(stored.document).output:
        if _with_id.decode(raw).id == item_id:
            return raw.copy()
    for item in input_items(stored):
        if item["id"] == item_id:
            return msgspec.Raw(msgspec.json.encode(item))
    return None
