"""Pure. Deltas to an answer of `/v1/responses`: a stream of named events, or one document.

Every event has the next `sequence_number`. The order within an item: output_item.added, content_part.added, deltas,
the text's `done`, content_part.done, output_item.done; items may overlap where functions are called beside each other.
Source: OpenAI API reference, "Streaming events" (2026); the SDK's `response_*_event` types. Reasoning is streamed as
`response.reasoning_text.delta`, as vLLM streams it, inside the content part that the SDK's types give it.
Read next: `output.py` for which delta makes which item, `documents.py` for the objects.
"""

from collections.abc import Sequence

import msgspec

from mrproxy.canonical.deltas import Delta
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.responses.documents import ConversationReference, Error, Response, TokenLogprob, make_usage
from mrproxy.dialects.responses.output import Assembly
from mrproxy.dialects.responses.progress import COMPLETED, IN_PROGRESS, INCOMPLETE, ItemInProgress, PartInProgress
from mrproxy.dialects.responses.requests import ResponsesRequest
from mrproxy.dialects.usage import PING_COMMENT

FAILED = "failed"
SERVER_ERROR = "server_error"

_encode = msgspec.json.encode
# A text's events, by the kind of its part: delta, done, and what the done event calls the whole text.
_TEXT_EVENTS = {
    "output_text": ("response.output_text.delta", "response.output_text.done", "text"),
    "refusal": ("response.refusal.delta", "response.refusal.done", "refusal"),
    "reasoning_text": ("response.reasoning_text.delta", "response.reasoning_text.done", "text"),
}


def response_id(request_id: str) -> str:
    return f"resp_{request_id.replace('-', '')}"


def encode_stream_failure(message: str, code: str, sequence_number: int) -> bytes:
    """The event that ends a stream when no encoder is at hand, or after its own `response.failed`.

    The documented fields are at the top; under `error` they are again, as OpenAI sends them, because that is where its
    SDK looks for what to raise (`openai/_streaming.py`, 2026).
    """
    inner = {"type": code, "code": code, "message": message, "param": None}
    event = {
        "type": "error",
        "code": code,
        "message": message,
        "param": None,
        "error": inner,
        "sequence_number": sequence_number,
    }
    return b"event: error\ndata: %b\n\n" % _encode(event)


class _Encoder(Assembly):
    """What both shapes know of the response."""

    def __init__(self, context: AnswerContext, request: ResponsesRequest) -> None:
        super().__init__(context.request_id.replace("-", ""), shows_sealed=request.gives_encrypted_reasoning)
        self._context = context
        self._request = request
        self._is_ended = False
        self._error: Error | None = None

    @property
    def response(self) -> Response:
        """As it is now; after `finish` (or `fail`) as it stays."""
        status = IN_PROGRESS
        if self._error is not None:
            status = FAILED
        elif self._is_ended:
            status = COMPLETED if self.incomplete_details is None else INCOMPLETE
        conversation_id = self._request.conversation_id
        return Response(
            **msgspec.structs.asdict(self._request.echo),
            id=response_id(self._context.request_id),
            created_at=int(self._context.created_utc),
            status=status,
            error=self._error,
            incomplete_details=self.incomplete_details if status == INCOMPLETE else None,
            model=self._context.model,
            output=[item.document() for item in self.items],
            usage=make_usage(self.tokens),
            conversation=msgspec.UNSET if conversation_id is None else ConversationReference(conversation_id),
        )

    def ping(self) -> bytes:
        return b""


class ResponsesDocumentEncoder(_Encoder):
    """Says everything in `finish`."""

    content_type = b"application/json"

    def send(self, deltas: Sequence[Delta]) -> bytes:
        self.assemble(deltas)
        return b""

    def finish(self) -> bytes:
        self.end_items()
        self._is_ended = True
        return _encode(self.response)


class ResponsesStreamEncoder(_Encoder):
    """`finish` ends a whole answer, `fail` one that broke off."""

    content_type = b"text/event-stream; charset=utf-8"

    def __init__(self, context: AnswerContext, request: ResponsesRequest) -> None:
        super().__init__(context, request)
        self.sequence_number = 0
        self._out: list[bytes] = []
        self._has_begun = False

    def send(self, deltas: Sequence[Delta]) -> bytes:
        if deltas:
            self._begin()
            self.assemble(deltas)
        return self._taken()

    def finish(self) -> bytes:
        self._begin()
        self.end_items()
        self._is_ended = True
        self._tell_response("response.completed" if self.incomplete_details is None else "response.incomplete")
        return self._taken()

    def fail(self, message: str, code: str = SERVER_ERROR) -> bytes:
        """Instead of `finish`: `response.failed`, then the error that the SDK raises. `code` is one of OpenAI's."""
        self._begin()
        self.break_off()
        self._error = Error(code, message)
        self._tell_response("response.failed")
        return self._taken() + encode_stream_failure(message, code, self.sequence_number)

    def ping(self) -> bytes:
        return PING_COMMENT

    # Events

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._tell_response("response.created")
            self._tell_response("response.in_progress")

    def _tell(self, name: str, **fields: object) -> None:
        event = _encode({"type": name, **fields, "sequence_number": self.sequence_number})
        self._out.append(b"event: %b\ndata: %b\n\n" % (name.encode(), event))
        self.sequence_number += 1

    def _tell_piece(self, head: bytes, piece: str, rest: bytes) -> None:
        """A token's event: its head is made once for all of a text."""
        self._out.append(b'%b%b%b,"sequence_number":%d}\n\n' % (head, _encode(piece), rest, self.sequence_number))
        self.sequence_number += 1

    def _tell_response(self, name: str) -> None:
        self._tell(name, response=self.response)

    def on_item_added(self, item: ItemInProgress) -> None:
        self._tell("response.output_item.added", output_index=item.index, item=item.document())
        if item.call is not None:
            place = _encode({"item_id": item.id, "output_index": item.index})
            item.head = _head("response.function_call_arguments.delta", place)

    def on_part_added(self, item: ItemInProgress, part: PartInProgress) -> None:
        place = {"item_id": item.id, "output_index": item.index, "content_index": part.index}
        self._tell("response.content_part.added", **place, part=part.document())
        part.head = _head(_TEXT_EVENTS[part.kind][0], _encode(place))

    def on_said(self, part: PartInProgress, text: str, logprobs: Sequence[TokenLogprob]) -> None:
        if part.kind != "output_text":
            self._tell_piece(part.head, text, b"")
        elif not logprobs:
            self._tell_piece(part.head, text, b',"logprobs":[]')
        else:
            self._tell_piece(part.head, text, b',"logprobs":' + _encode(logprobs))

    def on_called(self, item: ItemInProgress, fragment: str) -> None:
        self._tell_piece(item.head, fragment, b"")

    def on_part_done(self, item: ItemInProgress, part: PartInProgress) -> None:
        _, name, field = _TEXT_EVENTS[part.kind]
        place: dict[str, object] = {"item_id": item.id, "output_index": item.index, "content_index": part.index}
        whole: dict[str, object] = {field: part.text}
        if part.kind == "output_text":
            whole["logprobs"] = part.logprobs
        self._tell(name, **place, **whole)
        self._tell("response.content_part.done", **place, part=part.document())

    def on_item_done(self, item: ItemInProgress) -> None:
        if item.call is not None:
            self._tell(
                "response.function_call_arguments.done",
                item_id=item.id,
                output_index=item.index,
                arguments=item.call.arguments,
            )
        self._tell("response.output_item.done", output_index=item.index, item=item.document())


def _head(name: str, place: bytes) -> bytes:
    """An event up to the text of its `delta`; `place` is an object."""
    return b'event: %b\ndata: {"type":"%b",%b,"delta":' % (name.encode(), name.encode(), place[1:-1])
