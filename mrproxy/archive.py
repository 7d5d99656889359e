"""Shell. What outlasts a worker of responses and conversations: the spool it writes, the control plane it asks.

Writing waits for nobody: one append when a response is complete. Asking waits by its nature, at most DEADLINE_SECONDS:
for a response that is not in memory (any more), and for a conversation. A control plane or a database that is away
makes a 503 of that request, and of no other.
Read next: `mrproxy/link/spool.py`, `mrproxy/link/state.py`; `recalling.py` and `conversing.py`, who ask.
"""

from collections.abc import Sequence

import msgspec
import trio

from mrproxy.clock import Clock
from mrproxy.dialects.responses.conversations import items_of_answer
from mrproxy.dialects.responses.documents import OutputItem
from mrproxy.dialects.responses.requests import ResponsesRequest
from mrproxy.dialects.responses.states import encode_state
from mrproxy.dialects.responses.store import StoredResponse
from mrproxy.errors import Code, Refused
from mrproxy.link.spool import Event, ItemsAppended, ResponseDeleted, ResponseStored, SpoolWriter
from mrproxy.link.state import (
    DEADLINE_SECONDS,
    MAX_STATE_BYTES,
    PATH,
    Answer,
    Question,
    Unavailable,
    decode_answer,
    encode,
)
from mrproxy.wire.http1 import parse_response_head

# Beyond so many at a time, who asks waits, within its deadline: the database has better things to do.
_AT_ONCE = 32
_MAX_HEAD_BYTES = 16384
_MAX_ANSWER_BYTES = MAX_STATE_BYTES + (1 << 20)
_RECEIVE_BYTES = 65536


class Archive:
    """One worker's. `keep_seconds`: for how long a response is kept."""

    def __init__(self, socket_path: str, spool: SpoolWriter, clock: Clock, keep_seconds: float) -> None:
        self.spool = spool
        self._socket_path = socket_path
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._turns = trio.Semaphore(_AT_ONCE)

    def keep(self, owner: str, request: ResponsesRequest, stored: StoredResponse, output: Sequence[OutputItem]) -> None:
        """A response that its caller has: for itself unless it is not to be stored, and as items of its conversation.

        `output`: with what only its provider can read."""
        events: list[Event] = []
        now_utc = self._clock()
        if request.conversation_id is not None:
            items = items_of_answer(stored.input_items, output, stored.id.removeprefix("resp_"))
            events.append(ItemsAppended(request.conversation_id, owner, now_utc, items))
        if request.store:
            previous_id, conversation_id = request.previous_response_id, request.conversation_id
            state = encode_state(stored, output)
            expires_utc = now_utc + self._keep_seconds
            events.append(ResponseStored(stored.id, owner, previous_id, conversation_id, now_utc, expires_utc, state))
        if events:
            self.spool.append(*events)

    def delete(self, owner: str, response_id: str) -> None:
        """A response that was in memory."""
        now_utc = self._clock()
        self.spool.append(ResponseDeleted(response_id, owner, now_utc, now_utc + self._keep_seconds))

    async def ask(self, question: Question) -> Answer:
        """Never Unavailable: raises Refused. Cancelled leaves open whether it was done."""
        try:
            with trio.fail_after(DEADLINE_SECONDS):
                async with self._turns:
                    answer = decode_answer(await _post(self._socket_path, encode(question)))
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, ValueError, msgspec.MsgspecError) as exc:
            raise _unavailable() from exc
        if isinstance(answer, Unavailable):
            raise _unavailable()
        return answer


def _unavailable() -> Refused:
    return Refused(
        Code.CONTROL_UNAVAILABLE,
        "what is stored is not available at the moment; please try again",
        retry_after_seconds=2,
    )


async def _post(socket_path: str, body: bytes) -> bytes:
    """One exchange on a connection of its own: 0.1 ms, and none is ever stale. Raises OSError, BrokenResourceError, and
    ValueError for an answer that is none."""
    async with await trio.open_unix_socket(socket_path) as stream:
        head = b"POST %b HTTP/1.1\r\nhost: control\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        await stream.send_all(head % (PATH.encode(), len(body)) + body)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n") + 4) < 4:
            await _receive(stream, received, _MAX_HEAD_BYTES + _RECEIVE_BYTES)
        answer = parse_response_head(bytes(received[:end]))
        if answer.status != 200 or answer.content_length < 0:
            raise ValueError(f"the control plane answers {answer.status}")
        while len(received) < end + answer.content_length:
            await _receive(stream, received, _MAX_ANSWER_BYTES)
        return bytes(received[end : end + answer.content_length])


async def _receive(stream: trio.SocketStream, received: bytearray, most_bytes: int) -> None:
    data = await stream.receive_some(_RECEIVE_BYTES)
    if not data or len(received) > most_bytes:
        raise ValueError("the control plane's answer is cut off, or too large")
    received += data
