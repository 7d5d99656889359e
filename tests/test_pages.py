"""A web server in front of an engine that shows a page and says that all is well: no caller ever reads it."""

from pathlib import Path

import pytest
import trio

from tests.fakes.behaviours import LAST_CHUNK, answer, chunk, sized
from tests.fakes.caller import request
from tests.fakes.gateway import run_gateway
from tests.fakes.loop_engine import Behaviour, run_engine
from tests.fakes.speaking import DIALECTS, speaks

pytestmark = pytest.mark.slow

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
STRAIGHT = [
    ("openai", "vllm"),
    ("completions", "vllm"),
    ("openai", "ollama"),
    ("ollama", "ollama"),
    ("generate", "ollama"),
    ("anthropic", "anthropic"),
]
EACH = pytest.mark.parametrize(("name", "kind"), STRAIGHT, ids=[f"{name} to {kind}" for name, kind in STRAIGHT])
PAGE = b"<!doctype html><html><body>Welcome to nginx!</body></html>"
HEAD = b"HTTP/1.1 %b\r\nContent-Type: text/html; charset=utf-8\r\n"
PAGES: dict[str, Behaviour] = {
    "whole": answer(HEAD % b"200 OK" + b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE),
    "in chunks": answer(HEAD % b"200 OK" + b"Transfer-Encoding: chunked\r\n\r\n", chunk(PAGE), LAST_CHUNK),
    "to the end": answer(HEAD % b"200 OK" + b"\r\n" + PAGE, closes=True),
    "elsewhere": answer(HEAD % b"302 Found" + b"Location: /login\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE),
}
FORMS = pytest.mark.parametrize("form", PAGES)


@FORMS
@STREAM
@EACH
async def test_it_is_an_error_in_the_callers_dialect(
    tmp_path: Path, name: str, kind: str, form: str, stream: bool
) -> None:
    """Every time: the second request is the one that the express way would take."""
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, breaker_failures=100) as gateway:
        caller = await gateway.connect()
        dialect = DIALECTS[name]
        engine.behaviour = speaks("hello")
        await caller.send(dialect.ask())
        assert dialect.hear(await caller.read_answer()).text == "hello"
        engine.behaviour = PAGES[form]
        for number in (2, 3):
            await caller.send(dialect.ask(stream=stream))
            got = await caller.read_answer()
            assert got.status == 502
            assert b"<" not in got.payload
            assert "page" in (dialect.hear(got).error or "")
            record = (await gateway.wait_records(number))[-1]
            assert (record.status, record.code, record.usage_state) == (502, "backend_failed", "absent")
        assert gateway.backend().breaker.statistics(trio.current_time()).failures == 2


@STREAM
@FORMS
async def test_another_backend_is_tried(tmp_path: Path, form: str, stream: bool) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, retry_budget_percent=100, breaker_failures=100) as gateway,
    ):
        caller = await gateway.connect()
        dialect = DIALECTS["openai"]
        a.behaviour, b.behaviour = PAGES[form], speaks("hello")
        for _ in range(4):
            await caller.send(dialect.ask(stream=stream))
            assert dialect.hear(await caller.read_answer(), stream=stream).text == "hello"
        assert a.turns
        assert len(b.turns) == 4


async def test_what_is_no_text_may_be_anything(tmp_path: Path) -> None:
    """Speech, pictures, transcriptions: their engines choose the type."""
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = PAGES["whole"]
        caller = await gateway.connect()
        await caller.send(request("/v1/audio/speech", b'{"model":"m","input":"hi","voice":"a"}'))
        got = await caller.read_answer()
        assert (got.status, got.payload) == (200, PAGE)


async def test_an_engine_that_calls_its_json_plain_text_is_believed(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(sized(b'{"choices":[]}').replace(b"application/json", b"text/plain"))
        caller = await gateway.connect()
        await caller.send(DIALECTS["openai"].ask())
        assert (await caller.read_answer()).status == 200
