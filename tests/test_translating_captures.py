"""Bodies of the translating lane, captured: as the caller sent them and as it got them."""

from pathlib import Path

import pytest

from mrproxy.link.capture import CapturedBodies, CaptureReader, capture_segments
from tests.fakes.behaviours import LAST_CHUNK, STREAM_HEAD, answer, answer_status, chunk, reset, sized
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.loop_engine import run_engine
from tests.fakes.speaking import DIALECTS, begins, speaks
from tests.test_translating_ends import PAGE, PAIRS, STREAM, ask

pytestmark = pytest.mark.slow


async def last_captured(gateway: Gateway, directory: Path, count: int) -> CapturedBodies:
    await gateway.wait_records(count)
    found = [each for path in capture_segments(directory / "journal") for each in CaptureReader(path)]
    assert len(found) == count
    return found[-1]


@STREAM
@PAIRS
async def test_a_translated_answer_is_captured_as_the_caller_got_it(
    tmp_path: Path, name: str, kind: str, *, stream: bool
) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.behaviour = speaks("né", "two")
        caller = await gateway.connect()
        request = DIALECTS[name].ask(stream=stream)
        for number in (1, 2):
            await caller.send(request)
            got = await caller.read_answer()
            assert DIALECTS[name].hear(got, stream=stream).text == "nétwo"
            bodies = await last_captured(gateway, tmp_path, number)
            assert bodies.answer == got.payload.decode()
            assert bodies.request == request.partition(b"\r\n\r\n")[2].decode()


@PAIRS
async def test_a_translated_stream_that_breaks_is_captured_with_its_error(tmp_path: Path, name: str, kind: str) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.behaviour = begins("one", then=reset)
        caller = await gateway.connect()
        got = await ask(caller, DIALECTS[name], stream=True)
        assert DIALECTS[name].hear(got, stream=True).error
        assert (await last_captured(gateway, tmp_path, 1)).answer == got.payload.decode()


async def test_a_foreign_engines_refusal_is_captured_as_it_was_said(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.script(answer_status(400), answer(sized(PAGE)))
        caller = await gateway.connect()
        for number, status in ((1, 400), (2, 502)):
            got = await ask(caller, DIALECTS["anthropic"])
            assert got.status == status
            assert (await last_captured(gateway, tmp_path, number)).answer == got.payload.decode()


async def test_what_failed_before_a_retry_is_not_captured(tmp_path: Path) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b", "ollama") as b,
        run_gateway(tmp_path, a, b, capture_bodies=True, retry_budget_percent=100) as gateway,
    ):
        a.behaviour = answer(STREAM_HEAD + chunk(PAGE) + LAST_CHUNK)
        b.behaviour = speaks("hello")
        caller = await gateway.connect()
        for number in (1, 2):
            got = await ask(caller, DIALECTS["responses"], stream=True)
            assert DIALECTS["responses"].hear(got, stream=True).text == "hello"
            assert (await last_captured(gateway, tmp_path, number)).answer == got.payload.decode()
        assert a.turns
