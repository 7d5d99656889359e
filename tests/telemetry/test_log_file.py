"""The log in files: bounded, whole lines, and nothing that fails reaches whoever logs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.telemetry.log import Log
from mrproxy.telemetry.log_file import LogFile, LogFilter, read_log

LINE = b'{"at":"2026-01-01T00:00:0%d.000Z","level":"%b","component":"%b","event":"e%d"}\n'


def written(directory, *lines, component="control", max_bytes=1 << 20):
    file = LogFile(directory, component, max_bytes)
    for line in lines:
        file.append(line)
    file.close()
    return file


def test_what_is_logged_can_be_asked_for(tmp_path):
    log = Log(2, lambda: 1.5, "control", level="info").filed(tmp_path, 1 << 20)
    log.debug("too small")
    log.info("started", pid=7)
    (entry,) = read_log(tmp_path, LogFilter(), 10)
    assert (entry["event"], entry["pid"], entry["component"]) == ("started", 7, "control")
    assert (tmp_path / "control.jsonl").stat().st_mode & 0o777 == 0o600


def test_all_components_come_together_in_the_order_of_time(tmp_path):
    written(tmp_path, LINE % (3, b"info", b"control", 3), LINE % (5, b"info", b"control", 5))
    written(tmp_path, LINE % (4, b"info", b"worker w1", 4), component="worker w1")
    assert [entry["event"] for entry in read_log(tmp_path, LogFilter(), 10)] == ["e3", "e4", "e5"]
    assert [entry["event"] for entry in read_log(tmp_path, LogFilter(), 2)] == ["e4", "e5"]


@pytest.mark.parametrize(
    ("wanted", "events"),
    [
        (LogFilter(level="warning"), ["e2"]),
        (LogFilter(component="worker w1"), ["e1"]),
        (LogFilter(since="2026-01-01T00:00:02"), ["e2", "e3"]),
        (LogFilter(text="E3"), ["e3"]),
        (LogFilter(text="nowhere"), []),
    ],
)
def test_filters(tmp_path, wanted, events):
    written(
        tmp_path,
        LINE % (1, b"info", b"worker w1", 1),
        LINE % (2, b"error", b"control", 2),
        LINE % (3, b"info", b"control", 3),
    )
    assert [entry["event"] for entry in read_log(tmp_path, wanted, 10)] == events


def test_the_files_stay_within_their_bound_and_the_newest_lines_stay(tmp_path):
    lines = [LINE % (number % 10, b"info", b"control", number) for number in range(1000)]
    written(tmp_path, *lines, max_bytes=4000)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) <= 4000
    assert read_log(tmp_path, LogFilter(text='"e999"'), 10) != []


def test_a_restart_goes_on_in_the_same_file(tmp_path):
    written(tmp_path, LINE % (1, b"info", b"control", 1))
    written(tmp_path, LINE % (2, b"info", b"control", 2))
    assert len(read_log(tmp_path, LogFilter(), 10)) == 2


def test_a_bound_of_nothing_writes_nothing(tmp_path):
    written(tmp_path, b"{}\n", max_bytes=0)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_costs_lines_only(tmp_path):
    (tmp_path / "file").write_text("")
    file = written(tmp_path / "file", b"{}\n", b"{}\n")
    assert file.lost_lines == 2


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_lines_that_are_none_are_stepped_over(tmp_path_factory, rubbish):
    directory = tmp_path_factory.mktemp("logs")
    good = LINE % (1, b"info", b"control", 1)
    (directory / "control.jsonl").write_bytes(b"\n".join(rubbish) + b"\n" + good)
    entries = read_log(directory, LogFilter(), 100)
    assert json.loads(good) in entries
