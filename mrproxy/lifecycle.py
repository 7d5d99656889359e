"""Shell. One request, from its head to its journal record: every stage is called from here, in order.

    head → route and dialect → caller → body → ledger entry → grant → relay → settled entry → journal
What a stage decides is in that stage; what is here is the order, and who holds what for how long. Whatever happens,
leaving the `with` of an entry refunds it, of a grant frees its slot, of a relay ends it: cancellation (the client left)
needs no code of its own. A feature that is not visible here or in one stage is in the wrong place.
Read next: docs/life-of-a-request.md, then `attempts.py` (tries at backends) and `answers.py` (what is not relayed).
"""

import trio

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.answers import encode_engine_refusal, encode_refusal
from mrproxy.attempts import Attempts
from mrproxy.canonical.exchange import CLIENT_DEPARTED, CLIENT_DEPARTED_STATUS, Exchange, UsageState
from mrproxy.canonical.request import Operation, Request, Shape
from mrproxy.conversing import converse
from mrproxy.dialects.forms import FormRequest, decode_form
from mrproxy.dialects.ollama import OLLAMA
from mrproxy.dialects.openai import OPENAI
from mrproxy.dialects.responses.shallow import ResponsesAsk
from mrproxy.dialects.routes import Way
from mrproxy.dialects.shallow import require_one_model
from mrproxy.errors import ClientError, Code, ProxyError, Refused
from mrproxy.fibers import Departed, cancelled_alone
from mrproxy.forwarding import forward
from mrproxy.identity.callers import Caller
from mrproxy.listing import ANSWERED_INSTEAD, answer_instead, answer_locally, send_document
from mrproxy.recalling import recall
from mrproxy.scheduler.grant import Grant
from mrproxy.scheduler.job import Job
from mrproxy.stages import Stages
from mrproxy.translating import SHORT_BYTES, answer_to_nothing
from mrproxy.upstream.answer import early_head
from mrproxy.upstream.backend import Backend
from mrproxy.upstream.registry import ModelPool
from mrproxy.verdicts import EngineRefused
from mrproxy.wire.chunked import LAST_CHUNK


async def serve_connection(client: Client, stages: Stages) -> None:
    """Requests, one after the other, until either side has enough. Raises Departed."""
    while True:
        try:
            head = await client.next_head()
        except ClientError as error:
            await refuse_head(client, error, stages)
            return
        begun = client.begun
        if begun is not None:  # it went the express way and needs us now
            assert isinstance(begun, Attempts)
            client.begun = None
            is_open = await serve(client, begun.head, stages, begun)
        elif head is not None:
            is_open = await serve(client, head, stages)
        else:
            return
        if not is_open:
            await client.linger()
            return


async def serve(client: Client, head: Head, stages: Stages, begun: Attempts | None = None) -> bool:
    """One request. Returns whether the connection can carry another."""
    route = head.route
    exchange = begun.exchange if begun is not None else stages.open_exchange(head, stages.poller.clock())
    # HTTP/1.0 has no chunks: where an answer has no length it ends with the connection, and nobody knows that before.
    ends_with_it = head.http.http10 and route.way is not Way.LOCAL
    exchange.keep_alive = head.http.keep_alive and not client.is_draining and not ends_with_it
    try:
        match route.way:
            case Way.RELAY:
                await infer(client, head, exchange, stages, begun)
            case Way.LOCAL:
                await answer_locally(client, head, exchange, stages)
            case Way.CONTROL:
                await forward(client, head, exchange, stages.control, stages.answer_lines(head, exchange, b""))
            case Way.STATE:
                await converse(client, head, exchange, stages)
            case Way.REFUSED:
                raise route.refusal()
    except ProxyError as error:
        if exchange.answer_bytes:  # too late for a status; what could be said in the stream was said
            return False
        if exchange.is_early:
            if isinstance(error, EngineRefused):
                error.translate()  # it was a status, and is an event now
            event = route.dialect.encode_stream_error(error, exchange.request_id)
            await client.send_all(b"%x\r\n%b\r\n%b" % (len(event), event, LAST_CHUNK))
            return False
        await refuse(client, head, exchange, error, stages)
    client.end()
    return exchange.keep_alive


async def infer(client: Client, head: Head, exchange: Exchange, stages: Stages, begun: Attempts | None = None) -> None:
    """A request that a backend answers. `begun`: all that stands before the attempts was done by express.py."""
    caller = begun.caller if begun is not None else stages.identify(client, head)  # before the body
    client.keep_head(head)
    try:
        if begun is not None:
            with begun.entry:
                await begun.run()
            return
        check_body_headers(client, head)
        body = await client.read_body(head)
        caller = stages.identify_again(client, head, caller)
        await answer(client, head, body, caller, exchange, stages)
    except ProxyError as error:
        note_failure(head, exchange, error)
        raise
    except (trio.Cancelled, Departed):
        note_departure(client, exchange, stages)
        raise
    finally:
        if not exchange.settles_later:
            stages.record(exchange, caller, client.address, stages.poller.clock())


async def answer(client: Client, head: Head, body: bytes, caller: Caller, exchange: Exchange, stages: Stages) -> None:
    """From the body to the answer's last byte."""
    operation = head.route.operation
    exchange.body_bytes = len(body)
    if stages.captures is not None:
        exchange.capture = stages.open_capture(body, caller)
    request = head.route.dialect.decode(body, operation) if head.boundary is None else decode_form(body, head.boundary)
    client.begin()
    pool = find_pool(request, operation, caller, stages)
    if pool is None:
        await answer_instead(client, head, request, exchange, stages)
        return
    if len(body) <= SHORT_BYTES and (nothing := answer_to_nothing(head, request, pool, exchange, stages)):
        await send_document(client, head, pool.model, nothing, exchange, stages)
        return
    exchange.model, exchange.streams = pool.model, request.streams
    now = exchange.started_at
    tokens = stages.estimate(pool.model, request, operation)
    entry, limits = stages.open_entry(caller, tokens, exchange, now)  # 429 here
    with entry:  # settled or refunded on every exit
        exchange.answer_lines = stages.answer_lines(head, exchange, limits)
        if isinstance(request, ResponsesAsk) and request.needs_recall:
            await recall(client, request, caller.flow_id, stages)
        job = Job(caller.flow_id, caller.weight, pool.key, tokens, now)
        affinity_key = stages.affinity_key(body)
        grant = stages.scheduler.try_grant(job, affinity_key)
        if grant is None:
            grant = await wait_turn(client, head, request, exchange, job, affinity_key, stages)
        await Attempts(client, head, request, exchange, stages, caller, entry, grant).run()


async def wait_turn(
    client: Client,
    head: Head,
    request: Request,
    exchange: Exchange,
    job: Job,
    affinity_key: int,
    stages: Stages,
) -> Grant[Backend]:
    """In the queue, with its deadline. Raises Refused. If configured, a stream that waits says so now and then."""
    await client.fiber.become_task()
    interval = stages.settings.waiting_comment_seconds
    if not interval or request.shape is not Shape.SSE or head.http.http10:
        return await stages.scheduler.wait_grant(job, affinity_key)
    grant: Grant[Backend] | None = None
    failure: Refused | None = None
    try:
        async with cancelled_alone(), trio.open_nursery() as nursery:
            nursery.start_soon(comment_while_waiting, client, exchange, interval, nursery.cancel_scope)
            try:
                grant = await stages.scheduler.wait_grant(job, affinity_key)
            except Refused as refusal:  # ours and expected: carried by value out of the nursery
                failure = refusal
            nursery.cancel_scope.cancel(reason="the wait is over")
    except BaseException:
        if grant is not None:  # the client left before the nursery had closed
            grant.release(0)
        raise
    if failure is not None:
        raise failure
    assert grant is not None
    return grant


async def comment_while_waiting(
    client: Client, exchange: Exchange, interval_seconds: float, waiting: trio.CancelScope
) -> None:
    """SSE comments keep proxies in between from hanging up. The first one sends the head: from then on it is a 200."""
    while True:
        await trio.sleep(interval_seconds)
        comment = b": waiting\n\n"
        chunk = b"%x\r\n%b\r\n" % (len(comment), comment)
        if not exchange.is_early:
            exchange.is_early = True
            exchange.status = 200
            chunk = early_head(exchange.answer_lines) + chunk
        if not client.send_at_once(chunk):
            waiting.cancel(reason="the client does not read")
            client.leave()
            return


def note_failure(head: Head, exchange: Exchange, error: ProxyError) -> None:
    """It was refused, or failed."""
    exchange.code = error.code
    if not exchange.answer_bytes:  # whatever a backend said before, this is what the caller hears
        exchange.status = error.status
        if exchange.capture is not None:
            exchange.capture.answer.receive_data(refusal_body(head, exchange, error))


def note_departure(client: Client, exchange: Exchange, stages: Stages) -> None:
    """The client left, or was too slow; or the process ends and could not wait any longer."""
    if client.is_draining and not client.is_gone:
        exchange.code = exchange.code or Code.DRAINING
        exchange.status = exchange.status or 503
        return
    if exchange.usage_state is UsageState.EXACT:  # SDKs hang up at the end marker, before the last chunk of framing
        return
    stages.counters.client_departures += 1
    exchange.code = exchange.code or CLIENT_DEPARTED
    if not exchange.answer_bytes:
        exchange.status = CLIENT_DEPARTED_STATUS


def check_body_headers(client: Client, head: Head) -> None:
    """415 and 411, before a byte of the body is read."""
    kind = head.content_type
    if head.takes_form:
        if head.boundary is None:
            raise ClientError(Code.UNSUPPORTED_MEDIA_TYPE, "the body must be multipart/form-data, with its boundary")
    # Ollama's documentation uses curl without a type, and Ollama takes any; vLLM and OpenAI answer 415.
    elif kind is not None and b"json" not in kind.lower() and head.route.dialect is not OLLAMA:
        raise ClientError(Code.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
    if client.content_length < 0 and not head.http.chunked:
        raise ClientError(Code.LENGTH_REQUIRED, "Content-Length or chunked transfer coding is needed")


def find_pool(request: Request, operation: Operation, caller: Caller, stages: Stages) -> ModelPool | None:
    """Who serves the model; None if nobody who can do this does, but it can be answered instead.

    Raises Refused: 403, 404, or 503 while not everything is known yet.
    """
    model = request.model
    if caller.models is not None:
        if not isinstance(request, FormRequest):  # of a form that was looked at already
            require_one_model(request.body)
        if model not in caller.models:
            raise Refused(Code.MODEL_FORBIDDEN, f"this key may not use the model '{model}'")
    pool = stages.registry.find(operation, model)
    if pool is not None:
        return pool
    if stages.registry.find(Operation.CHAT, model) is not None:
        if operation in ANSWERED_INSTEAD:
            return None
        raise ClientError(
            Code.INVALID_FIELD, f"no backend of model '{model}' can do this ({operation.value})", param="model"
        )
    stages.registry.probe_all_soon()
    if not stages.registry.is_complete:
        raise Refused(Code.NO_BACKEND, f"model '{model}' is not known yet: some backends have not answered so far")
    raise Refused(Code.MODEL_NOT_FOUND, f"model '{model}' not found")


def refusal_body(head: Head, exchange: Exchange, error: ProxyError) -> bytes:
    """What `serve` will say: for the capture, which is written before."""
    dialect = head.route.dialect
    if exchange.is_early:
        return dialect.encode_stream_error(error, exchange.request_id)
    if isinstance(error, EngineRefused) and not error.is_foreign:
        return error.body
    return dialect.encode_error(error, exchange.request_id)


async def refuse(client: Client, head: Head, exchange: Exchange, error: ProxyError, stages: Stages) -> None:
    """Say no in the caller's dialect. An unread body that has not arrived closes the connection."""
    stages.counters.count_refused(error.code)
    if (isinstance(error, ClientError) and error.closes) or not client.skip_body(head):
        exchange.keep_alive = False
    lines = stages.answer_lines(head, exchange, b"")
    has_body = head.http.method != b"HEAD"
    if isinstance(error, EngineRefused) and not error.is_foreign:
        answer = encode_engine_refusal(error, lines)
    else:
        answer = encode_refusal(error, head.route.dialect, exchange.request_id, lines, has_body=has_body)
    exchange.answer_bytes = len(answer)
    await client.send_all(answer)


async def refuse_head(client: Client, error: ClientError, stages: Stages) -> None:
    """There is no request to speak of, so no dialect: OpenAI's shape, and the connection closes."""
    stages.counters.count_refused(error.code)
    request_id = stages.next_request_id()
    lines = b"x-request-id: %b\r\nconnection: close\r\n" % request_id
    await client.send_all(encode_refusal(error, OPENAI, request_id, lines))
    await client.linger()
