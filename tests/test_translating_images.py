"""Images by URL: fetched for engines that take bytes, from where it is allowed, and told by their URL to the others."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from mrproxy.config import Backend
from tests.fakes.behaviours import answer_status
from tests.fakes.caller import Answer, Caller, request
from tests.fakes.gateway import run_gateway
from tests.fakes.loop_engine import run_engine
from tests.fakes.speaking import DIALECTS, speaks
from tests.test_images import FOREVER, PNG, run_site
from tests.test_images import answer as page

pytestmark = pytest.mark.slow

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
NAMES = pytest.mark.parametrize("name", ["anthropic", "responses", "openai"])
ALLOWED: dict[str, Any] = {"image_allow_networks": "127.0.0.1/32"}
BASE64 = base64.b64encode(PNG).decode()


def picture(name: str, url: str, *, stream: bool = False) -> bytes:
    """A request that shows an image by its URL."""
    text: dict[str, Any] = {"type": "text", "text": "What is it?"}
    match name:
        case "anthropic":
            image: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": url}}
        case "responses":
            image, text["type"] = {"type": "input_image", "image_url": url, "detail": "auto"}, "input_text"
        case _:
            image = {"type": "image_url", "image_url": {"url": url}}
    turns = [{"role": "user", "content": [text, image]}]
    body = {"model": "m", "stream": stream, "input" if name == "responses" else "messages": turns}
    if name == "anthropic":
        body["max_tokens"] = 10
    return request(DIALECTS[name].path, json.dumps(body).encode())


async def show(caller: Caller, name: str, url: str, *, stream: bool = False) -> Answer:
    await caller.send(picture(name, url, stream=stream))
    return await caller.read_answer()


@STREAM
@NAMES
async def test_an_image_is_fetched_from_an_allowed_network_and_sent_as_bytes(
    tmp_path: Path, name: str, *, stream: bool
) -> None:
    async with run_site() as site, run_engine(kind="ollama") as engine:
        site.pages["/a.png"] = page(PNG)
        engine.behaviour = speaks("a cat")
        async with run_gateway(tmp_path, engine, **ALLOWED) as gateway:
            caller = await gateway.connect()
            got = await show(caller, name, site.url("/a.png"), stream=stream)
            assert DIALECTS[name].hear(got, stream=stream).text == "a cat"
            (message,) = engine.turns[0].request.json["messages"]
            assert (message["content"], message["images"]) == ("What is it?", [BASE64])
            head = "\n".join(site.heads[0]).lower()
            assert "authorization" not in head
            assert "key-of-the-tests" not in head


REFUSED = [
    "http://127.0.0.1:{port}/a.png", "http://localhost:{port}/a.png", "http://[::1]:{port}/a.png",
    "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/a.png", "http://[::ffff:127.0.0.1]:{port}/a.png",
    "http://0x7f000001:{port}/a.png", "http://user:secret@127.0.0.1:{port}/a.png", "ftp://127.0.0.1/a.png",
    "file:///etc/passwd",
]  # fmt: skip


@NAMES
async def test_an_image_inside_is_refused_in_the_callers_dialect(tmp_path: Path, name: str) -> None:
    async with run_site() as site, run_engine(kind="ollama") as engine:
        site.pages["/a.png"] = page(PNG)
        backend = Backend(kind="ollama", url=engine.url, name="engine-a", num_ctx=4096)
        async with run_gateway(tmp_path, backends=(backend,), image_deadline_seconds=5) as gateway:
            caller = await gateway.connect()
            for number, url in enumerate(REFUSED, 1):
                got = await show(caller, name, url.format(port=site.port), stream=bool(number % 2))
                assert got.status == 400, url
                error = DIALECTS[name].hear(got).error or ""
                assert error, url
                assert "secret" not in error
                record = (await gateway.wait_records(number))[-1]
                assert (record.status, record.usage_state, record.code) == (400, "absent", "invalid_field"), url
            assert not engine.turns
            assert not site.heads
            await gateway.settled()
            spent = gateway.stages.ledger.statistics(trio.current_time())[0].spent_tokens
            assert spent == 0
            assert gateway.backend().breaker.statistics(trio.current_time()).failures == 0
            engine.behaviour = speaks("hello")
            await caller.send(DIALECTS[name].ask())
            assert DIALECTS[name].hear(await caller.read_answer()).text == "hello"


@pytest.mark.parametrize("kind", ["vllm", "anthropic"])
async def test_an_engine_that_takes_urls_gets_the_url_and_nothing_is_fetched(tmp_path: Path, kind: str) -> None:
    async with run_site() as site, run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("a cat")
        caller = await gateway.connect()
        url = "https://example.org/a.png"
        for name in ("anthropic", "responses", "openai"):
            assert (await show(caller, name, url)).status == 200
            assert url in engine.turns[-1].request.body.decode()
        assert not site.heads


async def test_an_image_is_fetched_once_for_all_attempts(tmp_path: Path) -> None:
    async with (
        run_site() as site,
        run_engine("engine-a", "ollama") as a,
        run_engine("engine-b", "ollama") as b,
        run_gateway(tmp_path, a, b, retry_budget_percent=100, **ALLOWED) as gateway,
    ):
        site.pages["/a.png"] = page(PNG)
        faults = iter([answer_status(503), speaks("a cat")])
        a.behaviour = b.behaviour = lambda turn: next(faults)(turn)
        caller = await gateway.connect()
        got = await show(caller, "anthropic", site.url("/a.png"))
        assert DIALECTS["anthropic"].hear(got).text == "a cat"
        assert len(a.turns) == len(b.turns) == 1
        for engine in (a, b):
            assert engine.turns[0].request.json["messages"][0]["images"] == [BASE64]
        assert len(site.heads) == 1
        assert (await gateway.last_record()).attempts == 2


async def test_an_image_is_fetched_when_the_second_backend_needs_it(tmp_path: Path) -> None:
    async with (
        run_site() as site,
        run_engine("engine-a", "vllm") as a,
        run_engine("engine-b", "ollama") as b,
        run_gateway(tmp_path, a, b, retry_budget_percent=100, placement="round_robin", **ALLOWED) as gateway,
    ):
        site.pages["/a.png"] = page(PNG)
        a.behaviour = answer_status(503)
        b.behaviour = speaks("a cat")
        caller = await gateway.connect()
        for _ in range(3):
            got = await show(caller, "anthropic", site.url("/a.png"))
            assert DIALECTS["anthropic"].hear(got).text == "a cat"
        assert site.url("/a.png") in a.turns[0].request.body.decode()
        assert b.turns[0].request.json["messages"][0]["images"] == [BASE64]


async def test_an_image_that_does_not_come_is_the_callers_error_and_frees_the_slot(tmp_path: Path) -> None:
    async with run_site() as site, run_engine(kind="ollama") as engine:
        site.pages["/slow.png"] = page(PNG, content_length=10_000) + FOREVER
        async with run_gateway(tmp_path, engine, image_deadline_seconds=0.3, **ALLOWED) as gateway:
            caller = await gateway.connect()
            got = await show(caller, "anthropic", site.url("/slow.png"))
            assert got.status == 400
            assert "longer than 0.3 seconds" in got.json["error"]["message"]
            await gateway.settled()
            assert not engine.turns


@pytest.mark.parametrize("rudely", [False, True], ids=["FIN", "RST"])
async def test_a_client_that_leaves_while_its_image_is_fetched_leaves_nothing_behind(
    tmp_path: Path, rudely: bool
) -> None:
    async with run_site() as site, run_engine(kind="ollama") as engine:
        site.pages["/slow.png"] = page(PNG, content_length=10_000) + FOREVER
        async with run_gateway(tmp_path, engine, **ALLOWED) as gateway:
            caller = await gateway.connect()
            await caller.send(picture("anthropic", site.url("/slow.png")))
            with trio.fail_after(10):
                await site.is_hanging.wait()
            assert gateway.backend().in_flight == 1
            await caller.leave(rudely=rudely)
            with trio.fail_after(10):
                await site.left.wait()
            await gateway.settled()
            record = await gateway.last_record()
            assert (record.status, record.code, record.usage_state) == (499, "client_departed", "absent")
            assert gateway.stages.ledger.statistics(trio.current_time())[0].spent_tokens == 0
            assert not engine.turns
