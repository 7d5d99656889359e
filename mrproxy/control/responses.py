"""Shell. The workers' route to stored responses and conversations: one path, msgpack both ways.

A worker has identified the caller and says whose flow it is, so nobody else may ask: the socket belongs to the owner of
the data directory, and what a worker's front door forwards for a client always carries X-Forwarded-For
(`mrproxy/forwarding.py` sets it). For such a request there is nothing here.
Read next: `mrproxy/link/state.py`, the questions.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec
import trio
from quart import Response, abort, request
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioRequest
from werkzeug.datastructures import Headers

from mrproxy.control.api.plane import Tell
from mrproxy.link.state import (
    ANSWER_SECONDS,
    DEADLINE_SECONDS,
    PATH,
    Answer,
    DeleteResponse,
    Done,
    Question,
    Unavailable,
    decode_question,
    encode,
)

# Items of a conversation (`mrproxy/conversing.py` has the bound), and what is around them.
MAX_QUESTION_BYTES = 17 << 20
# What is left of a worker's patience when the database took all of its time.
TELL_SECONDS = DEADLINE_SECONDS - ANSWER_SECONDS
_FORWARDED = "X-Forwarded-For"

AnswerQuestion: TypeAlias = Callable[[Question], Awaitable[Answer]]


class RoomyRequest(TrioRequest):
    """A worker's question may be larger than what the rest of this application takes."""

    def __init__(
        self, method: str, scheme: str, path: str, query_string: bytes, headers: Headers, *args: Any, **options: Any
    ) -> None:
        if path == PATH and _FORWARDED not in headers:
            options["max_content_length"] = MAX_QUESTION_BYTES
        super().__init__(method, scheme, path, query_string, headers, *args, **options)


def add_state(app: QuartTrio, answer: AnswerQuestion | None, tell: Tell | None = None) -> None:
    """Without a database the answer is always that it is not available. A deletion is told to all workers: one of them
    may have the response in memory."""
    app.request_class = RoomyRequest

    @app.post(PATH)
    async def state() -> Response:
        if _FORWARDED in request.headers:
            abort(404)
        try:
            question = decode_question(await request.get_data(cache=False, as_text=False, parse_form_data=False))
        except msgspec.MsgspecError:
            abort(400, "this is no question that is known here")
        found = Unavailable() if answer is None else await answer(question)
        if isinstance(question, DeleteResponse) and isinstance(found, Done) and tell is not None:
            with trio.move_on_after(TELL_SECONDS):  # a worker that hangs serves nobody
                await tell("DELETE", f"/responses/{quote(question.owner, safe='')}/{question.id}")
        return Response(encode(found), content_type="application/vnd.msgpack")
