"""Probes over real connections: what is asked, what is believed, and what never hangs or grows."""

from pathlib import Path

import pytest
import trio

from mrproxy.config import Backend
from mrproxy.upstream.endpoint import Endpoint
from mrproxy.upstream.probe import Prober
from mrproxy.upstream.probing import PROBE_PATHS, ProbeError, ProbeResult
from tests.fakes.gateway import run_gateway
from tests.fakes.loop_engine import FakeEngine, run_engine

pytestmark = pytest.mark.slow


async def probe(engine: FakeEngine, kind: str = "", api_key: str | None = None) -> ProbeResult | ProbeError:
    async with Prober(Endpoint(engine.url, api_key)) as prober:
        with trio.fail_after(5):
            return await prober.probe(kind or engine.kind)


@pytest.mark.parametrize("kind", ["vllm", "openai", "llamacpp", "ollama"])
async def test_the_pages_of_its_kind_are_asked_once_each(kind: str) -> None:
    async with run_engine(kind=kind, models=["m", "n"]) as engine:
        result = await probe(engine)
        assert isinstance(result, ProbeResult)
        assert [model.name for model in result.models] == ["m", "n"]
        assert engine.probes == dict.fromkeys(PROBE_PATHS[kind], 1)


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
async def test_a_kind_is_found_out(kind: str) -> None:
    async with run_engine(kind=kind) as engine:
        result = await probe(engine, "auto")
        assert isinstance(result, ProbeResult)
        assert result.kind == kind


async def test_an_unknown_kind_of_a_configured_backend_is_resolved_by_its_first_probe(tmp_path: Path) -> None:
    async with run_engine("engine-x", kind="ollama") as engine:
        backend = Backend(kind="auto", url=engine.url, name="engine-x")
        async with run_gateway(tmp_path, backends=(backend,)) as gateway:
            assert gateway.backend("engine-x").kind == "ollama"
            caller = await gateway.connect()
            await caller.ask()
            assert (await caller.read_answer()).status == 200


async def test_a_key_is_shown_to_its_backend(tmp_path: Path) -> None:
    async with run_engine() as engine:
        await probe(engine, api_key="secret")
        assert engine.probe_headers["authorization"] == "Bearer secret"
        assert engine.probe_headers["user-agent"] == "mrproxy-probe"


async def test_a_refused_connection_is_a_reason_and_no_exception() -> None:
    async with run_engine() as engine:
        engine.refuse()
        result = await probe(engine)
        assert isinstance(result, ProbeError)
        assert "ConnectError" in str(result)


@pytest.mark.parametrize("body", [b"", b"null", b"[1,2]", b'{"data":7}', b'{"data":', b"\xff\xfe", b"<html>"])
async def test_a_list_that_is_none_is_a_reason_and_no_exception(body: bytes) -> None:
    async with run_engine() as engine:
        engine.pages["/v1/models"] = 200, body
        result = await probe(engine)
        assert isinstance(result, ProbeResult | ProbeError)
        assert not isinstance(result, ProbeResult) or result.models == ()


async def test_an_endless_list_is_given_up() -> None:
    async with run_engine() as engine:
        engine.pages["/v1/models"] = 200, b"x" * (9 << 20)
        result = await probe(engine)
        assert isinstance(result, ProbeError)
        assert "too large" in str(result) or "/v1/models" in str(result)


async def test_a_probe_that_is_cut_off_says_whether_anything_answered() -> None:
    async with run_engine() as engine, Prober(Endpoint(engine.url)) as prober:
        engine.pages["/v1/models"] = None
        with trio.move_on_after(0.3):
            await prober.probe("vllm")
        assert prober.has_answer
        engine.pages["/health"] = None
        with trio.move_on_after(0.3):
            await prober.probe("vllm")
        assert not prober.has_answer
