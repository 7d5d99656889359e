"""Pure. A shallow decode of Responses requests: model, stream, bound, whether they refer to others; the rest is bytes.

Source: OpenAI API reference, "Create a model response" (2026).
"""

from typing import NamedTuple

import msgspec

from mrproxy.canonical.conversation import ChatRequest
from mrproxy.canonical.request import Operation, Request, Shape
from mrproxy.dialects.responses.reading import ABSENT, is_given, missing, read
from mrproxy.dialects.responses.requests import ResponsesRequest
from mrproxy.dialects.responses.store import StoredResponse


class Recalled(NamedTuple):
    """A whole request: `chat` with what was said before, `earlier` the response that it continues."""

    response: ResponsesRequest
    chat: ChatRequest
    earlier: StoredResponse | None


class ResponsesAsk(Request):
    """`needs_recall`: it is to be stored, or continues what is; `recalled` then says what it came to."""

    __slots__ = ("needs_recall", "recalled")

    def __init__(self, asked: "_Asked", body: bytes, max_tokens: int | None) -> None:
        shape = Shape.SSE if asked.stream else Shape.JSON
        super().__init__(asked.model, body, shape, len(body), max_tokens, cuts_usage=False)
        is_alone = asked.store is False and asked.previous_response_id is None and not is_given(asked.conversation)
        self.needs_recall = not is_alone
        self.recalled: Recalled | None = None


class _Asked(msgspec.Struct, gc=False):
    model: str
    stream: bool | None = None
    max_output_tokens: int | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = ABSENT


_decoder = msgspec.json.Decoder(_Asked)


def decode_responses(body: bytes, operation: Operation) -> ResponsesAsk:  # noqa: ARG001 - one signature for all dialects
    """Raises ClientError. A stream's last event always has the usage, so nothing is asked for and nothing is cut."""
    asked = read(_decoder, body, "")
    if not asked.model:
        raise missing("model")
    bound = asked.max_output_tokens
    if bound is not None and bound < 0:
        bound = None
    return ResponsesAsk(asked, body, bound)
