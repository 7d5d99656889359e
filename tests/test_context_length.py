"""`num_ctx` of an Ollama backend: every request for a model says the same one, so that nobody makes it load anew."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mrproxy.config import Backend
from mrproxy.link.snapshot import read, write
from tests.fakes.behaviours import answer, sized
from tests.fakes.caller import Answer, Caller, request
from tests.fakes.express import watched_express
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.loop_engine import FakeEngine, run_engine
from tests.fakes.speaking import DIALECTS, speaks

pytestmark = pytest.mark.slow

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def ollama(engine: FakeEngine, num_ctx: int | dict[str, int] | None = 8192, **fields: Any) -> tuple[Backend, ...]:
    engine.behaviour = speaks("hello")
    return (Backend(kind="ollama", url=engine.url, name="engine-a", num_ctx=num_ctx, **fields),)


async def ask(caller: Caller, path: str, body: bytes) -> Answer:
    await caller.send(request(path, body))
    return await caller.read_answer()


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


async def test_ollamas_own_requests_get_it_and_are_otherwise_what_they_were(tmp_path: Path) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, backends=ollama(engine)) as gateway:
        caller = await gateway.connect()
        body = (
            b'{ "model":"m",  "stream" : false, "prompt":"\\u00e9 \\/ \xc3\xa9", "keep_alive":-1, "x": [1.0,1e5,'
            b' 12345678901234567890], "options" : {"temperature": 0.70, "seed":42, "stop" : ["\\u0041"]}, "raw":true}'
        )
        for path in ("/api/generate", "/api/chat"):
            asked = body if path == "/api/generate" else body.replace(b'"prompt"', b'"messages"')
            got = await ask(caller, path, asked)
            assert (got.status, got.headers["x-mrproxy-lane"]) == (200, "straight")
            sent, before = _fields(engine.turns[-1].request.body), _fields(asked)
            options, options_before = _fields(sent.pop("options")), _fields(before.pop("options"))
            assert bytes(options.pop("num_ctx")) == b"8192"
            assert {name: bytes(value) for name, value in sent.items()} == {k: bytes(v) for k, v in before.items()}
            assert {name: bytes(v) for name, v in options.items()} == {k: bytes(v) for k, v in options_before.items()}


@pytest.mark.parametrize("given", [{}, {"options": None}, {"options": {}}, {"options": {"num_ctx": 2048}}])
async def test_it_is_there_whatever_the_callers_options_are(tmp_path: Path, given: dict[str, Any]) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, backends=ollama(engine)) as gateway:
        caller = await gateway.connect()
        assert (await ask(caller, "/api/chat", chat(stream=False, **given))).status == 200
        assert engine.turns[0].request.json["options"] == {"num_ctx": 8192}


@pytest.mark.parametrize(("given", "sent"), [({}, 8192), ({"num_ctx": 2048}, 2048), ({"seed": 1}, 8192)])
async def test_a_callers_own_stands_where_it_is_not_fixed(tmp_path: Path, given: dict[str, Any], sent: int) -> None:
    async with (
        run_engine(kind="ollama") as engine,
        run_gateway(tmp_path, backends=ollama(engine), num_ctx_fixed=False) as gateway,
    ):
        caller = await gateway.connect()
        assert (await ask(caller, "/api/chat", chat(stream=False, options=given))).status == 200
        assert engine.turns[0].request.json["options"] == {**given, "num_ctx": sent}


@STREAM
@pytest.mark.parametrize("name", ["openai", "completions", "anthropic", "responses"])
async def test_callers_of_other_dialects_are_translated_so_that_it_can_be_said(
    tmp_path: Path, name: str, *, stream: bool
) -> None:
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, backends=ollama(engine)) as gateway:
        caller = await gateway.connect()
        await caller.send(DIALECTS[name].ask(stream=stream))
        got = await caller.read_answer()
        assert DIALECTS[name].hear(got, stream=stream).text == "hello"
        assert got.headers["x-mrproxy-lane"] == "translating"
        assert (await gateway.last_record()).lane == "translating"
        asked = engine.turns[0].request
        assert asked.path.startswith("/api/")
        assert asked.json["options"]["num_ctx"] == 8192


async def test_a_table_says_it_for_some_models_only_by_their_public_names(tmp_path: Path) -> None:
    async with run_engine(kind="ollama", models=["m", "other", "own:7b"]) as engine:
        backends = ollama(engine, {"m": 1024, "alias": 2048}, aliases={"alias": "own:7b"})
        async with run_gateway(tmp_path, backends=backends) as gateway:
            caller = await gateway.connect()
            for model, sent in (("m", 1024), ("alias", 2048), ("other", None), ("own:7b", None)):
                got = await ask(caller, "/api/chat", chat(stream=False).replace(b'"m"', b'"%b"' % model.encode()))
                assert got.status == 200, model
                assert engine.turns[-1].request.json.get("options", {}).get("num_ctx") == sent, model
                await caller.send(DIALECTS["openai"].ask(model=model))
                got = await caller.read_answer()
                assert got.headers["x-mrproxy-lane"] == ("translating" if sent else "straight"), model
                assert engine.turns[-1].request.json.get("options", {}).get("num_ctx") == sent, model


async def test_a_table_knows_a_model_with_and_without_latest(tmp_path: Path) -> None:
    """Ollama takes `m` for `m:latest`; it is one model, and loads anew for another length."""
    for number, named in enumerate(("m", "m:latest")):
        (tmp_path / str(number)).mkdir()
        async with run_engine(kind="ollama", models=["m:latest"]) as engine:
            async with run_gateway(tmp_path / str(number), backends=ollama(engine, {named: 1024})) as gateway:
                caller = await gateway.connect()
                for model in ("m", "m:latest"):
                    body = chat(stream=False).replace(b'"m"', b'"%b"' % model.encode())
                    assert (await ask(caller, "/api/chat", body)).status == 200
                    assert engine.turns[-1].request.json["options"]["num_ctx"] == 1024, (named, model)


async def test_embeddings_get_it_in_both_lanes_and_show_does_not(tmp_path: Path) -> None:
    """An embedding of another length loads the model anew, as any other request does; /api/show loads nothing."""
    async with run_engine(kind="ollama") as engine, run_gateway(tmp_path, backends=ollama(engine)) as gateway:
        caller = await gateway.connect()
        for path in ("/api/embed", "/v1/embeddings"):
            got = await ask(caller, path, b'{"model":"m","input":["hi"]}')
            assert got.status == 200
            asked = engine.turns[-1].request
            assert (asked.path, asked.json["options"]) == ("/api/embed", {"num_ctx": 8192})
        engine.behaviour = answer(sized(b'{"details":{}}'))
        body = b'{"model": "m",  "verbose":true}'
        assert (await ask(caller, "/api/show", body)).status == 200
        assert engine.turns[-1].request.body == body


async def test_other_kinds_of_engines_hear_nothing_of_it(tmp_path: Path) -> None:
    async with run_engine("engine-b") as vllm, run_engine(kind="ollama") as engine:
        async with run_gateway(tmp_path, vllm, backends=ollama(engine), placement="round_robin") as gateway:
            vllm.behaviour = speaks("hello")
            caller = await gateway.connect()
            for _ in range(4):
                await caller.send(DIALECTS["openai"].ask())
                got = await caller.read_answer()
                is_vllm = got.headers["x-mrproxy-backend"] == "engine-b"
                assert got.headers["x-mrproxy-lane"] == ("straight" if is_vllm else "translating")
            assert vllm.turns
            assert engine.turns
            assert all("options" not in turn.request.json for turn in vllm.turns)
            assert all(turn.request.json["options"] == {"num_ctx": 8192} for turn in engine.turns)


async def reload_with(gateway: Gateway, num_ctx: int | None, **settings: Any) -> None:
    path = gateway.worker._follower.path
    snapshot = read(path)
    backends = tuple(msgspec.structs.replace(spec, num_ctx=num_ctx) for spec in snapshot.backends)
    changed = replace(snapshot.settings, **settings)
    write(path, msgspec.structs.replace(snapshot, backends=backends, settings=changed))
    assert await gateway.worker._reload() == ""


async def test_a_reload_changes_it_from_one_request_to_the_next(tmp_path: Path) -> None:
    """Also for connections that were served the express way before."""
    with watched_express() as express:
        async with run_engine(kind="ollama") as engine:
            async with run_gateway(tmp_path, backends=ollama(engine, None)) as gateway:
                caller, other = await gateway.connect(), await gateway.connect()

                async def sent(**options: int) -> object:
                    got = await ask(caller, "/api/chat", chat(stream=False, options=options))
                    assert got.status == 200
                    return engine.turns[-1].request.json["options"].get("num_ctx")

                async def lane() -> str:
                    await other.send(DIALECTS["openai"].ask())
                    return (await other.read_answer()).headers["x-mrproxy-lane"]

                for _ in range(3):
                    assert (await sent(), await lane()) == (None, "straight")
                assert express.taken
                await reload_with(gateway, 4096)
                for _ in range(3):
                    assert (await sent(), await sent(num_ctx=1), await lane()) == (4096, 4096, "translating")
                await reload_with(gateway, 512, num_ctx_fixed=False)
                assert (await sent(), await sent(num_ctx=1), await lane()) == (512, 1, "translating")
                taken = express.taken
                await reload_with(gateway, None)
                for _ in range(3):
                    assert (await sent(), await lane()) == (None, "straight")
                assert express.taken > taken
