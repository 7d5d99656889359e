"""What requests cost that did not end well: what was delivered, and the prompt."""

from pathlib import Path

import pytest

from tests.fakes.behaviours import STREAM_HEAD, chunk, event, hang
from tests.fakes.gateway import run_gateway
from tests.fakes.loop_engine import run_engine

pytestmark = pytest.mark.slow

BEGUN = (STREAM_HEAD, chunk(event("one")), chunk(event("two")))


async def test_an_estimate_stands_where_nobody_is_asked(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.script(hang(*BEGUN))
        caller = await gateway.connect()
        await caller.ask(stream=True)
        await caller.read_until(event("two"))
        await caller.leave()
        record = await gateway.last_record()
        assert (record.usage_state, record.completion_tokens) == ("partial", 2)
        assert record.prompt_tokens == gateway.stages.costs.estimate_prompt("m", record.prompt_tokens * 4)
        assert len(engine.turns) == 1
