"""What is said of trouble, and how long it is waited for."""

import pytest
import trio

from mrproxy.storage.failures import DatabaseCorrupt, DatabaseFull, DatabaseUnavailable
from mrproxy.storage.outage import Outage, kind_of, reason_of, sweep_for_ever
from tests.fakes.log import MemoryLog


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (DatabaseFull("x"), "full"),
        (DatabaseCorrupt("x"), "corrupt"),
        (DatabaseUnavailable("x"), "unavailable"),
        (trio.TooSlowError(), "unavailable"),
        (OSError(5, "x"), "failing"),
    ],
)
def test_strangers_learn_one_word(failure, word):
    assert kind_of(failure) == word


def test_each_trouble_is_said_once_and_its_end_too():
    log = MemoryLog()
    outage = Outage(log, "it fails", "it works again")
    outage.succeed()
    for failure in (DatabaseUnavailable("gone\nSELECT secret"), DatabaseUnavailable("still"), DatabaseFull("no room")):
        outage.fail(failure)
    for _ in range(2):
        outage.succeed()
    assert [fields["reason"] for fields in log.events("it fails")] == ["gone", "no room"]
    assert log.events("it works again") == [{"after": "full"}]


def test_the_wait_doubles_up_to_its_bound_and_begins_anew():
    outage = Outage(MemoryLog(), "it fails")
    waits = []
    for _ in range(7):
        outage.fail(OSError(5, "x"))
        waits.append(outage.delay_seconds)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    outage.succeed()
    assert outage.delay_seconds == 0


def test_a_reason_is_one_line_even_where_there_is_none():
    assert reason_of(OSError()) == ""
    assert reason_of(trio.TooSlowError()) == "no answer within 30 s"


async def test_a_sweep_that_fails_is_said_once_and_comes_again(autojump_clock):
    log, swept_at = MemoryLog(), []

    async def sweep() -> None:
        swept_at.append(trio.current_time())
        if len(swept_at) in (1, 2, 4):
            raise DatabaseUnavailable("gone")

    began_at = trio.current_time()
    with trio.move_on_after(45):
        await sweep_for_ever(sweep, Outage(log, "it fails"), 10.0)
    assert swept_at == [began_at + seconds for seconds in (10, 20, 30, 40)]
    assert len(log.events("it fails")) == 2
