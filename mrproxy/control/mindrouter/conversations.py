"""Shell. `/api/admin/conversations/export`: what was said, of all requests whose bodies are kept, as one JSON array.

There a conversation is one of the chat page; here every captured request is one, with the messages that it brought and
the answer to them. It is streamed, a page of the database at a time: nothing is read before the client has taken what
came before, and no transaction is open in between. A database that stays away breaks the connection off.
Read next: `../admin/exporting.py`, the same for records.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mrproxy.control.admin.exporting import read_patiently
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import JSON, Answer, Endpoint
from mrproxy.control.mindrouter.history import name_of_user
from mrproxy.control.mindrouter.transcript import read_answer, read_request
from mrproxy.control.mindrouter.values import MomentText, Number, Search, iso_at, seconds_of
from mrproxy.control.permissions import Permission
from mrproxy.storage.bodies import BodyFilter, StoredBodies, read_body_page
from mrproxy.storage.records import Cursor

ATTACHMENT = ("Content-Disposition", 'attachment; filename="conversations.json"')
TITLE_CHARACTERS = 80


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`search`: a text in what was asked or answered, in any case."""

    search: Search = ""
    user_id_filter: Number | None = None
    model_filter: Annotated[str, Meta(max_length=512)] | None = None
    start_date: MomentText | None = None
    end_date: MomentText | None = None
    include_content: bool = True


class Message(msgspec.Struct, frozen=True):
    role: str
    content: Any


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is the request's. `messages` null: not asked for."""

    id: str
    username: str
    title: str
    model: str | None
    created_at: str
    message_count: int
    messages: list[Message] | None


class Export(AsyncIterator[bytes]):
    """The pieces of one answer. Quart calls `aclose` when it is over, however that came."""

    def __init__(self, call: Call[None, ExportQuery], wanted: BodyFilter) -> None:
        """Raises Problem when too many run already."""
        self._call = call
        self._wanted = wanted
        self._behind: Cursor | None = None
        self._begins = b"["
        self._is_over = self._is_ended = False
        call.plane.exports.begin(self)

    def __aiter__(self) -> "Export":
        return self

    async def __anext__(self) -> bytes:
        """Raises DatabaseError or Problem when the database stays away."""
        if self._is_ended:
            await self.aclose()
            raise StopAsyncIteration
        if self._is_over:
            self._is_ended = True
            return b"[]" if self._begins == b"[" else b"]"
        return self._encoded(await self._next_page())

    async def aclose(self) -> None:
        self._is_over = self._is_ended = True
        self._call.plane.exports.end(self)

    async def _next_page(self) -> Sequence[StoredBodies]:
        page = await read_patiently(self._call, read_body_page, self._wanted, self._behind)
        self._behind = page.following
        self._is_over = page.following is None
        return page.bodies

    def _encoded(self, bodies: Sequence[StoredBodies]) -> bytes:
        """May be empty, where nothing of a page is wanted."""
        pieces = []
        for each in bodies:
            if is_wanted(each, self._call.query):
                shown = conversation_of(each, with_content=self._call.query.include_content)
                pieces.append(self._begins + msgspec.json.encode(shown))
                self._begins = b",\n"
        return b"".join(pieces)


async def export_conversations(call: Call[None, ExportQuery]) -> Answer:
    """What was said, oldest first."""
    query = call.query
    wanted = BodyFilter(
        since_utc=seconds_of(query.start_date, "?start_date"),
        until_utc=seconds_of(query.end_date, "?end_date"),
        user=await name_of_user(call, query.user_id_filter),
    )
    if wanted.user == "":
        return Answer(value=[])
    return Answer(stream=Export(call, wanted), content_type=JSON, headers=(ATTACHMENT,))


def is_wanted(bodies: StoredBodies, query: ExportQuery) -> bool:
    if query.model_filter is not None and bodies.model != query.model_filter:
        return False
    text = query.search.casefold()
    return not text or any(
        text in body.decode("utf-8", "replace").casefold() for body in (bodies.request, bodies.answer)
    )


def conversation_of(bodies: StoredBodies, *, with_content: bool) -> Conversation:
    messages = messages_of(bodies)
    spoken = (each.content for each in messages if each.role == "user" and isinstance(each.content, str))
    return Conversation(
        id=bodies.request_id,
        username=bodies.user,
        title=next(spoken, "")[:TITLE_CHARACTERS] if with_content else "",
        model=bodies.model,
        created_at=iso_at(bodies.started_utc),
        message_count=len(messages),
        messages=messages if with_content else None,
    )


def messages_of(bodies: StoredBodies) -> list[Message]:
    """In the order they were said; what has no role is the user's."""
    asked, answered = read_request(bodies.request), read_answer(bodies.answer)
    given = asked.messages if isinstance(asked.messages, list) else [asked.prompt]
    found = [message_of(each) for each in given if each is not None]
    return [*found, *([] if answered.content is None else [Message("assistant", answered.content)])]


def message_of(given: object) -> Message:
    if isinstance(given, dict):
        return Message(str(given.get("role", "user")), given.get("content"))
    return Message("user", given)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/conversations/export",
        Permission.BODIES_READ,
        export_conversations,
        query=ExportQuery,
        answer=list[Conversation],
        tag="MindRouter: requests",
    ),
)
