"""Shell. The log: what it says, what it never says, and that it never blocks."""

import json
import os
import select
from collections.abc import Iterator

import pytest

from mrproxy.telemetry.log import MAX_LINE_BYTES, Log, open_log
from tests.link.journal_examples import a_record


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)
    os.close(reader)


def log_on(writer: int, **options: object) -> Log:
    return Log(writer, lambda: 1.5, "worker", **options)  # type: ignore[arg-type]


def test_a_line_on_a_pipe_is_one_json_object(pipe):
    log_on(pipe[1]).bind(worker="w1").info("started", pid=7, share=0.5, reason=None)
    assert json.loads(os.read(pipe[0], 9999)) == {
        "at": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "component": "worker",
        "event": "started",
        "worker": "w1",
        "pid": 7,
        "share": 0.5,
        "reason": None,
    }


def test_levels_below_the_threshold_are_silent(pipe):
    log = log_on(pipe[1], level="warning")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.at_level("error").warning("d")
    log.error("e")
    events = [json.loads(line)["event"] for line in os.read(pipe[0], 9999).splitlines()]
    assert events == ["c", "e"]


def test_secrets_are_withheld_even_from_careless_calls(pipe):
    generated = "mr_" + "x" * 43
    log_on(pipe[1]).info("oops", key="hush", prompt="hush", headers="hush", note=f"the key {generated} of sk-123456789")
    line = os.read(pipe[0], 9999).decode()
    assert "hush" not in line
    assert generated not in line
    assert "the key mr_[withheld] of sk-[withheld]" in line


def test_a_terminal_line_is_readable_and_carries_no_control_characters(pipe, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    log_on(pipe[1], is_terminal=True).warning("child ended", child="w1", reason="a\x1b[2Jb c", seconds=0.25, code=None)
    line = os.read(pipe[0], 9999).decode()
    assert line.endswith('warning worker  child ended  child=w1 reason="a\\x1b[2Jb c" seconds=0.25\n')


def test_a_terminal_has_colour_unless_it_says_no(pipe, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    log_on(pipe[1], is_terminal=True).error("x")
    assert b"\x1b[1;31merror" in os.read(pipe[0], 9999)


def test_a_stalled_reader_costs_lines_and_never_blocks(pipe):
    log = log_on(pipe[1])
    for _ in range(100):
        log.info("e", text="x" * 900, more="y" * 900)
    assert log.bind(a=1).losses.lines == log.losses.lines > 0


def test_a_reader_that_has_gone_is_survived():
    reader, writer = os.pipe()
    os.close(reader)
    log = log_on(writer)
    log.info("x")
    assert log.losses.lines == 1
    os.close(writer)


def test_no_line_is_longer_than_a_pipe_takes_at_once(pipe):
    log_on(pipe[1]).info("e", **{f"field{n}": "x" * 2000 for n in range(9)})
    line = os.read(pipe[0], 99999)
    assert len(line) <= MAX_LINE_BYTES
    assert json.loads(line)["cut"] is True


def test_open_log_asks_the_descriptor_what_it_is(pipe):
    assert open_log(pipe[1], lambda: 0.0, "x").is_terminal is False
    master, terminal = os.openpty()
    assert open_log(terminal, lambda: 0.0, "x").is_terminal is True
    os.close(master)
    os.close(terminal)


def test_access_lines_are_written_many_at_a_time_and_each_write_is_atomic(pipe):
    writes: list[bytes] = []
    log = log_on(pipe[1])
    for number in range(100):
        log.requests([a_record(request_id=f"{number}-{place}") for place in range(20)])
        while select.select([pipe[0]], [], [], 0)[0]:
            writes.append(os.read(pipe[0], 1 << 20))
    lines = [json.loads(line) for line in b"".join(writes).splitlines()]
    assert [line["request_id"] for line in lines] == [f"{n}-{place}" for n in range(100) for place in range(20)]
    assert log.losses.lines == 0


def test_no_write_of_access_lines_is_longer_than_a_pipe_takes_at_once(pipe, monkeypatch):
    sizes: list[int] = []
    monkeypatch.setattr(Log, "write_line", lambda self, line: sizes.append(len(line)))
    # Withholding makes a line longer, so it must come before lines are put together.
    log_on(pipe[1]).requests([a_record(model="mr_12345678", user="mr_12345678", code="x" * n) for n in range(300)])
    assert max(sizes) <= MAX_LINE_BYTES
    assert len(sizes) < 60


@pytest.mark.parametrize("before", ["", " ", "\n", "\x01", '"', "/", "é ", "\\"])
@pytest.mark.parametrize("mark", ["mr_", "sk-"])
def test_access_lines_withhold_what_looks_like_a_key(pipe, before, mark):
    log = log_on(pipe[1])
    log.requests([a_record(), a_record(model=f"{before}{mark}{'x' * 20}", user="desk-1")])
    first, second = (json.loads(line) for line in os.read(pipe[0], 9999).splitlines())
    assert first["model"] == a_record().model
    assert second["model"] == f"{before}{mark}[withheld]"
    assert second["user"] == "desk-1"


def test_access_lines_are_silent_above_level_info(pipe):
    log_on(pipe[1], level="warning").requests([a_record()])
    assert not select.select([pipe[0]], [], [], 0)[0]


def test_a_terminal_gets_an_access_line_for_each_request(pipe, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    log_on(pipe[1], is_terminal=True).requests([a_record(user="ada"), a_record(user="bob")])
    lines = os.read(pipe[0], 9999).decode().splitlines()
    assert ["user=ada" in lines[0], "user=bob" in lines[1]] == [True, True]
    assert all("  request  " in line for line in lines)
