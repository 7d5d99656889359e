"""What borders report: the line that it is from, and no more of the text than a line takes."""

from mrproxy.counters import Counters
from mrproxy.crashes import Crashes
from mrproxy.sockets import Source
from tests.fakes.log import MemoryLog


def break_down(text: str) -> Exception:
    try:
        raise KeyError(text)
    except KeyError as exc:
        return exc


def test_a_bug_is_counted_and_said_with_its_innermost_line():
    counters, log = Counters(), MemoryLog()
    error = break_down("x" * 1000)
    Crashes(counters, log).report("door", error)
    assert counters.crashes == 1
    (said,) = log.events("unexpected error")
    line = error.__traceback__.tb_lineno
    assert (said["where"], said["kind"], said["line"]) == ("door", "KeyError", f"test_crashes.py:{line}")
    assert len(said["reason"]) == 300


def test_an_error_that_was_never_raised_has_no_line():
    log = MemoryLog()
    Crashes(Counters(), log).report("door", OSError("no descriptors"))
    assert log.events("unexpected error")[0]["line"] == ""


def test_a_source_that_nobody_waits_for_is_only_reported():
    class Bell(Source):
        pass

    counters, log = Counters(), MemoryLog()
    Crashes(counters, log).end_source(Bell(), ValueError("broken"))
    assert counters.crashes == 1
    assert log.events("unexpected error")[0]["where"] == "Bell"
