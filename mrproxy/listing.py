"""Shell. What is answered from what the probes know: model lists, versions, greetings, CORS preflights.

No backend is asked, so a list costs nothing and never hangs; it is at most one probe interval old.
"""

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.answers import JSON, encode_answer
from mrproxy.canonical.exchange import Exchange
from mrproxy.canonical.models import Model
from mrproxy.canonical.request import Operation, Request
from mrproxy.counting import answer_count
from mrproxy.dialects.anthropic import ANTHROPIC
from mrproxy.dialects.ollama import GREETING, OLLAMA
from mrproxy.dialects.ollama.show import encode_show
from mrproxy.dialects.openai import OPENAI
from mrproxy.dialects.responses.listing import (
    decode_page,
    encode_deletion,
    encode_input_items,
    not_found,
    require_plain,
)
from mrproxy.errors import Code, Refused
from mrproxy.recalling import delete_response, find_response
from mrproxy.stages import Stages

_TEXT = b"text/plain; charset=utf-8"
# What the SDKs in browsers send; ten minutes is what Chromium believes at most (2 h in Firefox).
_PREFLIGHT = b"access-control-allow-methods: %b\r\naccess-control-allow-headers: %b\r\naccess-control-max-age: 600\r\n"
_USUAL_HEADERS = b"authorization, content-type, x-api-key, x-request-id, anthropic-version, anthropic-beta"
# What is answered here when no backend that has the model can do it.
ANSWERED_INSTEAD = frozenset({Operation.SHOW, Operation.COUNT_TOKENS})
# Anybody may ask these: they say nothing about who is served.
_OPEN = frozenset({Operation.GREETING, Operation.PREFLIGHT, Operation.VERSION})


async def answer_locally(client: Client, head: Head, exchange: Exchange, stages: Stages) -> None:
    """Raises Refused and Departed."""
    operation = head.route.operation
    allowed: frozenset[str] | None = None
    owner = ""
    if operation not in _OPEN:
        caller = stages.identify(client, head)
        allowed, owner = caller.models, caller.flow_id
        client.keep_head(head)
    if not client.skip_body(head):  # nothing here takes a body, and nobody may make us keep one
        exchange.keep_alive = False
    client.begin()
    status, kind, body, extra = 200, JSON, b"", b""
    match operation:
        case Operation.GREETING:
            kind, body = _TEXT, GREETING
        case Operation.PREFLIGHT:
            status, kind = 204, b""
            wanted = head.http.get(b"access-control-request-headers") or _USUAL_HEADERS
            extra = _PREFLIGHT % (head.route.allow, wanted) if head.origin else b"allow: %b\r\n" % head.route.allow
        case Operation.VERSION:
            body = OLLAMA.encode_version(stages.registry.ollama_version())
        case Operation.LIST_RUNNING:
            body = OLLAMA.encode_running(stages.registry.running(allowed))
        case Operation.GET_MODEL:
            dialect = ANTHROPIC if head.route.dialect is ANTHROPIC else OPENAI
            body = dialect.encode_model(_one(head.route.argument, allowed, stages))
        case Operation.GET_RESPONSE | Operation.DELETE_RESPONSE | Operation.LIST_INPUT_ITEMS:
            body = await _stored(client, head, owner, stages)
        case _:
            body = head.route.dialect.encode_models(_visible(allowed, stages))
    lines = stages.answer_lines(head, exchange, extra)
    answer = encode_answer(status, kind, body, lines, has_body=head.http.method != b"HEAD")
    exchange.status, exchange.answer_bytes = status, len(answer)
    await client.send_all(answer)


async def answer_instead(client: Client, head: Head, request: Request, exchange: Exchange, stages: Stages) -> None:
    """/api/show of a model on another engine, and a count of tokens where no backend has Anthropic's API."""
    model = _one(request.model, None, stages)
    lines = b""
    if head.route.operation is Operation.SHOW:
        body = encode_show(model.name, model.context_length, model.owned_by, ("completion", "tools"))
    else:
        body, lines = await answer_count(client, request, exchange, stages)
    await send_document(client, head, model.name, body, exchange, stages, lines)


async def send_document(
    client: Client, head: Head, model: str, body: bytes, exchange: Exchange, stages: Stages, lines: bytes = b""
) -> None:
    """An answer of our own to a request for a model. `lines`: header lines of this answer alone."""
    answer = encode_answer(200, JSON, body, stages.answer_lines(head, exchange, lines))
    exchange.model, exchange.status, exchange.answer_bytes = model, 200, len(answer)
    await client.send_all(answer)


async def _stored(client: Client, head: Head, owner: str, stages: Stages) -> bytes:
    """Of the caller's own responses. Raises ClientError, Refused (503) and Departed."""
    operation, name = head.route.operation, head.route.argument
    query = head.http.query.decode("latin-1")
    if operation is Operation.DELETE_RESPONSE:
        if not await delete_response(client, name, owner, stages):
            raise not_found(name)
        return encode_deletion(name)
    stored = await find_response(client, name, owner, stages)
    if stored is None:
        raise not_found(name)
    if operation is Operation.LIST_INPUT_ITEMS:
        return encode_input_items(stored, decode_page(query))
    require_plain(query)
    return stored.document


def _visible(allowed: frozenset[str] | None, stages: Stages) -> list[Model]:
    models = stages.registry.models()
    return models if allowed is None else [model for model in models if model.name in allowed]


def _one(name: str, allowed: frozenset[str] | None, stages: Stages) -> Model:
    for model in _visible(allowed, stages):
        if name in (model.name, f"{model.name}:latest") or f"{name}:latest" == model.name:
            return model
    raise Refused(Code.MODEL_NOT_FOUND, f"model '{name}' not found")
