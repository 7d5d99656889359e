"""Probes over real connections: what is asked, what is believed, and what never hangs or grows."""

import gzip
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from mrproxy.canonical.surface import PROBED, Surface
from mrproxy.config import Backend
from mrproxy.upstream.endpoint import Endpoint
from mrproxy.upstream.probe import Prober
from mrproxy.upstream.probing import PROBE_PATHS, ProbeError, ProbeResult
from tests.fakes.certificate import make_certificate
from tests.fakes.gateway import run_gateway
from tests.fakes.loop_engine import FakeEngine, run_engine

pytestmark = pytest.mark.slow


LIST = b'{"data":[{"id":"m"}]}'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """Of a server at 127.0.0.1 that everybody here believes."""
    cert, key = make_certificate(tmp_path_factory.mktemp("certificate"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(cert))
        yield context


@asynccontextmanager
async def run_far(tls: ssl.SSLContext, answer: bytes, heard: list[bytes]) -> AsyncIterator[Prober]:
    """A prober of a server with TLS that answers all with these bytes."""

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while request := await stream.receive_some(65536):
                heard.append(bytes(request))
                await stream.send_all(answer)
        except (trio.BrokenResourceError, ssl.SSLError):
            pass  # what it says may be more than is taken
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [trio.SSLListener(listener, tls, https_compatible=True)])
        async with Prober(Endpoint(f"https://127.0.0.1:{listener.socket.getsockname()[1]}")) as prober:
            with trio.fail_after(5):
                yield prober
        nursery.cancel_scope.cancel()


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", b"content-type: application/json", *lines, b"", b""))


async def probe(engine: FakeEngine, kind: str = "", api_key: str | None = None) -> ProbeResult | ProbeError:
    async with Prober(Endpoint(engine.url, api_key)) as prober:
        with trio.fail_after(5):
            return await prober.probe(kind or engine.kind)


@pytest.mark.parametrize("kind", ["vllm", "openai", "llamacpp", "ollama"])
async def test_the_pages_of_its_kind_and_of_newer_surfaces_are_asked_once_each(kind: str) -> None:
    async with run_engine(kind=kind, models=["m", "n"]) as engine:
        result = await probe(engine)
        assert isinstance(result, ProbeResult)
        assert [model.name for model in result.models] == ["m", "n"]
        assert engine.probes == dict.fromkeys((*PROBE_PATHS[kind], *PROBED), 1)
        assert result.native == frozenset()


async def test_anthropics_own_are_not_asked_for_what_they_serve() -> None:
    async with run_engine(kind="anthropic") as engine:
        async with Prober(Endpoint(engine.url, "secret", "anthropic")) as prober:
            result = await prober.probe("anthropic")
        assert isinstance(result, ProbeResult)
        assert engine.probes == {"/v1/models": 1}
        assert engine.probe_headers["x-api-key"] == "secret"
        assert engine.probe_headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in engine.probe_headers


@pytest.mark.parametrize("path", PROBED)
async def test_a_page_that_refuses_a_get_is_a_surface(path: str) -> None:
    async with run_engine() as engine:
        engine.pages[path] = 405, b'{"detail":"Method Not Allowed"}'
        result = await probe(engine)
        assert isinstance(result, ProbeResult)
        assert result.native == {PROBED[path]}


async def test_surfaces_are_asked_for_again_only_at_another_version() -> None:
    async with run_engine(kind="ollama") as engine, Prober(Endpoint(engine.url)) as prober:
        for _ in range(3):
            result = await prober.probe("ollama")
        assert [engine.probes[path] for path in PROBED] == [1, 1]
        engine.pages["/v1/messages"] = 405, b""
        engine.pages["/api/version"] = 200, b'{"version":"0.14.0"}'
        for _ in range(3):
            result = await prober.probe("ollama")
        assert [engine.probes[path] for path in PROBED] == [2, 2]
        assert isinstance(result, ProbeResult)
        assert result.native == {Surface.MESSAGES}


async def test_a_surface_that_gave_no_answer_is_asked_for_again_and_the_others_are_believed() -> None:
    """Some servers never answer what they do not know: that must not make them unusable."""
    async with run_engine() as engine, Prober(Endpoint(engine.url)) as prober:
        engine.pages["/v1/messages"], engine.pages["/v1/responses"] = None, (405, b"")
        with trio.fail_after(1):
            result = await prober.probe("vllm")
        assert isinstance(result, ProbeResult)
        assert result.native == {Surface.RESPONSES}
        engine.pages["/v1/messages"] = 405, b""
        result = await prober.probe("vllm")
        assert isinstance(result, ProbeResult)
        assert result.native == {Surface.MESSAGES, Surface.RESPONSES}


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


async def test_with_tls_an_answer_is_asked_for_as_it_is(certificate: ssl.SSLContext) -> None:
    heard: list[bytes] = []
    async with run_far(certificate, head(b"content-length: %d" % len(LIST)) + LIST, heard) as prober:
        result = await prober.probe("openai")
    assert isinstance(result, ProbeResult)
    assert [model.name for model in result.models] == ["m"]
    assert b"accept-encoding: identity" in heard[0].lower()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            head(b"content-encoding: gzip", b"content-length: %d" % len(gzip.compress(LIST))) + gzip.compress(LIST),
            "/v1/models: the answer is encoded (gzip)",
        ),
        (
            head(b"content-length: %d" % (9 << 20)) + bytes(9 << 20),
            "/v1/models: the answer is too large",
        ),
        (
            head(b"transfer-encoding: chunked") + b"1\r\nx\r\n" * 20_000,
            "/v1/models: the answer's pieces are too small",
        ),
    ],
    ids=["compressed", "large", "tiny"],
)
async def test_with_tls_a_broken_answer_is_a_reason(certificate: ssl.SSLContext, answer: bytes, why: str) -> None:
    async with run_far(certificate, answer, []) as prober:
        result = await prober.probe("openai")
    assert isinstance(result, ProbeError)
    assert str(result) == why
