"""Shell. What is answered from what the probes know: model lists, versions, greetings, CORS preflights.

No backend is asked, so a list costs nothing and never hangs; it is at most one probe interval old.
"""

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.answers import JSON, encode_answer
from mrproxy.canonical.exchange import Exchange
from mrproxy.canonical.models import Model
from mrproxy.canonical.request import Operation
from mrproxy.dialects.ollama import GREETING, OLLAMA
from mrproxy.dialects.openai import OPENAI
from mrproxy.errors import Code, Refused
from mrproxy.stages import Stages

_TEXT = b"text/plain; charset=utf-8"
# What the SDKs in browsers send; ten minutes is what Chromium believes at most (2 h in Firefox).
_PREFLIGHT = b"access-control-allow-methods: %b\r\naccess-control-allow-headers: %b\r\naccess-control-max-age: 600\r\n"
_USUAL_HEADERS = b"authorization, content-type, x-api-key, x-request-id"
# Anybody may ask these: they say nothing about who is served.
_OPEN = frozenset({Operation.GREETING, Operation.PREFLIGHT, Operation.VERSION})


async def answer_locally(client: Client, head: Head, exchange: Exchange, stages: Stages) -> None:
    """Raises Refused and Departed."""
    operation = head.route.operation
    allowed: frozenset[str] | None = None
    if operation not in _OPEN:
        allowed = stages.identity.identify(head.credential).models
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
            body = OPENAI.encode_model(_one(head.route.argument, allowed, stages))
        case _:
            body = head.route.dialect.encode_models(_visible(head.route.dialect.name, allowed, stages))
    lines = stages.answer_lines(head, exchange, extra)
    answer = encode_answer(status, kind, body, lines, has_body=head.http.method != b"HEAD")
    exchange.status, exchange.answer_bytes = status, len(answer)
    await client.send_all(answer)


def _visible(dialect: str, allowed: frozenset[str] | None, stages: Stages) -> list[Model]:
    models = stages.registry.models(dialect)
    return models if allowed is None else [model for model in models if model.name in allowed]


def _one(name: str, allowed: frozenset[str] | None, stages: Stages) -> Model:
    for model in _visible("openai", allowed, stages):
        if name in (model.name, f"{model.name}:latest") or f"{name}:latest" == model.name:
            return model
    raise Refused(Code.MODEL_NOT_FOUND, f"model '{name}' not found")
