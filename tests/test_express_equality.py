"""Nobody can tell which way a request went: the same bytes and the same record, first on its connection or fifth."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.config import Key
from mrproxy.link.records import JournalRecord
from tests.fakes.behaviours import DONE, LAST_CHUNK, STREAM_HEAD, chat_answer, chunk, event, sized, usage_event
from tests.fakes.caller import Caller, chat, request
from tests.fakes.express import Watched, blurred, served_again, told, watched_express
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.loop_engine import Turn, run_engine

pytestmark = pytest.mark.slow


@pytest.fixture
def express() -> Iterator[Watched]:
    with watched_express() as watched:
        yield watched


GOOD = request("/v1/chat/completions", chat())
OLLAMA = request("/api/chat", chat("o"))
LIMITED, EXPIRED, POOR = "key-of-one-model", "key-that-has-expired", "key-without-budget"


def with_body(body: bytes) -> bytes:
    return request("/v1/chat/completions", body)


def with_key(key: str | None, model: str = "m") -> bytes:
    return request("/v1/chat/completions", chat(model), key=key)


def with_line(line: str) -> bytes:
    return request("/v1/chat/completions", chat(), line)


CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer key-of-the-tests\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(chat()), chat())
)
# name: (what comes before it on the connection, the request in the pieces in which it is sent)
VARIANTS: dict[str, tuple[bytes, list[bytes]]] = {
    "plain": (GOOD, [GOOD]),
    "stream": (GOOD, [with_body(chat(stream=True))]),
    "stream with usage": (GOOD, [with_body(chat(stream=True, stream_options={"include_usage": True}))]),
    "wrong key": (with_key("wrong"), [with_key("wrong")]),
    "no key": (with_key(None), [with_key(None)]),
    "expired key": (with_key(EXPIRED), [with_key(EXPIRED)]),
    "forbidden model": (with_key(LIMITED, "m"), [with_key(LIMITED, "o")]),
    "allowed model": (with_key(LIMITED, "m"), [with_key(LIMITED, "m")]),
    "over the budget": (with_key(POOR), [with_key(POOR)]),
    "unknown model": (GOOD, [with_body(chat("unknown"))]),
    "no JSON": (GOOD, [with_body(b'{"model":"m",')]),
    "JSON that is no object": (GOOD, [with_body(b"[]")]),
    "not UTF-8": (GOOD, [with_body(b'{"model":"m","messages":[],"x":"\xff"}')]),
    "a name not UTF-8": (
        GOOD,
        [with_body(b'{"model":"m","messages":[],"stream":true,"stream_options":null,"\xff":1}')],
    ),
    "no messages": (GOOD, [with_body(b'{"model":"m"}')]),
    "no model": (GOOD, [with_body(b'{"messages":[]}')]),
    "wrong type": (GOOD, [with_body(b'{"model":"m","messages":[],"stream":"yes"}')]),
    "no body": (GOOD, [with_body(b"")]),
    "pipelined": (GOOD, [GOOD + GOOD]),
    "one and a half": (GOOD, [GOOD + GOOD[:50], GOOD[50:]]),
    "split in the head": (GOOD, [GOOD[:40], GOOD[40:]]),
    "split at the body": (GOOD, [GOOD[: -len(chat())], chat()]),
    "split in the body": (GOOD, [GOOD[:-5], GOOD[-5:]]),
    "large body": (GOOD, [with_body(chat(user="x" * 200_000))]),
    "chunked": (CHUNKED, [CHUNKED]),
    "HTTP/1.0": (GOOD, [request("/v1/chat/completions", chat(), version="1.0")]),
    "HTTP/1.0 kept alive": (GOOD, [request("/v1/chat/completions", chat(), "Connection: keep-alive", version="1.0")]),
    "CORS": (with_line("Origin: http://a"), [with_line("Origin: http://a")]),
    "close": (GOOD, [with_line("Connection: close")]),
    "expects": (with_line("Expect: 100-continue"), [with_line("Expect: 100-continue")]),
    "own id": (with_line("X-Request-Id: mine"), [with_line("X-Request-Id: mine")]),
    "leading zeros": (GOOD, [GOOD.replace(b"Content-Length: ", b"Content-Length: 00")]),
    "wrong length": (GOOD, [GOOD.replace(b"Content-Length: ", b"Content-Length: +")]),
    "empty line first": (GOOD, [b"\r\n" + GOOD]),
    "garbage": (GOOD, [b"\x16\x03\x01 hello\r\n\r\n"]),
    "text": (GOOD, [GOOD.replace(b"application/json", b"text/plain")]),
    "models": (GOOD, [request("/v1/models", method="GET")]),
    "nowhere": (GOOD, [request("/v1/nowhere", chat())]),
    "embeddings": (GOOD, [request("/v1/embeddings", b'{"model":"m","input":"x"}')]),
    "ollama": (OLLAMA, [OLLAMA]),
    "ollama, one piece": (OLLAMA, [request("/api/chat", chat("o", stream=False) + b" ")]),
    "ollama, unknown": (OLLAMA, [request("/api/chat", chat("unknown"))]),
    "ollama, no JSON": (OLLAMA, [request("/api/chat", b"{")]),
    "ollama, show": (OLLAMA, [request("/api/show", b'{"model":"o"}')]),
}
GOES_EXPRESS = {
    "plain",
    "stream",
    "stream with usage",
    "own id",
    "leading zeros",
    "not UTF-8",
    "ollama",
    "ollama, one piece",
}


async def answers_to(caller: Caller, pieces: list[bytes]) -> list[bytes]:
    """Everything that is answered, without what differs from request to request; ends with whether it was closed."""
    for piece in pieces:
        await caller.send(piece)
        await wait_all_tasks_blocked(0.01)
    count = sum(b"".join(pieces).count(line) for line in (b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")) or 1
    answers = [(await caller.read_answer()).raw for _ in range(count)]
    with trio.move_on_after(0.01) as closed:
        await caller.read_to_end()
    return [blurred(raw) for raw in answers] + [b"open" if closed.cancelled_caught else b"closed"]


async def answer_as_asked(turn: Turn) -> None:
    """The same to the same request."""
    body = turn.request.body
    if turn.request.path.startswith("/api") or b'"stream": true' not in body:
        await turn.send(sized(chat_answer()))
    else:
        await turn.send(STREAM_HEAD + chunk(event("a")) + chunk(usage_event()) + chunk(DONE) + LAST_CHUNK)


async def trace_of(gateway: Gateway, caller: Caller, pieces: list[bytes]) -> tuple[list[bytes], list[JournalRecord]]:
    """What the client is answered, and what the journal says of it."""
    await gateway.settled()
    known = len(gateway.records())
    answers = await answers_to(caller, pieces)
    await gateway.settled()
    return answers, [told(record) for record in gateway.records()[known:]]


@pytest.mark.parametrize("name", VARIANTS)
async def test_the_fifth_request_of_a_connection_is_answered_as_the_first(
    tmp_path: Path, express: Watched, name: str
) -> None:
    before, pieces = VARIANTS[name]
    keys = (
        Key(name="limited", key=LIMITED, user="ada", models=("m",)),
        Key(name="expired", key=EXPIRED, user="ada", expires="2020-01-01T00:00:00Z"),
        Key(name="poor", key=POOR, user="ada", token_budget=1),
    )
    async with (
        run_engine() as engine,
        run_engine("engine-o", "ollama", ["o"]) as other,
        run_gateway(tmp_path, engine, other, keys=keys) as gateway,
    ):
        engine.behaviour = other.behaviour = answer_as_asked
        first = await trace_of(gateway, await gateway.connect(), pieces)
        caller = await gateway.connect()
        for _ in range(4):
            await caller.send(before)
            await caller.read_answer()
        taken_before = express.taken
        assert await trace_of(gateway, caller, pieces) == first
        assert (express.taken > taken_before) == (name in GOES_EXPRESS)
        await served_again(gateway)
