"""Pure. A stored response as bytes that outlast this process, and back: its document, its input, its output.

What was said is kept as items, as callers see them, and not as messages: their form is OpenAI's and stays, ours may
change. A turn is kept once; a response says which one it continues, and the chain is put together when it is read
(`decode_chain`). The output is kept with what only its provider can read (`Assembly.sealed_items`), and without calls
that were cut off, which nothing continues from.
Read next: `store.py`, the same in memory; `mrproxy/link/spool.py`, the way to the database.
"""

from collections.abc import Sequence

import msgspec

from mrproxy.dialects.responses.documents import FunctionCallItem, OutputItem
from mrproxy.dialects.responses.items import decode_kept
from mrproxy.dialects.responses.progress import COMPLETED
from mrproxy.dialects.responses.store import StoredResponse, Turn


class _State(msgspec.Struct, frozen=True, array_like=True):
    """Fields are only ever added at the end. `document` is empty where the response itself is deleted."""

    version: int
    id: str
    document: bytes
    input_items: tuple[bytes, ...]
    output_items: tuple[bytes, ...]
    conversation_id: str | None = None


_VERSION = 1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_State).decode
_encode_json = msgspec.json.Encoder().encode


def encode_state(stored: StoredResponse, output: Sequence[OutputItem]) -> bytes:
    whole = [item for item in output if not isinstance(item, FunctionCallItem) or item.status == COMPLETED]
    items = tuple(map(_encode_json, whole))
    return _encode(_State(_VERSION, stored.id, stored.document, stored.input_items, items, stored.conversation_id))


def without_document(state: bytes) -> bytes:
    """Of a response that was deleted: only what those need that continue it. Raises msgspec.MsgspecError."""
    found = _decode(state)
    return _encode(msgspec.structs.replace(found, document=b""))


def decode_chain(states: Sequence[bytes]) -> StoredResponse:
    """The first of them, with the turns of all: newest first, as they continue each other. Raises
    msgspec.MsgspecError and ClientError for what was not made here."""
    turn: Turn | None = None
    for state in reversed(states):
        found = _decode(state)
        messages = decode_kept(msgspec.Raw(item) for item in found.input_items + found.output_items)
        turn = Turn(messages, turn)
    assert turn is not None
    return StoredResponse(found.id, found.document, found.input_items, turn, found.conversation_id)
