"""What libraries say becomes a line of our log."""

import logging

from mrproxy.telemetry.libraries import heard
from tests.fakes.log import MemoryLog

LIBRARY = logging.getLogger("a.library")


def test_an_exception_is_one_line_without_its_traceback():
    log = MemoryLog()
    with heard(log):
        try:
            raise KeyError("x")
        except KeyError:
            LIBRARY.exception("Exception on request %s", "/users")
    ((level, event, fields),) = log.lines
    assert (level, event) == ("error", "unexpected error")
    assert (fields["where"], fields["said"]) == ("a.library", "Exception on request /users")
    assert (fields["kind"], fields["reason"]) == ("KeyError", "'x'")
    assert fields["line"] == fields["way"]
    assert fields["line"].startswith("test_libraries.py:")


def test_levels_are_kept_and_talk_is_not():
    log = MemoryLog()
    with heard(log):
        LIBRARY.info("running")
        LIBRARY.warning("%d left", 3)
        LIBRARY.error("none left")
    where = {"where": "a.library"}
    assert log.lines == [
        ("warning", "said by a library", {**where, "said": "3 left"}),
        ("error", "said by a library", {**where, "said": "none left"}),
    ]


def test_afterwards_nobody_listens():
    log = MemoryLog()
    with heard(log):
        pass
    LIBRARY.error("none left")
    assert log.lines == []
