"""Shell. One request in the translating lane: read once, written for each backend that is tried, kept at its end.

The shell around `dialects/translation.py`: it fetches the images that an engine needs as bytes, and stores the response
that a Responses request makes (`recalling.py` found what it continues). One per request; the straight lane makes none.
Read first: `attempts.py`, which asks for it; `dialects/lanes.py`, which says when.
"""

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.canonical.conversation import ChatRequest, EmbeddingRequest
from mrproxy.canonical.exchange import Exchange
from mrproxy.canonical.request import Operation, Request
from mrproxy.canonical.surface import Surface
from mrproxy.dialects import translation
from mrproxy.dialects.codec import AnswerContext, Target
from mrproxy.dialects.responses.answers import ResponsesDocumentEncoder, ResponsesStreamEncoder
from mrproxy.dialects.responses.listing import find_item
from mrproxy.dialects.responses.requests import decode_request
from mrproxy.dialects.responses.shallow import Recalled, ResponsesAsk
from mrproxy.dialects.responses.store import StoredResponse
from mrproxy.dialects.schema import OutputCheck
from mrproxy.dialects.translation import Asked, Translation, needs_bytes, read_asked, translate
from mrproxy.errors import ClientError, Code, ProxyError
from mrproxy.identity.callers import Caller
from mrproxy.stages import Stages
from mrproxy.upstream.backend import Backend
from mrproxy.upstream.registry import ModelPool

# What asks nothing is short; longer bodies need not be read for it.
SHORT_BYTES = 1024
_TRACE_HEADERS = (b"traceparent", b"tracestate")  # W3C Trace Context
# With everything else they fit into the 4 KiB that nginx takes of an answer's head (`proxy_buffer_size`).
_MAX_WARNINGS = 8
_MAX_WARNING_CHARACTERS = 300


class Translating:
    """`read` and `check` raise ClientError; `write` too, and Departed."""

    __slots__ = (
        "_asked", "_caller", "_earlier", "_exchange", "_head", "_model", "_request", "_stages", "translation",
    )  # fmt: skip

    def __init__(self, head: Head, request: Request, exchange: Exchange, caller: Caller, stages: Stages) -> None:
        self._head = head
        self._request = request
        self._model = exchange.model  # the pool's name for it
        self._exchange = exchange
        self._caller = caller
        self._stages = stages
        self._earlier: StoredResponse | None = None
        self._asked: Asked | None = None
        self.translation: Translation | None = None

    def read(self) -> Asked:
        """What the caller wants; the body is decoded the first time."""
        if self._asked is None:
            route = self._head.route
            if route.operation is Operation.RESPONSES:
                self._asked = self._read_response()
            else:
                self._asked = read_asked(route.dialect.name, route.operation, self._request.body)
        return self._asked

    async def write(self, client: Client, backend: Backend) -> bytes:
        """The whole request for this backend, ready to be sent; `translation` has the tap for its answer."""
        asked = self.read()
        urls = needs_bytes(backend.kind, asked)
        if urls:
            await client.fiber.become_task()
            self._asked = asked = asked.with_images(await self._stages.images.fetch_all(urls))
        exchange, stages = self._exchange, self._stages
        # Responses are found again by ids made of this one: a caller's own may come twice.
        own_id = exchange.request_id if self._head.request_id is None else stages.next_request_id()
        request_id = own_id.decode("latin-1")
        target = Target(
            kind=backend.kind,
            model=backend.own_name(self._model),
            context_length=backend.context_length(self._model),
            is_context_fixed=stages.settings.num_ctx_fixed,
        )
        context = AnswerContext(request_id, self._model, stages.clock(), self._wants_usage(asked))
        self.translation = translation = translate(asked, target, context, self._check(asked))
        if exchange.capture is not None:
            translation.tap.kept = exchange.capture.answer
        if asked.response is not None:
            translation.tap.finished = self._completed
        exchange.answer_lines += warning_lines(translation.warnings)
        stages.counters.translations += 1
        http = self._head.http
        trace = [(name, value) for name in _TRACE_HEADERS if (value := http.get(name)) is not None]
        lines = b"".join([b"%b: %b\r\n" % header for header in trace])
        return backend.endpoint.translated_request(translation.path, lines, translation.body, exchange.request_id)

    def _completed(self) -> None:
        """The answer is whole, and its client will hear so when this returns: a response is stored unless the caller
        said not to, and added to its conversation."""
        asked, translation = self._asked, self.translation
        if asked is None or translation is None or asked.response is None:
            return
        if not asked.response.store and asked.response.conversation_id is None:
            return
        encoder = translation.encoder
        assert isinstance(encoder, ResponsesStreamEncoder | ResponsesDocumentEncoder)
        stages, owner = self._stages, self._caller.flow_id
        stored = StoredResponse.of(asked.response, encoder, self._earlier)
        if asked.response.store:
            stages.responses.put(owner, stored, stages.poller.now)
        if stages.archive is not None:
            stages.archive.keep(owner, asked.response, stored, encoder.sealed_items)

    def stream_error(self, error: ProxyError) -> bytes:
        """What ends a stream that has begun, in the caller's dialect."""
        translation = self.translation
        if translation is not None and isinstance(translation.encoder, ResponsesStreamEncoder):
            return translation.encoder.fail(error.message)
        return self._head.route.dialect.encode_stream_error(error, self._exchange.request_id)

    def _read_response(self) -> Asked:
        request = self._request
        recalled = request.recalled if isinstance(request, ResponsesAsk) else None
        if recalled is None:  # it continues nothing, and is not to be stored
            owner, now, store = self._caller.flow_id, self._stages.poller.now, self._stages.responses
            response = decode_request(request.body, lambda item_id: find_item(store, owner, item_id, now))
            recalled = Recalled(response, response.chat, None)
        self._earlier = recalled.earlier
        route = self._head.route
        return Asked(route.dialect.name, route.operation, recalled.chat, recalled.response)

    def _wants_usage(self, asked: Asked) -> bool:
        """The shallow decode has put our own wish for usage into the body."""
        return isinstance(asked.request, EmbeddingRequest) or (
            asked.request.include_usage and not self._request.cuts_usage
        )

    def _check(self, asked: Asked) -> OutputCheck | None:
        """If the caller wants its structured output checked."""
        if not self._head.is_checked or not isinstance(asked.request, ChatRequest):
            return None
        wanted = asked.request.response_format
        if wanted is None:
            raise ClientError(
                Code.INVALID_FIELD, "x-mrproxy-validate: there is no schema to check the output against", param=None
            )
        return OutputCheck(wanted)


def answer_to_nothing(
    head: Head, request: Request, pool: ModelPool, exchange: Exchange, stages: Stages
) -> bytes | None:
    """For requests of at most SHORT_BYTES that ask nothing of a model which no Ollama has. Raises ClientError."""
    route = head.route
    if route.surface is not Surface.OLLAMA or any(Surface.OLLAMA in backend.native for backend in pool.backends):
        return None
    context = AnswerContext(exchange.request_id.decode("latin-1"), pool.model, stages.clock())
    return translation.answer_to_nothing(read_asked(route.dialect.name, route.operation, request.body), context)


def warning_lines(warnings: tuple[str, ...]) -> bytes:
    """`warning` header lines (RFC 7234 §5.5, code 299): one for each field that could not be passed on."""
    texts = list(dict.fromkeys(warnings))
    if len(texts) > _MAX_WARNINGS:
        texts[_MAX_WARNINGS - 1 :] = [f"and {len(texts) - _MAX_WARNINGS + 1} more"]
    return b"".join([b'warning: 299 mrproxy "%b"\r\n' % _quoted(text) for text in texts])


def _quoted(text: str) -> bytes:
    """A quoted-string of printable ASCII (RFC 9110 §5.6.4); it may hold what a caller wrote."""
    plain = "".join(each if " " <= each <= "~" and each not in '"\\' else "?" for each in text)
    return plain[:_MAX_WARNING_CHARACTERS].encode("ascii")
