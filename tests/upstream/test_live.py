"""Pumps: who is live on a backend, and who looks whether it is late."""

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.errors import BackendError
from mrproxy.sockets import Poller
from mrproxy.upstream.answer import Answer, AnswerCache
from mrproxy.upstream.live import Pump

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@dataclass(eq=False)
class Exchanging:
    """Something live. `leaves`: it ends when it is looked at."""

    pump: Pump
    answer: Answer | None = None
    last_at: float = 0.0
    leaves: bool = False
    checked_at: list[float] = field(default_factory=list)

    def check(self, now: float) -> None:
        self.checked_at.append(now)
        if self.leaves:
            self.pump.relays.discard(self)

    def fail(self, error: BackendError) -> None:
        raise AssertionError


@pytest.fixture
def pump() -> Pump:
    poller = Poller(lambda source, error: None)
    poller.close()
    return Pump(poller, Settings(), Counters(), b"x-mrproxy-backend: a\r\n")


async def test_all_are_looked_at_four_times_a_second_even_while_some_end(pump: Pump, autojump_clock: MockClock) -> None:
    live = [Exchanging(pump, leaves=leaves) for leaves in (True, False, True)]
    pump.relays.update(live)
    times: list[float] = []
    start = trio.current_time()
    with trio.move_on_after(0.9):
        await pump.sweep(times.append)
    assert [round(now - start, 2) for now in times] == [0.25, 0.5, 0.75]
    assert [len(each.checked_at) for each in live] == [1, 3, 1]
    assert pump.relays == {live[1]}


async def test_only_an_answer_of_the_last_seconds_is_a_sign_of_life(pump: Pump, autojump_clock: MockClock) -> None:
    now = trio.current_time()
    said, _ = AnswerCache().find(HEAD)
    assert not pump.was_heard_of_lately()
    waiting, speaking = Exchanging(pump, last_at=now), Exchanging(pump, said, now)
    pump.relays.add(waiting)
    assert not pump.was_heard_of_lately()
    pump.relays.add(speaking)
    assert pump.was_heard_of_lately()
    await trio.sleep(6)
    assert not pump.was_heard_of_lately()
