"""Trace contexts on their way: from the caller into the record, and to the backend as a child of our span."""

from pathlib import Path

import pytest

from mrproxy.link.trace import traceparent_onwards
from tests.fakes.gateway import run_gateway
from tests.fakes.loop_engine import run_engine

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_the_backends_parent_is_our_span_and_the_state_goes_along(tmp_path: Path, stream: bool) -> None:
    async with run_engine("engine-a") as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        for count in (1, 2):  # the second time its head is known
            await caller.ask("m", f"traceparent: {TRACE}", "tracestate: rojo=1", stream=stream)
            assert (await caller.read_answer()).status == 200
            record = await gateway.last_record(count)
            headers = engine.turns[-1].request.headers
            assert record.traceparent == TRACE
            assert headers["traceparent"] == traceparent_onwards(TRACE, record.request_id)
            assert headers["tracestate"] == "rojo=1"


async def test_a_broken_context_is_none_of_our_business(tmp_path: Path) -> None:
    async with run_engine("engine-a") as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        await caller.ask("m", "traceparent: 00-broken")
        assert (await caller.read_answer()).status == 200
        assert (await gateway.last_record()).traceparent == ""
        assert engine.turns[0].request.headers["traceparent"] == "00-broken"


async def test_without_one_none_is_made_up(tmp_path: Path) -> None:
    async with run_engine("engine-a") as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        await caller.ask()
        assert (await caller.read_answer()).status == 200
        assert (await gateway.last_record()).traceparent == ""
        assert "traceparent" not in engine.turns[0].request.headers
