"""Shell. The Conversations API: a caller is known here, what it wants is read here, and the control plane does it.

Conversations are state in the database, so these requests wait for it, for DEADLINE_SECONDS at most; what goes to a
model does not come this way. Those that write count as requests against the caller's limits.
Read next: `mrproxy/dialects/responses/conversations.py`, the words; `archive.py`, who asks.
"""

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.answers import JSON, encode_answer
from mrproxy.archive import Archive
from mrproxy.canonical.exchange import Exchange
from mrproxy.canonical.request import Operation
from mrproxy.dialects.responses.conversations import (
    conversation_not_found,
    decode_create,
    decode_include,
    decode_items,
    decode_update,
    encode_conversation,
    encode_deleted,
    encode_item,
    encode_items,
    is_conversation_id,
    is_item_id,
    item_exists,
    item_not_found,
)
from mrproxy.dialects.responses.listing import decode_page
from mrproxy.dialects.responses.reading import invalid
from mrproxy.errors import ClientError, Code, Refused
from mrproxy.identity.callers import Caller
from mrproxy.link.state import (
    Answer,
    AppendItems,
    ChangeConversation,
    Clash,
    Conversation,
    CreateConversation,
    DeleteConversation,
    DeleteItem,
    Done,
    FindConversation,
    FindItem,
    Items,
    ListItems,
    Missing,
    Question,
)
from mrproxy.recalling import ItemFinder
from mrproxy.stages import Stages

# Twenty items with a picture each; a body for a model may be larger, but the database keeps this one.
MAX_BODY_BYTES = 16 << 20
_READING = frozenset({Operation.GET_CONVERSATION, Operation.LIST_ITEMS, Operation.GET_ITEM})


async def converse(client: Client, head: Head, exchange: Exchange, stages: Stages) -> None:
    """Raises ProxyError and Departed."""
    caller = stages.identify(client, head)
    client.keep_head(head)
    body = await client.read_body(head, min(MAX_BODY_BYTES, client.settings.max_body_bytes))
    client.begin()
    archive = stages.archive
    if archive is None:
        raise ClientError(Code.NOT_IMPLEMENTED, "this gateway has no database, so it has no conversations")
    if head.route.operation in _READING:
        limits, answer = b"", await _answered(client, head, body, caller, archive, stages)
    else:
        entry, limits = stages.open_entry(caller, 0, exchange, stages.poller.clock())
        with entry:
            answer = await _answered(client, head, body, caller, archive, stages)
            entry.settle(0, 0)
    lines = stages.answer_lines(head, exchange, limits)
    document = encode_answer(200, JSON, answer, lines, has_body=head.http.method != b"HEAD")
    exchange.status, exchange.answer_bytes = 200, len(document)
    await client.send_all(document)


async def _answered(client: Client, head: Head, body: bytes, caller: Caller, archive: Archive, stages: Stages) -> bytes:
    """The document. What refers to items of responses that are not in memory is asked for them first."""
    finder = ItemFinder(caller.flow_id, stages)
    stem = stages.next_request_id().decode()
    while True:
        try:
            question = question_of(head, body, caller.flow_id, stem, finder)
            break
        except ClientError:
            if not await finder.has_found_more(client):
                raise
    await client.fiber.become_task()
    return document_of(head, await archive.ask(question))


def question_of(head: Head, body: bytes, owner: str, stem: str, finder: ItemFinder) -> Question:
    """Raises ClientError for what need not be asked."""
    route, query = head.route, head.http.query.decode("latin-1")
    name, item_id = route.argument, route.item
    if route.operation is Operation.CREATE_CONVERSATION:
        return CreateConversation(owner, f"conv_{stem}", *decode_create(body, stem, finder.find))
    if not is_conversation_id(name):
        raise conversation_not_found(name)
    match route.operation:
        case Operation.GET_CONVERSATION:
            return FindConversation(owner, name)
        case Operation.UPDATE_CONVERSATION:
            return ChangeConversation(owner, name, decode_update(body))
        case Operation.DELETE_CONVERSATION:
            return DeleteConversation(owner, name)
        case Operation.CREATE_ITEMS:
            return AppendItems(owner, name, decode_items(body, stem, finder.find))
        case Operation.LIST_ITEMS:
            page = decode_page(query)
            if page.after is not None and not is_item_id(page.after):
                raise _no_such_place(page.after)
            return ListItems(owner, name, page.limit, page.is_ascending, page.after)
    if not is_item_id(item_id):
        raise item_not_found(item_id, name)
    if route.operation is Operation.GET_ITEM:
        return FindItem(owner, name, item_id)
    return DeleteItem(owner, name, item_id)


def document_of(head: Head, answer: Answer) -> bytes:
    """Raises ClientError for what is not there."""
    route, query = head.route, head.http.query.decode("latin-1")
    name = route.argument
    match answer:
        case Conversation():
            return encode_conversation(answer)
        case Items(items=(item,)) if route.operation is Operation.GET_ITEM:
            return encode_item(item, shows_sealed=decode_include(query))
        case Items():
            return encode_items(answer, shows_sealed=decode_include(query))
        case Done():
            return encode_deleted(name)
        case Clash():
            raise item_exists(answer.item_id)
        case Missing(what="item") if route.operation is Operation.LIST_ITEMS:
            raise _no_such_place(decode_page(query).after or "")
        case Missing(what="item"):
            raise item_not_found(route.item, name)
        case Missing():
            raise conversation_not_found(name)
    raise Refused(Code.CONTROL_UNAVAILABLE, "the conversation is too large to be shown")


def _no_such_place(item_id: str) -> ClientError:
    return invalid("after", f"there is no item '{item_id[:80]}'")
