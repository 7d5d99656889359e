"""The end of many requests at once: a bug in one of them is that one's. Their two ends: tests/front_door."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrproxy import stages as module
from mrproxy.canonical.exchange import Exchange
from mrproxy.canonical.request import Operation
from mrproxy.counters import Counters
from mrproxy.link.capture import CaptureWriter
from tests.fakes.express import ask, served_again, warmed
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.loop_engine import run_engine
from tests.test_captures import captured

pytestmark = pytest.mark.slow

NAMES = [b"first", b"second", b"third"]


def broken_for_the_second(works: Callable[..., Any]) -> Callable[..., Any]:
    def work(*arguments: Any) -> Any:
        for argument in arguments:
            if getattr(argument, "request_id", None) in (b"second", "second"):
                raise RuntimeError("a bug, for a test")
        return works(*arguments)

    return work


def end_together(gateway: Gateway) -> None:
    """Three requests, as in one batch of events."""
    stages = gateway.stages
    (caller,) = stages.identity.known.values()
    now = stages.poller.clock()
    for name in NAMES:
        exchange = Exchange(name, now, "openai", Operation.CHAT)
        exchange.status = 299
        exchange.capture = stages.open_capture(b"{}", caller)
        stages._ended.append((exchange, caller, "127.0.0.1", now))
    stages.flush()


@pytest.mark.parametrize(
    ("owner", "name", "recorded", "counted", "kept"),
    [
        (module, "make_record", 2, 2, 2),
        (Counters, "count_exchange", 3, 2, 3),
        (CaptureWriter, "append", 3, 3, 2),
    ],
)
async def test_a_bug_in_the_end_of_one_request_is_only_that_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, recorded: int, counted: int, kept: int
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        caller = await gateway.connect()
        await ask(caller)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken_for_the_second(getattr(owner, name)))
            end_together(gateway)
        ids = [record.request_id.encode() for record in gateway.records() if record.status == 299]
        assert ids == [each for each in NAMES if recorded == 3 or each != b"second"]
        assert gateway.stages.counters.requests["openai", "", "", 299] == counted
        assert len([bodies for bodies in captured(tmp_path) if bodies.status == 299]) == kept
        (said,) = gateway.log.events("unexpected error")
        assert (said["where"], said["kind"]) == ("record", "RuntimeError")
        gateway.expected_crashes = 1
        assert (await ask(caller)).status == 200


async def test_a_bug_at_the_end_of_a_batch_of_events_does_not_end_the_poller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        caller = await warmed(gateway)
        with monkeypatch.context() as patch:
            patch.setattr(module, "make_record", lambda *_: 1 / 0)
            assert (await ask(caller)).status == 200  # the express way: recorded when its batch is over
            await gateway.settled()
        gateway.expected_crashes = 1
        await served_again(gateway)
        assert (await ask(caller)).status == 200
