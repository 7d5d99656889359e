"""A look at an endpoint, over real connections."""

import pytest
import trio

from mrproxy.control.llmlb.looking import kind_of, look_at
from mrproxy.upstream.probing import ProbeError, ProbeResult
from tests.fakes.loop_engine import run_engine

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["vllm", "ollama", "llamacpp"])
async def test_what_it_is_is_found(kind: str) -> None:
    async with run_engine(kind=kind, models=["m"]) as engine:
        look = await look_at(engine.url, "sk-1", "auto")
        assert isinstance(look.found, ProbeResult)
        assert ([each.name for each in look.found.models], look.has_answer) == (["m"], True)
        assert look.latency_ms > 0
        assert engine.probe_headers["authorization"] == "Bearer sk-1"
        assert await kind_of(engine.url, None) == kind


async def test_nobody_there_is_left_to_the_workers() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    await listener.aclose()
    look = await look_at(url, None, "vllm")
    assert isinstance(look.found, ProbeError)
    assert not look.has_answer
    assert await kind_of(url, None) == "auto"


async def test_a_provider_is_known_by_its_host() -> None:
    assert await kind_of("https://api.anthropic.com", "sk-ant-1") == "anthropic"


async def test_what_is_no_url_is_said() -> None:
    with pytest.raises(ValueError, match="not a backend URL"):
        await look_at("ftp://x", None, "auto")
