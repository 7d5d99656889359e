"""Structured output that is checked on its way out: `x-mrproxy-validate: 1`."""

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.behaviours import STREAM_HEAD, chunk, event, hang
from tests.fakes.caller import Answer, Caller
from tests.fakes.gateway import run_gateway
from tests.fakes.loop_engine import run_engine
from tests.fakes.speaking import DIALECTS, speaks

pytestmark = pytest.mark.slow

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["document", "stream"])
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
KINDS = ["vllm", "ollama", "anthropic"]


def wanted(name: str, schema: object = SCHEMA) -> dict[str, Any]:
    """The field that asks for this schema in a dialect."""
    match name:
        case "openai":
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
        case "responses":
            return {"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}}
        case "anthropic":
            return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
        case _:
            return {"format": schema}


async def ask(caller: Caller, name: str, *, stream: bool = False, validate: str = "1", **fields: Any) -> Answer:
    await caller.send(DIALECTS[name].ask(f"X-Mrproxy-Validate: {validate}", stream=stream, **fields))
    return await caller.read_answer()


NAMES = pytest.mark.parametrize("name", ["openai", "responses", "anthropic", "ollama"])


@STREAM
@NAMES
@pytest.mark.parametrize("kind", KINDS)
async def test_output_that_follows_its_schema_passes(tmp_path: Path, name: str, kind: str, *, stream: bool) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks('{"n":', " 1}")
        caller = await gateway.connect()
        got = await ask(caller, name, stream=stream, **wanted(name))
        heard = DIALECTS[name].hear(got, stream=stream)
        assert (heard.text, heard.error) == ('{"n": 1}', None)
        assert got.headers["x-mrproxy-lane"] == "translating"
        record = await gateway.last_record()
        assert (record.status, record.usage_state) == (200, "exact")


@STREAM
@NAMES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("output", "reason"), [('{"n": "one"}', "$.n"), ("Sure! Here it is:", "not valid JSON")], ids=["schema", "JSON"]
)
async def test_output_that_does_not_follow_its_schema_is_an_error(
    tmp_path: Path, name: str, kind: str, output: str, reason: str, *, stream: bool
) -> None:
    async with run_engine(kind=kind) as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks(output[:6], output[6:], counts=(6, 4))
        caller = await gateway.connect()
        got = await ask(caller, name, stream=stream, **wanted(name))
        assert got.status == (200 if stream else 502)
        heard = DIALECTS[name].hear(got, stream=stream)
        assert heard.text == (output if stream else "")
        assert "the model's output is not what was asked for" in (heard.error or "")
        assert reason in (heard.error or "")
        record = await gateway.last_record()
        assert (record.status, record.code) == (200 if stream else 502, "output_invalid")
        # The engine did its work, and counted it.
        assert (record.prompt_tokens, record.completion_tokens, record.usage_state) == (6, 4, "exact")


@STREAM
async def test_output_that_is_not_what_was_asked_for_is_no_fault_of_the_backend(
    tmp_path: Path, *, stream: bool
) -> None:
    """One caller's schema must not close a backend for the others; nor is it generated again on their time."""
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, breaker_min_requests=3, retry_budget_percent=100) as gateway,
    ):
        a.behaviour = b.behaviour = speaks("no", "JSON")
        caller = await gateway.connect()
        for _ in range(10):
            got = await ask(caller, "openai", stream=stream, **wanted("openai"))
            assert "not valid JSON" in (DIALECTS["openai"].hear(got, stream=stream).error or "")
            caller = await gateway.connect() if stream else caller
        assert len(a.turns) + len(b.turns) == 10
        for name in ("engine-a", "engine-b"):
            backend = gateway.backend(name)
            assert backend.breaker.statistics(trio.current_time()).failures == 0
            assert backend.failure_ewma == 0


@pytest.mark.parametrize("value", ["0", "false", "no", ""])
async def test_nothing_is_checked_unless_it_is_asked_for(tmp_path: Path, value: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("no JSON")
        caller = await gateway.connect()
        got = await ask(caller, "openai", validate=value, **wanted("openai"))
        assert DIALECTS["openai"].hear(got).text == "no JSON"
        assert got.headers["x-mrproxy-lane"] == "straight"


@NAMES
async def test_a_check_without_a_schema_is_refused(tmp_path: Path, name: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        got = await ask(caller, name)
        assert got.status == 400
        assert "there is no schema" in (DIALECTS[name].hear(got).error or "")
        assert not engine.turns


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "https://example.org/schema"}, {"pattern": 3}, {"type": 5}]
)
async def test_a_schema_that_is_none_is_refused(tmp_path: Path, schema: object) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await gateway.connect()
        for name in ("openai", "responses", "ollama"):
            got = await ask(caller, name, **wanted(name, schema))
            assert got.status == 400, name
            assert DIALECTS[name].hear(got).error
        assert not engine.turns
        records = await gateway.wait_records(3)
        assert {(record.status, record.usage_state) for record in records} == {(400, "absent")}


async def test_an_object_is_enough_where_an_object_was_asked_for(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        fields: dict[str, Any] = {"response_format": {"type": "json_object"}}
        caller = await gateway.connect()
        for text, status in (('{"a":1}', 200), ("[1]", 502), ("5", 502), ("", 502)):
            engine.behaviour = speaks(text)
            assert (await ask(caller, "openai", **fields)).status == status, text


async def test_a_response_that_is_not_what_was_asked_for_is_not_stored(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = speaks("no JSON")
        caller = await gateway.connect()
        got = await ask(caller, "responses", stream=True, **wanted("responses"))
        assert DIALECTS["responses"].hear(got, stream=True).error
        assert gateway.stages.responses.statistics().entries == 0


async def test_a_client_that_leaves_a_checked_stream_leaves_nothing_behind(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = hang(STREAM_HEAD, chunk(event("{")))
        caller = await gateway.connect()
        await caller.send(DIALECTS["openai"].ask("X-Mrproxy-Validate: 1", stream=True, **wanted("openai")))
        await caller.read_until(b'"{"')
        await caller.leave()
        record = await gateway.last_record()
        assert (record.code, record.usage_state, record.completion_tokens) == ("client_departed", "partial", 1)
