"""Shell. What a Responses request refers to is found before it takes its turn: in memory, else in the control plane.

No slot is held meanwhile. A request that refers to nothing asks nobody, so it waits for no database; nor does one whose
earlier response this worker still has. A conversation is always asked for: other requests may have added to it.
Read next: `archive.py`; `translating.py`, which uses what is found.
"""

import msgspec

from mrproxy.accept.client import Client
from mrproxy.canonical.conversation import ChatRequest, Message
from mrproxy.dialects.responses.conversations import conversation_not_found, is_conversation_id, messages_of
from mrproxy.dialects.responses.listing import is_response_id, item_of, response_of_item
from mrproxy.dialects.responses.requests import ResponsesRequest, decode_request, extend, previous_not_found
from mrproxy.dialects.responses.shallow import Recalled, ResponsesAsk
from mrproxy.dialects.responses.states import decode_chain
from mrproxy.dialects.responses.store import StoredResponse
from mrproxy.errors import ClientError, Code
from mrproxy.link.state import DeleteResponse, Done, FindResponse, Items, ReadItems, States, TooLarge
from mrproxy.stages import Stages


async def recall(client: Client, request: ResponsesAsk, owner: str, stages: Stages) -> None:
    """Fill in `request.recalled`. Raises ClientError, Refused (503) and Departed."""
    response = await _decode(client, request.body, owner, stages)
    chat: ChatRequest = response.chat
    earlier: StoredResponse | None = None
    if response.previous_response_id is not None:
        earlier = await find_response(client, response.previous_response_id, owner, stages, with_chain=True)
        if earlier is None:
            raise previous_not_found(response.previous_response_id)
        if earlier.conversation_id is not None:
            message = f"this response belongs to the conversation '{earlier.conversation_id}': continue that"
            raise ClientError(Code.INVALID_FIELD, message, param="previous_response_id")
        chat = extend(response, earlier.turn.conversation())
    elif response.conversation_id is not None:
        chat = extend(response, await _read_conversation(client, response.conversation_id, owner, stages))
    request.recalled = Recalled(response, chat, earlier)


async def find_response(
    client: Client, response_id: str, owner: str, stages: Stages, *, with_chain: bool = False
) -> StoredResponse | None:
    """One of this caller's; without `with_chain` its turn may lack those before. Raises Refused and ClientError."""
    stored = stages.responses.get(owner, response_id, stages.poller.clock())
    if stored is not None or stages.archive is None or not is_response_id(response_id):
        return stored
    await client.fiber.become_task()
    answer = await stages.archive.ask(FindResponse(owner, response_id, with_chain))
    if isinstance(answer, TooLarge):
        raise ClientError(Code.INVALID_FIELD, f"what response '{response_id}' continues is too large", param=None)
    return decode_chain(answer.states) if isinstance(answer, States) else None


async def delete_response(client: Client, response_id: str, owner: str, stages: Stages) -> bool:
    """Whether this caller had one. Raises Refused."""
    archive = stages.archive
    if stages.responses.delete(owner, response_id, stages.poller.clock()):
        if archive is not None:
            archive.delete(owner, response_id)
        return True
    if archive is None or not is_response_id(response_id):
        return False
    await client.fiber.become_task()
    return isinstance(await archive.ask(DeleteResponse(owner, response_id)), Done)


async def _read_conversation(client: Client, conversation_id: str, owner: str, stages: Stages) -> tuple[Message, ...]:
    if stages.archive is None:
        message = "'conversation' is not supported: this gateway has no database; use previous_response_id"
        raise ClientError(Code.INVALID_FIELD, message, param="conversation")
    if not is_conversation_id(conversation_id):
        raise conversation_not_found(conversation_id)
    await client.fiber.become_task()
    answer = await stages.archive.ask(ReadItems(owner, conversation_id))
    if isinstance(answer, TooLarge):
        raise ClientError(Code.INVALID_FIELD, "the conversation is too large", param="conversation")
    if not isinstance(answer, Items):
        raise conversation_not_found(conversation_id)
    return messages_of(answer.items)


async def _decode(client: Client, body: bytes, owner: str, stages: Stages) -> ResponsesRequest:
    """References to items of responses that are not in memory are found one after the other."""
    finder = ItemFinder(owner, stages)
    while True:
        try:
            return decode_request(body, finder.find)
        except ClientError:
            if not await finder.has_found_more(client):
                raise


class ItemFinder:
    """`find` looks at what is there; after a miss, `has_found_more` says whether it would do better now."""

    def __init__(self, owner: str, stages: Stages) -> None:
        self._owner = owner
        self._stages = stages
        self._found: dict[str, StoredResponse | None] = {}
        self._missed: str | None = None

    def find(self, item_id: str) -> msgspec.Raw | None:
        """For `item_reference`."""
        response_id = response_of_item(item_id)
        if response_id is None:
            return None
        stored = self._stages.responses.get(self._owner, response_id, self._stages.poller.clock())
        stored = stored or self._found.get(response_id)
        if stored is None:
            self._missed = response_id
            return None
        return item_of(stored, item_id)

    async def has_found_more(self, client: Client) -> bool:
        """Raises Refused and Departed."""
        missed, self._missed = self._missed, None
        if missed is None or missed in self._found:
            return False
        found = self._found[missed] = await find_response(client, missed, self._owner, self._stages)
        return found is not None
