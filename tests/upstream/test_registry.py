"""Which model is where: one queue per model whatever the dialect, lists without twins, backends that come and go."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from mrproxy.canonical.request import MEDIA, Operation
from mrproxy.canonical.surface import Surface
from mrproxy.config import Backend
from mrproxy.link.snapshot import BackendSpec
from mrproxy.upstream.endpoint import Endpoint
from tests.fakes.behaviours import LAST_CHUNK, STREAM_HEAD, answer, chat_answer, chunk, event, hang, sized
from tests.fakes.caller import Answer, chat, request
from tests.fakes.gateway import Gateway, backend_tasks, run_gateway, wait_until
from tests.fakes.loop_engine import FakeEngine, run_engine

pytestmark = pytest.mark.slow


def spec(engine: FakeEngine, **changes: object) -> BackendSpec:
    return BackendSpec(**({"name": engine.name, "kind": engine.kind, "url": engine.url, "max_concurrent": 8} | changes))  # type: ignore[arg-type]


async def get(gateway: Gateway, path: str) -> Answer:
    caller = await gateway.connect()
    await caller.send(request(path, method="GET"))
    got = await caller.read_answer()
    await caller.leave()
    return got


async def test_a_model_on_several_backends_is_listed_once(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a", models=["m", "only-a"]) as a,
        run_engine("engine-b", models=["m", "only-b"]) as b,
        run_engine("engine-o", kind="ollama", models=["llama3:latest", "m"]) as o,
        run_gateway(tmp_path, a, b, o) as gateway,
    ):
        listed = [entry["id"] for entry in (await get(gateway, "/v1/models")).json["data"]]
        assert listed == ["llama3:latest", "m", "only-a", "only-b"]
        tags = [entry["name"] for entry in (await get(gateway, "/api/tags")).json["models"]]
        assert tags == listed
        assert [entry["name"] for entry in (await get(gateway, "/api/ps")).json["models"]] == ["llama3:latest", "m"]
        assert (await get(gateway, "/api/version")).json == {"version": "0.12.0"}
        assert (await get(gateway, "/v1/models/only-a")).json["id"] == "only-a"
        assert (await get(gateway, "/v1/models/nobodys")).status == 404


async def test_a_request_goes_only_where_its_model_is(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a", models=["m", "only-a"]) as a,
        run_engine("engine-b", models=["m"]) as b,
        run_gateway(tmp_path, a, b, placement="round_robin") as gateway,
    ):
        caller = await gateway.connect()
        for _ in range(6):
            await caller.ask("only-a")
            assert (await caller.read_answer()).headers["x-mrproxy-backend"] == "engine-a"
        assert not b.turns


async def test_every_dialect_reaches_every_backend_that_can_do_it_at_all(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-o", kind="ollama") as o,
        run_engine("engine-c", kind="anthropic") as c,
        run_gateway(tmp_path, a, o, c) as gateway,
    ):
        everywhere = {operation: ["engine-a", "engine-o", "engine-c"] for operation in Operation}
        somewhere = {
            Operation.EMBEDDINGS: ["engine-a", "engine-o"],
            Operation.EMBED: ["engine-a", "engine-o"],
            Operation.SHOW: ["engine-o"],
            Operation.COUNT_TOKENS: ["engine-c"],
            **{operation: ["engine-a"] for operation in MEDIA},
        }
        for operation, names in (everywhere | somewhere).items():
            pool = gateway.stages.registry.find(operation, "m")
            assert pool is not None
            assert [backend.name for backend in gateway.stages.registry.candidates(pool.key)] == names, operation


async def test_what_no_backend_can_do_has_no_pool(tmp_path: Path) -> None:
    async with run_engine("engine-c", kind="anthropic") as c, run_gateway(tmp_path, c) as gateway:
        found = {operation: gateway.stages.registry.find(operation, "m") for operation in Operation}
        missing = {operation for operation, pool in found.items() if pool is None}
        assert missing == {Operation.SHOW, Operation.EMBEDDINGS, Operation.EMBED} | MEDIA


async def test_operations_share_a_queue_where_they_share_their_backends(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a", models=["m", "n"]) as a,
        run_engine("engine-c", kind="anthropic", models=["n"]) as c,
        run_gateway(tmp_path, a, c) as gateway,
    ):
        find = gateway.stages.registry.find
        assert find(Operation.EMBEDDINGS, "m") is find(Operation.CHAT, "m") is find(Operation.MESSAGES, "m")
        chats, embeddings = find(Operation.CHAT, "n"), find(Operation.EMBED, "n")
        assert chats is not None
        assert embeddings is not None
        assert (chats.key, embeddings.key) == ("n", "embeddings:n")
        assert [backend.name for backend in embeddings.backends] == ["engine-a"]
        assert [backend.name for backend in gateway.stages.registry.candidates("embeddings:n")] == ["engine-a"]


async def test_a_pool_is_straight_for_what_all_its_backends_serve(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a", models=["m", "own-a", "both"]) as a,
        run_engine("engine-b", models=["both"]) as b,
        run_engine("engine-o", kind="ollama", models=["m", "own-o"]) as o,
        run_gateway(tmp_path, a, b, o) as gateway,
    ):
        pools = [gateway.stages.registry.find(Operation.CHAT, name) for name in ("m", "own-a", "both", "own-o")]
        of_vllm = {Surface.CHAT, Surface.TEXT, Surface.EMBEDDINGS, Surface.MEDIA}
        expected = [set(), of_vllm, of_vllm, {Surface.OLLAMA}]
        assert [pool and pool.straight for pool in pools] == expected


async def test_what_a_probe_found_is_never_straight_for_every_body(tmp_path: Path) -> None:
    """Whether a Responses request is stateless, and a message continues a thread, stands in its body."""
    async with run_engine() as engine:
        engine.pages["/v1/messages"] = engine.pages["/v1/responses"] = 405, b"{}"
        async with run_gateway(tmp_path, engine) as gateway:
            pool = gateway.stages.registry.find(Operation.CHAT, "m")
            assert pool is not None
            assert gateway.backend().native - pool.straight == {Surface.MESSAGES, Surface.RESPONSES}


async def test_messages_to_anthropic_itself_are_straight_whatever_they_say(tmp_path: Path) -> None:
    async with run_engine(kind="anthropic") as engine, run_gateway(tmp_path, engine) as gateway:
        pool = gateway.stages.registry.find(Operation.MESSAGES, "m")
        assert pool is not None
        assert pool.straight == {Surface.MESSAGES}


async def test_ollama_takes_a_name_without_its_tag(tmp_path: Path) -> None:
    async with run_engine(kind="ollama", models=["llama3:latest"]) as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        for name in ("llama3", "llama3:latest"):
            await caller.send(request("/api/chat", chat(name)))
            assert (await caller.read_answer()).status == 200
        assert [turn.request.json["model"] for turn in engine.turns] == ["llama3", "llama3:latest"]
        keys = {gateway.stages.registry.find(Operation.CHAT, name).key for name in ("llama3", "llama3:latest")}  # type: ignore[union-attr]
        assert len(keys) == 1  # one queue


async def test_an_allow_list_hides_other_models(tmp_path: Path) -> None:
    async with run_engine("engine-x", models=["m", "secret"]) as engine:
        backend = Backend(kind="vllm", url=engine.url, name="engine-x", models=("m",))
        async with run_gateway(tmp_path, backends=(backend,)) as gateway:
            assert [entry["id"] for entry in (await get(gateway, "/v1/models")).json["data"]] == ["m"]
            caller = await gateway.connect()
            await caller.ask("secret")
            assert (await caller.read_answer()).status == 404


async def test_a_known_model_that_is_nowhere_routable_is_a_503(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        gateway.backend().is_draining = True
        gateway.backend().changed()
        caller = await gateway.connect()
        await caller.ask()
        got = await caller.read_answer()
        assert (got.status, got.json["error"]["code"]) == (503, "no_backend")
        assert got.headers["retry-after"]
        await caller.ask("unknown")
        assert (await caller.read_answer()).status == 404


# Reloads


async def test_a_backend_that_is_added_serves_and_who_waits_goes_there(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, max_concurrent=1) as gateway,
    ):
        a.behaviour = hang()
        holder, waiting = await gateway.connect(), await gateway.connect()
        await holder.ask()
        await a.wait_turn()
        await waiting.ask()
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 1)
        await gateway.stages.registry.apply([spec(a, max_concurrent=1), spec(b)], gateway.stages.settings)
        assert (await waiting.read_answer()).headers["x-mrproxy-backend"] == "engine-b"


async def test_more_slots_are_used_at_once(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, max_concurrent=1) as gateway:
        engine.script(hang())
        holder, waiting = await gateway.connect(), await gateway.connect()
        await holder.ask()
        await engine.wait_turn()
        await waiting.ask()
        await wait_until(lambda: gateway.stages.scheduler.waiting_total == 1)
        await gateway.stages.registry.apply([spec(engine, max_concurrent=2)], gateway.stages.settings)
        assert (await waiting.read_answer()).status == 200


async def test_a_backend_that_is_removed_finishes_what_it_has(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, placement="round_robin") as gateway,
    ):
        goes_on = trio.Event()

        async def behave(turn: object) -> None:
            await answer(STREAM_HEAD + chunk(event("one")))(turn)  # type: ignore[arg-type]
            await goes_on.wait()
            await answer(chunk(event("two")) + LAST_CHUNK)(turn)  # type: ignore[arg-type]

        a.behaviour = b.behaviour = behave
        streaming = await gateway.connect()
        await streaming.ask(stream=True)
        head = await streaming.read_until(b"\r\n\r\n")
        removed, kept = (a, b) if b"engine-a" in head else (b, a)
        kept.behaviour = answer(sized(chat_answer()))
        retired = gateway.backend(removed.name)
        await gateway.stages.registry.apply([spec(kept)], gateway.stages.settings)
        caller = await gateway.connect()
        for _ in range(4):
            await caller.ask()
            assert (await caller.read_answer()).headers["x-mrproxy-backend"] == kept.name
        goes_on.set()
        rest = await streaming.read_until(LAST_CHUNK)
        assert event("two") in rest
        assert b"error" not in rest
        await wait_until(lambda: not retired.pool.open_connections)


async def test_a_removed_backend_that_does_not_finish_is_cut_at_the_drains_deadline(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = hang(STREAM_HEAD + chunk(event("one")))
        streaming = await gateway.connect()
        await streaming.ask(stream=True)
        await streaming.read_until(event("one"))
        retired = gateway.backend()
        await gateway.stages.registry.apply([], replace(gateway.stages.settings, drain_seconds=0.2))
        rest = await streaming.read_until(LAST_CHUNK)
        assert b'"code":"backend_withdrawn"' in rest
        await engine.turns[0].left.wait()
        await wait_until(lambda: not retired.pool.open_connections and not retired.in_flight)


async def test_nothing_begins_on_a_backend_that_was_cut_while_it_was_being_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, goes_on = Endpoint.connect, trio.Event()

    async def connect_slowly(endpoint: Endpoint, nursery: trio.Nursery) -> socket.socket:
        await goes_on.wait()
        return await connect(endpoint, nursery)

    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        monkeypatch.setattr(Endpoint, "connect", connect_slowly)
        caller = await gateway.connect()
        await caller.ask()
        await wait_until(lambda: gateway.backend().in_flight)
        retired = gateway.backend()
        await gateway.stages.registry.apply([], replace(gateway.stages.settings, drain_seconds=0.0))
        await wait_until(lambda: not retired.is_healthy)
        goes_on.set()
        got = await caller.read_answer()
        assert (got.status, got.json["error"]["code"]) == (503, "backend_withdrawn")
        assert not engine.turns
        await wait_until(lambda: not retired.pool.open_connections and not retired.in_flight)


async def test_a_backend_at_a_new_address_is_a_new_backend(tmp_path: Path) -> None:
    async with run_engine("engine-a") as old, run_engine("engine-a") as new, run_gateway(tmp_path, old) as gateway:
        caller = await gateway.connect()
        await caller.ask()
        assert (await caller.read_answer()).status == 200
        retired = gateway.backend()
        await gateway.stages.registry.apply([spec(new)], gateway.stages.settings)
        await wait_until(lambda: gateway.backend().is_known)
        assert gateway.backend() is not retired
        await caller.ask()
        assert (await caller.read_answer()).status == 200
        assert (len(old.turns), len(new.turns)) == (1, 1)
        await wait_until(lambda: not retired.pool.open_connections)


async def test_what_a_reload_that_was_cut_off_has_started_ends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
            registry, wanted = gateway.stages.registry, [spec(engine), BackendSpec("deaf", "vllm", url, 4)]
            with trio.move_on_after(0.1) as applying:
                await registry.apply(wanted, gateway.stages.settings)
            assert applying.cancelled_caught
            await wait_until(lambda: backend_tasks(gateway) == ["backend engine-a"])
            assert set(registry.backends) == {"engine-a"}
            await registry.apply(wanted, gateway.stages.settings)
            assert backend_tasks(gateway) == ["backend deaf", "backend engine-a"]
            assert set(registry.backends) == {"engine-a", "deaf"}


@pytest.mark.parametrize("broken", ["_start", "_admit"])
async def test_a_reload_that_fails_leaves_no_backend_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_engine("engine-c") as c,
        run_gateway(tmp_path, a) as gateway,
    ):
        registry = gateway.stages.registry
        works, is_first = getattr(registry, broken), True

        def fail_the_second_time(*arguments: object) -> object:
            nonlocal is_first
            was_first, is_first = is_first, False
            return works(*arguments) if was_first else 1 / 0

        with monkeypatch.context() as patch:
            patch.setattr(registry, broken, fail_the_second_time)
            with pytest.raises(ZeroDivisionError):
                await registry.apply([spec(a), spec(b), spec(c)], gateway.stages.settings)
        await wait_until(lambda: backend_tasks(gateway) == [f"backend {name}" for name in sorted(registry.backends)])
        assert set(registry.backends) == ({"engine-a"} if broken == "_start" else {"engine-a", "engine-b"})


async def test_a_bug_while_the_index_of_many_is_built_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrproxy.upstream.registry._FEW_BACKENDS", 0)
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        registry = gateway.stages.registry
        await wait_until(lambda: registry.find(Operation.CHAT, "m"))
        with monkeypatch.context() as patch:
            patch.setattr(registry, "_made", lambda *_: 1 / 0)
            gateway.backend().changed()
            await wait_until(lambda: gateway.log.events("unexpected error"))
        gateway.expected_crashes = gateway.stages.counters.crashes
        caller = await gateway.connect()
        await caller.ask()
        assert (await caller.read_answer()).status == 200
        former = registry.find(Operation.CHAT, "m")
        gateway.backend().changed()
        await wait_until(lambda: registry.find(Operation.CHAT, "m") is not former)


async def test_a_bug_in_a_backends_tasks_ends_what_it_runs_and_it_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_engine("engine-a") as a, run_engine("engine-b") as b, run_gateway(tmp_path, a, b) as gateway:
        a.behaviour = b.behaviour = hang(STREAM_HEAD + chunk(event("one")))
        streams = [await gateway.connect() for _ in range(2)]
        for stream in streams:
            await stream.ask(stream=True)
            await stream.read_until(event("one"))
        victim = gateway.backend("engine-a")
        assert (len(a.turns), len(b.turns)) == (1, 1)
        with monkeypatch.context() as patch:
            patch.setattr(victim.pool, "sweep", lambda now: 1 / 0)
            await wait_until(lambda: gateway.log.events("unexpected error"))
        gateway.expected_crashes = gateway.stages.counters.crashes
        await a.turns[0].left.wait()
        assert not b.turns[0].left.is_set()
        await wait_until(lambda: victim.is_routable(trio.current_time()))
