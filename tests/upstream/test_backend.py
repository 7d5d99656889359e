"""A backend as routing sees it: found out, failing, coming back, busy, loading, withdrawn."""

from pathlib import Path

import pytest
import trio

from mrproxy.canonical.request import Operation
from mrproxy.canonical.surface import NATIVE, Surface
from mrproxy.config import Backend as Configured
from tests.fakes.behaviours import answer, answer_status, chat_answer, hang, reset, sized
from tests.fakes.caller import Answer, chat, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import run_engine

pytestmark = pytest.mark.slow


async def ask(gateway: Gateway) -> Answer:
    caller = await gateway.connect()
    await caller.ask()
    got = await caller.read_answer()
    await caller.leave()
    return got


def is_routable(gateway: Gateway, name: str = "engine-a") -> bool:
    return gateway.backend(name).is_routable(trio.current_time())


# Probes


async def test_one_lost_probe_is_forgiven_and_two_are_an_outage(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, probe_interval_seconds=0.05) as gateway:
        healthy, engine.pages["/health"] = engine.pages["/health"], (503, b"")
        await wait_until(lambda: gateway.backend().last_probe_error)
        assert is_routable(gateway)
        await wait_until(lambda: not is_routable(gateway))
        got = await ask(gateway)
        assert (got.status, got.json["error"]["code"]) == (503, "no_backend")
        assert int(got.headers["retry-after"]) >= 1
        engine.pages["/health"] = healthy
        await wait_until(lambda: is_routable(gateway))
        assert (await ask(gateway)).status == 200


async def test_a_backend_that_is_down_at_the_start_is_found_when_it_comes(tmp_path: Path) -> None:
    async with run_engine() as engine:
        engine.refuse()
        async with run_gateway(tmp_path, engine) as gateway:
            got = await ask(gateway)
            assert (got.status, got.json["error"]["code"]) == (503, "no_backend")  # it may have the model: not a 404
            await engine.listen()
            await wait_until(lambda: is_routable(gateway))
            assert (await ask(gateway)).status == 200
            caller = await gateway.connect()
            await caller.ask("other")
            assert (await caller.read_answer()).status == 404


async def test_a_backend_that_does_not_answer_probes_is_an_outage(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, probe_interval_seconds=0.05, probe_deadline_seconds=0.1) as gateway,
    ):
        engine.pages["/v1/models"] = engine.pages["/health"] = None
        await wait_until(lambda: not is_routable(gateway))
        assert gateway.backend().last_probe_error == "no answer in time"


async def test_a_busy_backend_that_still_streams_is_no_outage(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, probe_interval_seconds=0.05, probe_deadline_seconds=0.1) as gateway,
    ):
        engine.behaviour = hang()
        caller = await gateway.connect()
        await caller.ask()
        await engine.wait_turn()
        engine.pages["/v1/models"] = None
        await wait_until(lambda: gateway.backend().last_probe_error == "busy")
        asked = engine.probes["/v1/models"]
        await wait_until(lambda: engine.probes["/v1/models"] >= asked + 3)
        assert is_routable(gateway)


async def test_a_model_that_appears_can_be_asked_for_soon(tmp_path: Path) -> None:
    """An unknown model makes us look again at once, long before the next probe is due."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.offer("m", "new")
        caller = await gateway.connect()
        await caller.ask("new")
        assert (await caller.read_answer()).status == 404
        await wait_until(lambda: gateway.stages.registry.find(Operation.CHAT, "new"))
        await caller.ask("new")
        assert (await caller.read_answer()).status == 200


async def test_an_answer_to_a_probe_that_is_none_keeps_the_reason(tmp_path: Path) -> None:
    async with run_engine() as engine:
        engine.pages["/v1/models"] = 200, b"<html>"
        async with run_gateway(tmp_path, engine) as gateway:
            await wait_until(lambda: gateway.backend().last_probe_error)
            assert "/v1/models" in gateway.backend().last_probe_error
            assert not is_routable(gateway)


async def test_what_a_backend_serves_by_itself_is_its_kinds_and_what_was_found(tmp_path: Path) -> None:
    async with run_engine() as plain, run_engine("engine-b") as newer:
        newer.pages["/v1/messages"] = 405, b"{}"
        async with run_gateway(tmp_path, plain, newer) as gateway:
            assert gateway.backend().native == NATIVE["vllm"]
            assert gateway.backend("engine-b").native == NATIVE["vllm"] | {Surface.MESSAGES}
            # Whether a message continues a thread stands in its body: each is looked at.
            assert gateway.backend("engine-b").straight("m") == NATIVE["vllm"]


async def test_what_goes_to_ollama_in_another_dialect_is_looked_at(tmp_path: Path) -> None:
    async with run_engine("engine-o", kind="ollama") as engine, run_gateway(tmp_path, engine) as gateway:
        assert gateway.backend("engine-o").native == NATIVE["ollama"]
        assert gateway.backend("engine-o").straight("m") == {Surface.OLLAMA}


async def test_a_configured_context_length_makes_every_request_be_looked_at(tmp_path: Path) -> None:
    async with run_engine("engine-o", kind="ollama", models=["m", "n"]) as engine:
        backend = Configured(kind="ollama", url=engine.url, name="engine-o", num_ctx={"m": 8192})
        async with run_gateway(tmp_path, backends=(backend,)) as gateway:
            upstream = gateway.backend("engine-o")
            assert (upstream.context_length("m"), upstream.straight("m")) == (8192, frozenset())
            assert (upstream.context_length("n"), upstream.straight("n")) == (None, {Surface.OLLAMA})


async def test_answers_say_where_they_come_from_and_by_which_lane(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        got = await ask(gateway)
        assert (got.headers["x-mrproxy-backend"], got.headers["x-mrproxy-lane"]) == ("engine-a", "straight")
        caller = await gateway.connect()
        await caller.send(request("/v1/messages", chat(max_tokens=9)))
        got = await caller.read_answer()
        assert (got.headers["x-mrproxy-backend"], got.headers["x-mrproxy-lane"]) == ("engine-a", "translating")


# The breaker


async def test_connect_errors_in_a_row_open_the_breaker_and_one_test_closes_it(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, breaker_failures=2, breaker_open_seconds=0.3) as gateway,
    ):
        engine.refuse()
        assert [(await ask(gateway)).status for _ in range(3)] == [502, 502, 503]
        assert gateway.backend().breaker.state == "open"
        await engine.listen()
        await wait_until(lambda: is_routable(gateway))
        assert (await ask(gateway)).status == 200
        assert gateway.backend().breaker.state == "closed"


async def test_who_waits_gets_the_backend_that_has_rested(tmp_path: Path) -> None:
    """The other backend is full: the one that comes back is taken at once, without a request that knocks."""
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(
            tmp_path, a, b, max_concurrent=1, breaker_failures=1, breaker_open_seconds=0.3, placement="round_robin"
        ) as gateway,
    ):
        a.refuse()
        while gateway.backend("engine-a").breaker.state == "closed":
            assert (await ask(gateway)).status == 200
        await a.listen()
        b.behaviour = hang()
        holder = await gateway.connect()
        await holder.ask()
        await wait_until(lambda: gateway.backend("engine-b").in_flight == 1)
        waiting = await gateway.connect()
        await waiting.ask()
        got = await waiting.read_answer()
        assert (got.status, got.headers["x-mrproxy-backend"]) == (200, "engine-a")


async def test_the_test_of_a_rested_backend_whose_client_leaves_is_given_up_at_once(tmp_path: Path) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, breaker_failures=1, breaker_open_seconds=0.5) as gateway,
    ):
        engine.refuse()
        assert (await ask(gateway)).status == 502
        await engine.listen()
        await wait_until(lambda: is_routable(gateway))
        engine.script(hang())
        caller = await gateway.connect()
        await caller.ask()
        turn = await engine.wait_turn()
        assert not is_routable(gateway)  # one request is the test
        await caller.leave()
        await turn.left.wait()
        await gateway.settled()
        assert is_routable(gateway)


async def test_a_share_of_failures_opens_the_breaker(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, breaker_min_requests=4) as gateway:
        engine.behaviour = answer_status(500)
        assert [(await ask(gateway)).status for _ in range(5)] == [500] * 4 + [503]
        assert gateway.backend().breaker.state == "open"


async def test_callers_mistakes_never_open_the_breaker(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, breaker_min_requests=4) as gateway:
        engine.behaviour = answer_status(400)
        assert [(await ask(gateway)).status for _ in range(20)] == [400] * 20
        assert gateway.backend().breaker.state == "closed"


# Slots


async def test_a_backend_never_has_more_requests_than_slots(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_concurrent=3) as gateway:
        most = 0

        async def behave(turn: object) -> None:
            nonlocal most
            most = max(most, sum(not each.is_over for each in engine.turns))
            await answer(sized(chat_answer()))(turn)  # type: ignore[arg-type]

        engine.behaviour = behave
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(ask, gateway)
        assert len(engine.turns) == 40
        assert 1 <= most <= 3


async def test_a_slot_is_free_again_after_every_kind_of_end(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_concurrent=1) as gateway:
        for behaviour in (reset(), answer_status(503), answer(closes=True), answer_status(400)):
            engine.script(behaviour)
            await ask(gateway)
        assert (await ask(gateway)).status == 200


async def test_a_drained_backend_finishes_what_it_has_and_gets_nothing_new(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        goes_on = trio.Event()

        async def behave(turn: object) -> None:
            await goes_on.wait()
            await answer(sized(chat_answer()))(turn)  # type: ignore[arg-type]

        engine.behaviour = behave
        caller = await gateway.connect()
        await caller.ask()
        await engine.wait_turn()
        gateway.backend().is_draining = True
        gateway.backend().changed()
        assert (await ask(gateway)).status == 503
        goes_on.set()
        assert (await caller.read_answer()).status == 200


# Deadlines


async def test_a_model_that_ollama_must_load_first_has_more_time(tmp_path: Path) -> None:
    async with run_engine(kind="ollama", models=["warm", "cold"]) as engine:
        engine.pages["/api/ps"] = 200, b'{"models":[{"name":"warm","model":"warm"}]}'
        async with run_gateway(
            tmp_path, engine, first_byte_deadline_seconds=0.3, loading_deadline_seconds=30
        ) as gateway:
            loads = trio.Event()

            async def behave(turn: object) -> None:
                await loads.wait()
                await answer(sized(chat_answer()))(turn)  # type: ignore[arg-type]

            engine.behaviour = behave
            cold, warm = await gateway.connect(), await gateway.connect()
            await cold.send(request("/api/chat", chat("cold")))
            await warm.send(request("/api/chat", chat("warm")))
            assert (await warm.read_answer()).status == 504
            loads.set()
            assert (await cold.read_answer()).status == 200


async def test_probes_do_not_follow_the_environments_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        assert (await ask(gateway)).status == 200


async def test_a_backend_may_have_deadlines_of_its_own(tmp_path: Path) -> None:
    async with run_engine("engine-a") as engine:
        own = Configured(
            kind="vllm", url=engine.url, name="engine-a", first_byte_deadline_seconds=0.1, probe_interval_seconds=0.05
        )
        async with run_gateway(tmp_path, backends=(own,), probe_interval_seconds=60) as gateway:
            engine.behaviour = hang()
            got = await ask(gateway)
            assert (got.status, got.json["error"]["code"]) == (504, "backend_timeout")
            asked = engine.probes["/health"]
            await wait_until(lambda: engine.probes["/health"] > asked + 2)


async def test_its_own_deadline_only_prolongs_the_time_to_load_a_model(tmp_path: Path) -> None:
    async with run_engine("engine-a") as engine:
        own = Configured(kind="vllm", url=engine.url, name="engine-a", first_byte_deadline_seconds=5)
        async with run_gateway(tmp_path, backends=(own,), loading_deadline_seconds=9) as gateway:
            backend = gateway.backend()
            assert backend.first_byte_seconds("m") == 5
            backend.is_loading = True
            assert backend.first_byte_seconds("m") == 9
