"""Bodies through a whole worker: kept as the caller sent and got them, on either way, and only when that is on."""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mrproxy.config import Backend, Key
from mrproxy.link.capture import CapturedBodies, CaptureReader, capture_segments, is_finished
from mrproxy.link.snapshot import read, write
from tests.fakes.behaviours import (
    DONE,
    NDJSON_HEAD,
    STREAM_HEAD,
    answer,
    answer_status,
    answer_stream,
    chat_answer,
    chunk,
    event,
    hang,
    last_line,
    line,
    reset,
    sized,
    usage_event,
)
from tests.fakes.caller import KEY, chat, request
from tests.fakes.express import Watched, ask, warmed, watched_express
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import run_engine

pytestmark = pytest.mark.slow

BACKEND_KEY = "key-of-the-backend"


@pytest.fixture
def express() -> Iterator[Watched]:
    with watched_express() as watched:
        yield watched


def captured(directory: Path) -> list[CapturedBodies]:
    return [each for path in capture_segments(directory / "journal") for each in CaptureReader(path)]


async def last_captured(gateway: Gateway, directory: Path, count: int) -> CapturedBodies:
    await gateway.wait_records(count)
    found = captured(directory)
    assert len(found) == count
    return found[-1]


def told_by_both(record: object, bodies: CapturedBodies) -> bool:
    names = ("request_id", "started_utc", "key_id", "user", "model", "status")
    return all(getattr(record, name) == getattr(bodies, name) for name in names)


async def test_a_json_answer_is_captured_on_either_way(tmp_path: Path, express: Watched) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.behaviour = answer(sized(chat_answer("né")))
        caller = await gateway.connect()
        for number in (1, 2):
            got = await ask(caller)
            bodies = await last_captured(gateway, tmp_path, number)
            assert (bodies.request, bodies.answer) == (chat().decode(), got.payload.decode())
            assert not any((bodies.request_truncated, bodies.answer_truncated, bodies.answer_is_base64))
            assert told_by_both(gateway.records()[-1], bodies)
        assert express.taken == 1


async def test_a_stream_is_captured_without_framing_and_without_what_was_cut_out(
    tmp_path: Path, express: Watched
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.behaviour = answer_stream("a", "b", "c")
        caller = await gateway.connect()
        for number in (1, 2):
            got = await ask(caller, stream=True)
            assert got.payload == event("a") + event("b") + event("c") + DONE
            bodies = await last_captured(gateway, tmp_path, number)
            assert bodies.answer == got.payload.decode()
            assert bodies.request == chat(stream=True).decode()  # not what was added for the backend
            record = gateway.records()[-1]
            assert (record.usage_state, record.prompt_tokens, record.completion_tokens) == ("exact", 5, 2)
        assert express.taken == 1


async def test_an_ollama_stream_is_captured(tmp_path: Path) -> None:
    async with (
        run_engine(kind="ollama") as engine,
        run_gateway(tmp_path, engine, capture_bodies=True) as gateway,
    ):
        engine.behaviour = answer(NDJSON_HEAD, chunk(line("a")), chunk(line("b") + last_line()), b"0\r\n\r\n")
        caller = await gateway.connect()
        await caller.send(request("/api/chat", chat()))
        got = await caller.read_answer()
        bodies = await last_captured(gateway, tmp_path, 1)
        assert bodies.answer == got.payload.decode() == (line("a") + line("b") + last_line()).decode()


@pytest.mark.parametrize("stream", [False, True])
async def test_both_bodies_are_cut_at_the_limit_and_the_caller_gets_everything(tmp_path: Path, *, stream: bool) -> None:
    async with (
        run_engine() as engine,
        run_gateway(tmp_path, engine, capture_bodies=True, capture_max_bytes=20) as gateway,
    ):
        texts = ["x" * 300] * 5
        engine.behaviour = answer_stream(*texts) if stream else answer(sized(chat_answer("x" * 100_000)))
        caller = await gateway.connect()
        got = await ask(caller, stream=stream)
        whole = b"".join(map(event, texts)) + DONE if stream else chat_answer("x" * 100_000)
        assert got.payload == whole
        bodies = await last_captured(gateway, tmp_path, 1)
        assert (bodies.request, bodies.request_truncated) == (chat(stream=stream)[:20].decode(), True)
        assert (bodies.answer, bodies.answer_truncated) == (whole[:20].decode(), True)


async def test_a_refusal_is_captured_as_it_was_said(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.script(answer_status(400))
        caller = await gateway.connect()
        for number, body in enumerate((chat(), b"{no json", b"\xff\x00", chat("unknown")), 1):
            await caller.send(request(body=body))
            got = await caller.read_answer()
            assert got.status in (400, 404)
            bodies = await last_captured(gateway, tmp_path, number)
            assert (bodies.status, bodies.answer) == (got.status, got.payload.decode())
            assert bodies.request_is_base64 == (body[:1] == b"\xff")


async def test_after_a_retry_the_answer_is_captured_once(tmp_path: Path) -> None:
    async with (
        run_engine() as first,
        run_engine("engine-b") as second,
        run_gateway(tmp_path, first, second, capture_bodies=True, retry_budget_percent=100) as gateway,
    ):
        caller = await gateway.connect()
        first.behaviour = second.behaviour = answer(sized(chat_answer()))
        first.script(answer_status(503))
        second.script(answer_status(503))
        got = await ask(caller)
        bodies = await last_captured(gateway, tmp_path, 1)
        assert (bodies.status, bodies.answer) == (got.status, got.payload.decode())


async def test_a_stream_that_breaks_is_captured_with_the_error_that_ended_it(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.script(reset(STREAM_HEAD, chunk(event("a"))))
        caller = await gateway.connect()
        got = await ask(caller, stream=True)
        assert got.payload.startswith(event("a") + b"data: ")  # a whole event came before: no empty lines between
        assert (await last_captured(gateway, tmp_path, 1)).answer == got.payload.decode()


async def test_what_a_client_got_before_it_left_is_captured(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.script(hang(STREAM_HEAD, chunk(event("a"))))
        caller = await gateway.connect()
        await caller.ask(stream=True)
        await caller.read_until(event("a"))
        await caller.leave()
        assert (await last_captured(gateway, tmp_path, 1)).answer == event("a").decode()


async def test_a_usage_event_that_was_asked_for_is_captured(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.script(answer_stream("a"))
        caller = await gateway.connect()
        await caller.ask(stream=True, stream_options={"include_usage": True})
        await caller.read_answer()
        expected = event("a") + usage_event() + DONE
        assert (await last_captured(gateway, tmp_path, 1)).answer == expected.decode()


async def test_no_key_is_ever_captured(tmp_path: Path) -> None:
    async with run_engine() as engine:
        backend = Backend(kind="vllm", url=engine.url, name="engine-a", max_concurrent=4, api_key=BACKEND_KEY)
        async with run_gateway(tmp_path, backends=(backend,), capture_bodies=True) as gateway:
            caller = await gateway.connect()
            for _ in range(2):
                await ask(caller)
            engine.script(answer_status(401))
            await ask(caller)
            assert engine.turns[0].request.headers["authorization"] == f"Bearer {BACKEND_KEY}"
            await gateway.wait_records(3)
            (path,) = capture_segments(tmp_path / "journal")
            assert KEY.encode() not in path.read_bytes()
            assert BACKEND_KEY.encode() not in path.read_bytes()
            assert len(captured(tmp_path)) == 3


async def test_nothing_is_written_when_it_is_off(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        await ask(caller)
        await gateway.wait_records(2)
        assert not any(path.name.startswith("capture") for path in (tmp_path / "journal").iterdir())
        assert "captures_total" not in json.dumps(gateway.worker._commands.counters())


async def test_a_reload_turns_it_on_and_off(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        path = gateway.worker._follower.path
        snapshot = read(path)
        for is_on in (True, False):
            settings = replace(snapshot.settings, capture_bodies=is_on)
            write(path, msgspec.structs.replace(snapshot, settings=settings))
            assert await gateway.worker._reload() == ""
            await ask(caller)
        await gateway.wait_records(3)
        assert len(captured(tmp_path)) == 1


async def test_a_groups_policy_captures_its_members_and_nobody_else(tmp_path: Path, express: Watched) -> None:
    guest = Key(name="guest", key="mr_guest", user=None)
    async with run_engine() as engine, run_gateway(tmp_path, engine, keys=(guest,)) as gateway:
        caller, other = await warmed(gateway), await gateway.connect()
        path = gateway.worker._follower.path
        snapshot = read(path)
        groups = tuple(msgspec.structs.replace(each, captures_bodies=each.name == "staff") for each in snapshot.groups)
        changed = msgspec.structs.replace(snapshot, groups=groups, generation=snapshot.generation + 1)
        write(path, changed)
        assert await gateway.worker._reload() == ""
        for stream in (False, True, False):
            await ask(caller, stream=stream)
            await other.send(request(body=chat(stream=stream), key="mr_guest"))
            await other.read_answer()
        await gateway.wait_records(7)
        assert [bodies.user for bodies in captured(tmp_path)] == ["ada"] * 3
        assert express.taken >= 1


async def test_what_the_disk_did_not_take_is_said_and_a_segment_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrproxy.upkeep._DISK_SECONDS", 0.01)
    monkeypatch.setattr("mrproxy.upkeep._CAPTURE_SEGMENT_CHECKS", 1)
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        caller = await warmed(gateway)
        gateway.worker._captures.lost += 2
        gateway.worker._stages.journal.lost_records += 1
        await wait_until(lambda: gateway.log.events(LOST))
        assert gateway.log.events(LOST) == [{"lost_records": 1, "lost_captures": 2}]
        await wait_until(lambda: is_finished(capture_segments(tmp_path / "journal")[0]))
        await ask(caller)
        await gateway.wait_records(2)
        assert len(capture_segments(tmp_path / "journal")) == 2
        gateway.worker._stages.journal.lost_records -= 1


LOST = "the disk does not take everything"


async def test_a_full_disk_loses_the_capture_and_counts_it(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        caller = await warmed(gateway)
        open_file = os.open

        def full(path: object, *arguments: object, **named: object) -> int:
            if "capture-" in str(path):
                raise OSError(errno.ENOSPC, "no space left on device")
            return open_file(path, *arguments, **named)  # type: ignore[arg-type]

        gateway.worker._captures.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", full)
            assert (await ask(caller)).status == 200
            await gateway.wait_records(2)
        assert len(captured(tmp_path)) == 1
        counters = gateway.worker._commands.counters()["counters"]
        assert isinstance(counters, dict)
        assert (counters["captures_total"], counters["captures_lost_total"]) == (1, 1)
