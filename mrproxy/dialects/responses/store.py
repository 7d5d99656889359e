"""Pure. Responses that their callers may come back to: bounded in number, in bytes and in time; the oldest go first.

A response belongs to its owner (a key or a user); to everybody else it does not exist. A conversation is a chain of
turns: a response holds the last one, each turn the one before it, so that a hundred responses of one conversation keep
its texts once. A turn counts while a response in the store leads to it, even if its own is gone.

    earlier = store.get(owner, request.previous_response_id, now)       # None: previous_not_found
    chat = extend(request, earlier.turn.conversation())
    …
    store.put(owner, StoredResponse.of(request, encoder, earlier), now)

All operations are O(1), but for turns that end (each once). Process memory: what must outlast it is in `states.py`.
"""

import sys
from collections import OrderedDict
from typing import NamedTuple, Protocol

import msgspec

from mrproxy.canonical.conversation import Message, Part, ToolResult
from mrproxy.dialects.responses.documents import Response
from mrproxy.dialects.responses.requests import ResponsesRequest

# What objects take around the texts; with these the sum is a little above what tracemalloc measures.
_ENTRY_BYTES = 384
_TURN_BYTES = 256
_MESSAGE_BYTES = 128
_PART_BYTES = 64


class Answered(Protocol):
    """What is asked of an encoder that has finished."""

    @property
    def response(self) -> Response: ...
    @property
    def output_messages(self) -> tuple[Message, ...]: ...


class Turn:
    """What was said between two responses, and the turns before. `holders`: the store's own count."""

    __slots__ = ("chain_bytes", "earlier", "holders", "messages", "size_bytes")

    def __init__(self, messages: tuple[Message, ...], earlier: "Turn | None" = None) -> None:
        self.messages = messages
        self.earlier = earlier
        self.size_bytes = _TURN_BYTES + sum(map(_size_of_message, messages))
        self.chain_bytes: int = self.size_bytes + (earlier.chain_bytes if earlier is not None else 0)
        self.holders = 0

    def conversation(self) -> tuple[Message, ...]:
        """Everything from the beginning, without instructions."""
        turns: list[Turn] = []
        turn: Turn | None = self
        while turn is not None:
            turns.append(turn)
            turn = turn.earlier
        return tuple(message for turn in reversed(turns) for message in turn.messages)


class StoredResponse(NamedTuple):
    """`document` is the body of GET; `input_items` are JSON objects as the caller sent them. Of a response in a
    conversation, the turn is its own alone: what came before is the conversation's."""

    id: str
    document: bytes
    input_items: tuple[bytes, ...]
    turn: Turn
    conversation_id: str | None = None

    @classmethod
    def of(
        cls, request: ResponsesRequest, answered: Answered, earlier: "StoredResponse | None" = None
    ) -> "StoredResponse":
        """`earlier` is what `previous_response_id` led to."""
        response = answered.response
        turn = Turn(request.input_messages + answered.output_messages, earlier.turn if earlier is not None else None)
        items = tuple(bytes(item) for item in request.input_items)
        return cls(response.id, msgspec.json.encode(response), items, turn, request.conversation_id)

    @property
    def size_bytes(self) -> int:
        """Without its turns."""
        return _ENTRY_BYTES + len(self.document) + sum(map(len, self.input_items))


class Statistics(NamedTuple):
    entries: int
    size_bytes: int


class ResponseStore:
    """See the module's docstring. Times are of one clock, in seconds."""

    def __init__(self, max_entries: int, max_bytes: int, ttl_seconds: float) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        # In the order of `put`, which is that of expiry.
        self._entries: OrderedDict[tuple[str, str], tuple[float, StoredResponse]] = OrderedDict()
        self._size_bytes = 0

    def statistics(self) -> Statistics:
        return Statistics(len(self._entries), self._size_bytes)

    def put(self, owner: str, stored: StoredResponse, now: float) -> bool:
        """False if it is larger than the store; nothing is evicted for it then. The same id again replaces it."""
        if self._max_entries < 1 or stored.size_bytes + stored.turn.chain_bytes > self._max_bytes:
            return False
        key = owner, stored.id
        self._remove(key)
        self._entries[key] = now + self._ttl_seconds, stored
        self._size_bytes += stored.size_bytes
        self._hold(stored.turn)
        self.expire(now)
        while len(self._entries) > self._max_entries or self._size_bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
        return True

    def get(self, owner: str, response_id: str, now: float) -> StoredResponse | None:
        """None as well for somebody else's."""
        expires_at, stored = self._entries.get((owner, response_id), (now, None))
        return stored if expires_at > now else None

    def delete(self, owner: str, response_id: str, now: float) -> bool:
        """Whether there was one."""
        is_there = self.get(owner, response_id, now) is not None
        self._remove((owner, response_id))
        return is_there

    def expire(self, now: float) -> int:
        """How many were too old. `put` does it too; call it now and then, so that memory is freed without traffic."""
        count = 0
        while self._entries:
            key = next(iter(self._entries))
            if self._entries[key][0] > now:
                break
            self._remove(key)
            count += 1
        return count

    def _remove(self, key: tuple[str, str]) -> None:
        removed = self._entries.pop(key, None)
        if removed is not None:
            self._size_bytes -= removed[1].size_bytes
            self._release(removed[1].turn)

    def _hold(self, turn: Turn | None) -> None:
        while turn is not None:
            turn.holders += 1
            if turn.holders > 1:
                return
            self._size_bytes += turn.size_bytes
            turn = turn.earlier

    def _release(self, turn: Turn | None) -> None:
        while turn is not None:
            turn.holders -= 1
            if turn.holders:
                return
            self._size_bytes -= turn.size_bytes
            turn = turn.earlier


def _size_of_message(message: Message) -> int:
    return _MESSAGE_BYTES + sum(map(_size_of_part, message.parts))


def _size_of_part(part: Part) -> int:
    texts = sum(sys.getsizeof(value) for value in msgspec.structs.astuple(part) if isinstance(value, str))
    inner = sum(map(_size_of_part, part.parts)) if isinstance(part, ToolResult) else 0
    return _PART_BYTES + texts + inner
