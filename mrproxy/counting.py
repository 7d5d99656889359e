"""Shell. How many tokens a prompt would have, for callers of Anthropic's count_tokens whose model is on another engine.

The engine's own tokenizer is asked where it has one, about the request as it would be sent (`upstream/tokenizing.py`);
otherwise the size of the prompt must do, and the answer says so. No slot is taken, and nothing is charged.
Read first: `listing.py`, which answers.
"""

import trio

from mrproxy.accept.client import Client
from mrproxy.canonical.conversation import ChatRequest
from mrproxy.canonical.exchange import Exchange
from mrproxy.canonical.request import Operation, Request
from mrproxy.canonical.surface import Surface
from mrproxy.dialects.anthropic.count_tokens import decode_count_tokens, encode_count
from mrproxy.dialects.codec import AnswerContext, Target
from mrproxy.dialects.shallow import rename_model
from mrproxy.dialects.translation import Asked, translate
from mrproxy.errors import ClientError
from mrproxy.stages import Stages
from mrproxy.translating import warning_lines
from mrproxy.upstream.backend import Backend
from mrproxy.upstream.tokenizing import Sent, is_askable

_ESTIMATED = "input_tokens is an estimate: no engine of this model could be asked"


async def answer_count(client: Client, request: Request, exchange: Exchange, stages: Stages) -> tuple[bytes, bytes]:
    """The document, and header lines for it. Raises ClientError and Departed."""
    chat = decode_count_tokens(request.body)
    await client.fiber.become_task()  # before there is looked for room: what was free then may be gone later
    pool = stages.registry.find(Operation.CHAT, request.model)
    now = stages.poller.now
    for backend in pool.backends if pool is not None else ():
        if backend.is_routable(now) and backend.tokenizer.has_room:
            sent = _sent(backend, chat, request, exchange)
            if sent is not None and is_askable(sent, may_ask_again=False):
                tokens = await _asked(backend, sent)
                if tokens is not None:
                    return encode_count(tokens), b""
                break  # another one would keep the caller waiting once more
    return encode_count(stages.costs.estimate_prompt(request.model, len(request.body))), warning_lines((_ESTIMATED,))


def _sent(backend: Backend, chat: ChatRequest, request: Request, exchange: Exchange) -> Sent | None:
    """What this backend would get; None for what it cannot be told."""
    own_name = backend.own_name(request.model)
    if Surface.MESSAGES in backend.native:
        return Sent(backend.kind, "/v1/messages", rename_model(request.body, own_name))
    context = AnswerContext(exchange.request_id.decode("latin-1"), request.model, 0.0)
    try:
        made = translate(Asked("anthropic", Operation.MESSAGES, chat), Target(backend.kind, own_name), context)
    except ClientError:
        return None
    return Sent(backend.kind, made.path.decode(), made.body)


async def _asked(backend: Backend, sent: Sent) -> int | None:
    answered = trio.Event()
    tokens: int | None = None

    def told(count: int | None) -> None:
        nonlocal tokens
        tokens = count
        answered.set()

    backend.tokenizer.ask_nowait(sent, told, may_ask_again=False)
    await answered.wait()
    return tokens
