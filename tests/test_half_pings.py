"""A ping of which the client's socket takes a part only: whatever comes next, the framing of the answer holds."""

from pathlib import Path
from typing import Any

import pytest
import trio

from mrproxy.upstream.pump import Relay
from tests.fakes.behaviours import hang
from tests.fakes.caller import Caller
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import FakeEngine, Turn, run_engine
from tests.fakes.speaking import DIALECTS, speaks

pytestmark = pytest.mark.slow

NAMES = pytest.mark.parametrize("name", ["openai", "anthropic", "responses"])
# Counted from the end of what is sent, as the head's length varies: nothing, half a line of the head, its end, the
# chunk's size, the comment, its line end.
CUTS = pytest.mark.parametrize("cut", [10_000, 40, 15, 13, 6, 1])


class Narrow:
    """A socket's `send` that takes some bytes, and then none until the test says so."""

    def __init__(self, relay: Relay, cut: int) -> None:
        self._relay = relay
        self._send = relay._client_send
        self._cut = cut
        self._is_open = True
        relay._client_send = self

    def __call__(self, data: bytes) -> int:
        if not self._is_open:
            raise BlockingIOError
        self._is_open = False
        room = max(0, len(data) - self._cut)
        if not room:
            raise BlockingIOError
        return self._send(data[:room])

    def widen(self) -> None:
        self._relay._client_send = self._send
        self._relay.on_client_writable(trio.current_time())


async def half_pinged(gateway: Gateway, engines: list[FakeEngine], name: str, cut: int) -> tuple[Caller, Narrow, str]:
    """A caller whose first ping is stuck, and the name of the silent backend."""
    caller = await gateway.connect()
    await caller.send(DIALECTS[name].ask(stream=True))
    await wait_until(lambda: any(engine.turns for engine in engines))
    (engine,) = [engine for engine in engines if engine.turns]
    (relay,) = gateway.backend(engine.name).pump.relays
    assert isinstance(relay, Relay)
    narrow = Narrow(relay, cut)
    relay.check(relay.last_at + 20)
    assert relay.is_waiting
    return caller, narrow, engine.name


def settings(**more: Any) -> dict[str, Any]:
    """Pings come when the test looks, and not by themselves."""
    return {"ping_seconds": 15, **more}


@CUTS
@NAMES
async def test_a_retry_follows_the_whole_of_it(tmp_path: Path, name: str, cut: int) -> None:
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b") as b,
        run_gateway(tmp_path, a, b, **settings(retry_budget_percent=100)) as gateway,
    ):
        is_first = True

        async def behave(turn: Turn) -> None:
            nonlocal is_first
            was_first, is_first = is_first, False
            await (hang() if was_first else speaks("hello"))(turn)

        a.behaviour = b.behaviour = behave
        caller, _, used = await half_pinged(gateway, [a, b], name, cut)
        gateway.backend(used).withdraw("it was taken away")
        got = await caller.read_answer()
        heard = DIALECTS[name].hear(got, stream=True)
        assert (heard.text, heard.error, heard.pings) == ("hello", None, 1)
        assert got.raw.count(b"HTTP/1.1") == 1
        assert (await gateway.last_record()).attempts == 2


@CUTS
@NAMES
async def test_an_error_follows_the_whole_of_it(tmp_path: Path, name: str, cut: int) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **settings()) as gateway:
        engine.behaviour = hang()
        caller, _, used = await half_pinged(gateway, [engine], name, cut)
        gateway.backend(used).withdraw("it was taken away")
        got = await caller.read_answer()
        heard = DIALECTS[name].hear(got, stream=True)
        assert (heard.text, heard.pings) == ("", 1)
        assert heard.error
        assert await caller.read_to_end() == b""


@CUTS
@NAMES
async def test_the_answer_follows_the_whole_of_it(tmp_path: Path, name: str, cut: int) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **settings()) as gateway:
        goes_on = trio.Event()

        async def behave(turn: Turn) -> None:
            await goes_on.wait()
            await speaks("hello")(turn)

        engine.behaviour = behave
        caller, narrow, _ = await half_pinged(gateway, [engine], name, cut)
        goes_on.set()
        narrow.widen()
        got = await caller.read_answer()
        heard = DIALECTS[name].hear(got, stream=True)
        assert (heard.text, heard.error, heard.pings) == ("hello", None, 1)


async def test_a_client_has_its_time_to_take_a_ping_however_long_the_engine_has_been_silent(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **settings()) as gateway:
        engine.behaviour = hang()
        caller = await gateway.connect()
        await caller.send(DIALECTS["openai"].ask(stream=True))
        await wait_until(lambda: engine.turns)
        (relay,) = gateway.backend().pump.relays
        assert isinstance(relay, Relay)
        Narrow(relay, 5)
        pinged_at = relay.last_at + gateway.stages.settings.client_write_idle_seconds + 1
        relay._first_byte_seconds = 10_000
        relay.check(pinged_at)
        relay.check(pinged_at + 1)
        assert relay.is_waiting
        assert relay.outcome is None
        relay.check(pinged_at + gateway.stages.settings.client_write_idle_seconds + 1)
        assert relay.outcome is not None
        assert (await gateway.last_record()).code == "client_too_slow"
