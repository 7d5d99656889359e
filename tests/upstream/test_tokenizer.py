"""Who asks for the length of a prompt is told exactly once, whatever becomes of the question."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.upstream import tokenizer as tokenizer_module
from mrproxy.upstream.endpoint import Endpoint
from mrproxy.upstream.tokenizer import MAX_ASKING, Tokenizer
from mrproxy.upstream.tokenizing import Sent
from tests.fakes.behaviours import answer, hang, reset, sized
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine
from tests.fakes.speaking import speaks

TEXT = Sent("llamacpp", "/v1/completions", b'{"prompt":"hi"}')
OLLAMA = Sent("ollama", "/api/chat", b'{"model":"m","messages":[]}')
COUNTED = sized(b'{"tokens":[1,2,3]}')


@asynccontextmanager
async def run_tokenizer(engine: FakeEngine, *, api_key: str | None = None) -> AsyncIterator[Tokenizer]:
    """One that can be asked; the end of the block is the end of its backend."""
    tokenizer = Tokenizer(Endpoint(engine.url, api_key))
    assert not tokenizer.has_room
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tokenizer.run)
        await wait_all_tasks_blocked()
        yield tokenizer
        nursery.cancel_scope.cancel()
    assert not tokenizer.has_room
    assert tokenizer.asking == 0


class Heard:
    """What was told, and an event for the first of it."""

    def __init__(self) -> None:
        self.tokens: list[int | None] = []
        self.is_told = trio.Event()

    def told(self, tokens: int | None) -> None:
        self.tokens.append(tokens)
        self.is_told.set()

    async def wait(self) -> list[int | None]:
        with trio.fail_after(15):
            await self.is_told.wait()
        return self.tokens


async def test_the_engines_count_is_told() -> None:
    async with run_engine() as engine, run_tokenizer(engine, api_key="secret") as tokenizer:
        engine.behaviour = answer(COUNTED)
        heard = Heard()
        tokenizer.ask_nowait(TEXT, heard.told, may_ask_again=False)
        assert tokenizer.asking == 1
        assert await heard.wait() == [3]
        asked = engine.turns[0].request
        assert (asked.method, asked.path, asked.json["content"]) == ("POST", "/tokenize", "hi")
        assert asked.headers["authorization"] == "Bearer secret"
        assert asked.headers["accept-encoding"] == "identity"


async def test_what_needs_no_asking_is_told_without() -> None:
    async with run_engine() as engine, run_tokenizer(engine) as tokenizer:
        heard = Heard()
        tokenizer.ask_nowait(TEXT._replace(body=b'{"prompt":[1,2]}'), heard.told, may_ask_again=True)
        assert await heard.wait() == [2]
        assert not engine.turns


@pytest.mark.parametrize(
    "behaviour",
    [
        answer(sized(b"{}", status=404)),
        answer(sized(b"<html>")),
        answer(COUNTED[:-3], closes=True),
        answer(closes=True),
        reset(),
        answer(sized(b'{"tokens":[%b1]}' % (b"1," * (3 << 20)))),
        answer(sized(gzip.compress(b'{"tokens":[1,2,3]}'), "Content-Encoding: gzip")),
    ],
    ids=["missing", "nonsense", "half", "nothing", "reset", "endless", "compressed"],
)
async def test_what_cannot_be_known_is_told_as_that(behaviour: Behaviour) -> None:
    async with run_engine() as engine, run_tokenizer(engine) as tokenizer:
        engine.behaviour = behaviour
        heard = Heard()
        tokenizer.ask_nowait(TEXT, heard.told, may_ask_again=False)
        assert await heard.wait() == [None]


async def test_a_backend_that_is_gone_is_told_as_that() -> None:
    async with run_engine() as engine, run_tokenizer(engine) as tokenizer:
        engine.refuse()
        heard = Heard()
        tokenizer.ask_nowait(TEXT, heard.told, may_ask_again=True)
        assert await heard.wait() == [None]


async def test_an_engine_without_a_tokenizer_is_asked_again_if_that_is_allowed() -> None:
    async with run_engine(kind="ollama") as engine, run_tokenizer(engine) as tokenizer:
        engine.behaviour = speaks("one", counts=(40, 1))
        for may_ask_again, tokens in ((False, None), (True, 40)):
            heard = Heard()
            tokenizer.ask_nowait(OLLAMA, heard.told, may_ask_again=may_ask_again)
            assert await heard.wait() == [tokens]
        (turn,) = engine.turns
        assert turn.request.json["options"] == {"num_predict": 1}


async def test_an_answer_that_is_late_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_module, "ASKING_SECONDS", 0.01)
    async with run_engine() as engine, run_tokenizer(engine) as tokenizer:
        engine.behaviour = hang()
        heard = Heard()
        tokenizer.ask_nowait(TEXT, heard.told, may_ask_again=True)
        assert await heard.wait() == [None]


@pytest.mark.parametrize("is_under_way", [True, False])
async def test_the_end_of_the_backend_is_told_at_once(is_under_way: bool) -> None:
    heard = Heard()
    async with run_engine() as engine:
        engine.behaviour = hang()
        async with run_tokenizer(engine) as tokenizer:
            tokenizer.ask_nowait(TEXT, heard.told, may_ask_again=True)
            if is_under_way:
                await engine.wait_turn()
        assert heard.tokens == [None]


async def test_only_so_many_questions_are_out_at_a_time() -> None:
    goes_on = trio.Event()

    async def behave(turn: Turn) -> None:
        await goes_on.wait()
        await turn.send(COUNTED)

    async with run_engine() as engine, run_tokenizer(engine) as tokenizer:
        engine.behaviour = behave
        heard = [Heard() for _ in range(MAX_ASKING)]
        for number, each in enumerate(heard):
            assert tokenizer.has_room, number
            tokenizer.ask_nowait(TEXT, each.told, may_ask_again=False)
        assert not tokenizer.has_room
        await engine.wait_turn(MAX_ASKING)
        goes_on.set()
        assert [await each.wait() for each in heard] == [[3]] * MAX_ASKING
        assert tokenizer.has_room
