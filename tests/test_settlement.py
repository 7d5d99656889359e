"""What requests cost that did not end well: what was delivered, and the prompt as the engine counts it."""

import json
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.link.records import JournalRecord
from mrproxy.upstream import tokenizer
from tests.fakes.behaviours import LAST_CHUNK, STREAM_HEAD, answer, answer_status, chunk, event, hang, reset, sized
from tests.fakes.caller import Caller
from tests.fakes.express import warmed, watched_express
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, FakeEngine, Turn, run_engine
from tests.fakes.speaking import DIALECTS, begins, document, speaks, wants_stream
from tests.test_cancellation import depart_everywhere

pytestmark = pytest.mark.slow

PROMPT_TOKENS = 40
BEGUN = (STREAM_HEAD, chunk(event("one")), chunk(event("two")))
# What engines say of the length of a prompt; their other routes are older versions', or not there.
COUNTERS: dict[str, object] = {
    "/tokenize": {"count": PROMPT_TOKENS, "tokens": list(range(PROMPT_TOKENS))},
    "/apply-template": {"prompt": "<s>hi"},
    "/v1/messages/count_tokens": {"input_tokens": PROMPT_TOKENS},
    "/v1/responses/input_tokens": {"input_tokens": PROMPT_TOKENS},
}


def counts(stream: Behaviour) -> Behaviour:
    """An engine whose streams do this, and which knows how long prompts are."""

    async def behave(turn: Turn) -> None:
        path = turn.request.path
        if path in COUNTERS:
            await turn.send(sized(json.dumps(COUNTERS[path]).encode()))
        elif path.endswith(("/render", "/input_tokens")):
            await turn.send(sized(b'{"detail":"Not Found"}', status=404))
        elif wants_stream(turn):
            await stream(turn)
        else:
            await turn.send(sized(document(path, "one", (PROMPT_TOKENS, 1))))

    return behave


def asked_for_counts(engine: FakeEngine) -> list[str]:
    return [turn.request.path for turn in engine.turns[1:]]


async def leave_in_the_middle(caller: Caller, name: str = "openai", seen: bytes = b"two") -> None:
    await caller.send(DIALECTS[name].ask(stream=True))
    await caller.read_until(seen)
    await caller.leave()


def check_counted(record: JournalRecord, completion_tokens: int = 2) -> None:
    found = record.usage_state, record.prompt_tokens, record.completion_tokens
    assert found == ("counted", PROMPT_TOKENS, completion_tokens)


# Who is asked


@pytest.mark.parametrize("kind", ["vllm", "llamacpp", "ollama"])
@pytest.mark.parametrize("name", DIALECTS)
async def test_the_prompt_of_a_stream_that_was_left_is_the_engines_own_count(
    tmp_path: Path, name: str, kind: str
) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, aborted_prompts="always") as gateway:
        engine.behaviour = counts(begins("one", "two", then=hang))
        caller = await gateway.connect()
        await leave_in_the_middle(caller, name)
        record = await gateway.last_record()
        check_counted(record)
        assert (record.status, record.code) == (200, "client_departed")
        await gateway.settled()
        assert gateway.stages.ledger.statistics(trio.current_time())[0].spent_tokens == PROMPT_TOKENS + 2


@pytest.mark.parametrize("kind", ["ollama", "openai"])
async def test_who_has_no_tokenizer_is_not_asked(tmp_path: Path, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        engine.behaviour = counts(begins("one", "two", then=hang))
        caller = await gateway.connect()
        await leave_in_the_middle(caller)
        record = await gateway.last_record()
        assert (record.usage_state, record.completion_tokens) == ("partial", 2)
        assert not asked_for_counts(engine)


async def test_an_estimate_stands_where_nobody_is_to_be_asked(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="estimate") as gateway:
        engine.behaviour = counts(hang(*BEGUN))
        await leave_in_the_middle(await gateway.connect())
        record = await gateway.last_record()
        assert (record.usage_state, record.completion_tokens) == ("partial", 2)
        assert not asked_for_counts(engine)


async def test_what_is_asked_for_is_what_the_engine_got(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        engine.behaviour = counts(begins("one", "two", then=hang))
        await leave_in_the_middle(await gateway.connect(), "anthropic")
        await gateway.last_record()
        chat, render, tokenized = (turn.request for turn in engine.turns)
        assert (render.path, tokenized.path) == ("/v1/chat/completions/render", "/tokenize")
        assert chat.json["messages"] == render.json["messages"] == tokenized.json["messages"]


async def test_an_exact_prompt_teaches_the_cost_model(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        engine.behaviour = counts(hang(*BEGUN))
        before = gateway.stages.costs.bytes_per_token("m")
        await leave_in_the_middle(await gateway.connect())
        await gateway.last_record()
        assert gateway.stages.costs.bytes_per_token("m") < before


# When


async def test_an_express_request_is_asked_for_as_well(tmp_path: Path) -> None:
    with watched_express() as express:
        async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
            caller = await warmed(gateway)
            engine.behaviour = counts(hang(*BEGUN))
            await caller.ask(stream=True)
            await caller.read_until(event("two"))
            await caller.leave()
            check_counted((await gateway.wait_records(2))[-1])
            assert express.taken == 1


async def test_a_request_that_was_left_before_the_first_byte_has_cost_its_prompt(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        engine.behaviour = counts(hang())
        caller = await gateway.connect()
        await caller.ask(stream=True)
        await engine.wait_turn()
        await caller.leave()
        record = await gateway.last_record()
        check_counted(record, 0)
        assert record.status == 499


async def test_a_stream_that_broke_is_asked_for_and_told_of_at_once(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        engine.behaviour = counts(reset(*BEGUN))
        caller = await gateway.connect()
        await caller.ask(stream=True)
        assert b'"error"' in (await caller.read_answer()).payload
        record = await gateway.last_record()
        check_counted(record)
        assert record.code == "backend_failed"


@pytest.mark.parametrize("is_express", [False, True])
async def test_a_stream_that_the_engine_ends_by_an_error_is_asked_for(tmp_path: Path, is_express: bool) -> None:
    failed = chunk(b'data: {"error":{"message":"out of memory"}}\n\n') + LAST_CHUNK
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        caller = await (warmed(gateway) if is_express else gateway.connect())
        engine.behaviour = counts(answer(*BEGUN, failed))
        for number in range(2):
            await caller.ask(stream=True)
            assert b"out of memory" in (await caller.read_answer()).payload
            check_counted((await gateway.wait_records(is_express + number + 1))[-1])
        assert len(gateway.records()) == is_express + 2


async def test_what_ends_well_is_never_asked_for(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="always") as gateway:
        engine.behaviour = speaks("one", "two")
        caller = await gateway.connect()
        for stream in (False, False, True, True):
            await caller.ask(stream=stream)
            await caller.read_answer()
        await gateway.wait_records(4)
        assert {turn.request.path for turn in engine.turns} == {"/v1/chat/completions"}


async def check_free_of_charge(gateway: Gateway, record: JournalRecord, spent_tokens: int) -> None:
    assert (record.status, record.usage_state, record.prompt_tokens) == (499, "absent", None)
    await gateway.settled()
    assert gateway.stages.ledger.statistics(trio.current_time())[0].spent_tokens == spent_tokens


async def test_who_leaves_while_a_connection_takes_the_place_of_one_that_was_dead_has_cost_nothing(
    tmp_path: Path,
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:

        async def die(turn: Turn) -> None:
            engine.stop_accepting()
            await turn.close()

        caller = await warmed(gateway)
        engine.behaviour = die
        await caller.ask(stream=True)
        await engine.wait_turn(2)
        await wait_until(lambda: not gateway.backend().pool.open_connections)
        await caller.leave()
        await check_free_of_charge(gateway, (await gateway.wait_records(2))[-1], 10)


async def test_who_leaves_while_the_next_backend_is_being_connected_to_has_cost_nothing(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, aborted_prompts="tokenizer") as gateway,
    ):
        refuse = answer_status(503)
        for own, other in ((a, b), (b, a)):

            async def fail(turn: Turn, other: FakeEngine = other) -> None:
                other.stop_accepting()
                await refuse(turn)

            own.behaviour = fail
        caller = await gateway.connect()
        await caller.ask(stream=True)
        await wait_until(lambda: gateway.stages.counters.retries)
        await caller.leave()
        await check_free_of_charge(gateway, await gateway.last_record(), 0)


# Nobody waits


class Held:
    """An engine that answers questions for a prompt when it is allowed to."""

    def __init__(self, engine: FakeEngine) -> None:
        self.is_allowed = trio.Event()
        self.is_asked = trio.Event()
        engine.behaviour = self._behave

    async def _behave(self, turn: Turn) -> None:
        if turn.request.path == "/v1/chat/completions":
            await (hang(*BEGUN) if wants_stream(turn) else answer(sized(document(turn.request.path, "hello"))))(turn)
            return
        self.is_asked.set()
        await self.is_allowed.wait()
        await counts(hang())(turn)

    async def leave_and_be_asked(self, gateway: Gateway) -> None:
        await leave_in_the_middle(await gateway.connect())
        with trio.fail_after(10):
            await self.is_asked.wait()


async def test_the_slot_is_free_while_the_engine_is_asked(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, max_concurrent=1, aborted_prompts="tokenizer") as gateway,
    ):
        held = Held(engine)
        await held.leave_and_be_asked(gateway)
        assert gateway.backend().in_flight == 0
        assert gateway.records() == []
        assert gateway.stages.ledger.statistics(trio.current_time())[0].in_flight == 1
        caller = await gateway.connect()
        await caller.ask()
        assert (await caller.read_answer()).status == 200
        held.is_allowed.set()
        _, late = await gateway.wait_records(2)
        check_counted(late)


async def test_a_record_tells_when_the_request_ended_and_not_when_its_price_was_known(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        held = Held(engine)
        begun_at = trio.current_time()
        await held.leave_and_be_asked(gateway)
        left_at, left_utc = trio.current_time(), gateway.stages.clock()
        await wait_all_tasks_blocked(0.05)
        held.is_allowed.set()
        record = await gateway.last_record()
        assert record.total_seconds <= left_at - begun_at
        assert record.started_utc + record.total_seconds <= left_utc + 0.01  # two clocks


# Whatever happens


async def check_estimated(gateway: Gateway, count: int = 1) -> None:
    record = (await gateway.wait_records(count))[-1]
    assert (record.usage_state, record.completion_tokens) == ("partial", 2)
    assert record.prompt_tokens
    await gateway.settled()


async def test_nobody_is_asked_beyond_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "MAX_ASKING", 1)
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        held = Held(engine)
        await held.leave_and_be_asked(gateway)
        await leave_in_the_middle(await gateway.connect())
        record = await gateway.last_record()
        assert record.usage_state == "partial"
        held.is_allowed.set()
        check_counted((await gateway.wait_records(2))[-1])


async def test_an_estimate_stands_where_the_answer_is_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "ASKING_SECONDS", 0.02)
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        await Held(engine).leave_and_be_asked(gateway)
        await check_estimated(gateway)


async def test_an_estimate_stands_where_the_engine_is_gone(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:

        async def die(turn: Turn) -> None:
            await answer(*BEGUN)(turn)
            await wait_all_tasks_blocked()
            engine.refuse()
            turn.reset()

        engine.behaviour = die
        caller = await gateway.connect()
        await caller.ask(stream=True)
        await caller.read_answer()
        await check_estimated(gateway)


async def test_an_estimate_stands_where_the_backend_is_withdrawn_in_the_middle_of_asking(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        await Held(engine).leave_and_be_asked(gateway)
        gateway.stages.registry._scopes["engine-a"].cancel()
        await check_estimated(gateway)
        assert len(gateway.records()) == 1


class Killed(Exception):
    """The worker's nursery is cancelled with everything that is under way."""


async def test_an_estimate_stands_where_the_worker_ends_in_the_middle_of_asking(tmp_path: Path) -> None:
    async with run_engine() as engine:
        with pytest.raises(Killed):
            async with run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
                await Held(engine).leave_and_be_asked(gateway)
                raise Killed
        (record,) = gateway.records()
        assert (record.usage_state, record.completion_tokens) == ("partial", 2)
        assert not gateway.leftovers()


async def test_a_drain_waits_for_the_last_answers(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, aborted_prompts="tokenizer") as gateway:
        held = Held(engine)
        await held.leave_and_be_asked(gateway)
        gateway.worker._drain.set()
        await wait_until(lambda: gateway.log.events("draining"))
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert not gateway.log.events("worker ended")
        held.is_allowed.set()
        check_counted(await gateway.last_record())


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
async def test_a_departure_at_any_wait_leaves_nothing_behind(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def a_stream(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
        await caller.send(DIALECTS["anthropic"].ask(stream=True))
        await caller.read_until(b"two")

    async with run_engine("engine-a", kind) as a, run_engine("engine-b", kind) as b:
        behaviour = counts(begins("one", "two", then=hang))
        await depart_everywhere(tmp_path, a_stream, monkeypatch, a, b, behaviour, aborted_prompts="always")
