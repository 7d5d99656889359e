"""Access lines: what they say, what they leave out, and that blocks of them are made of whole lines."""

import itertools
import json
import re
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.telemetry.access import access_fields, access_lines, blocks
from tests.link.journal_examples import a_record, journal_records

MANY = 4096


@given(st.lists(journal_records, max_size=5))
def test_every_record_becomes_one_line_of_json_that_says_the_same(records):
    lines = access_lines(records, "control")
    assert len(lines) == len(records)
    for record, line in zip(records, lines, strict=True):
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        said = json.loads(line)
        assert (said["event"], said["component"], said["level"]) == ("request", "control", "info")
        assert (said["request_id"], said["worker"], said["status"]) == (record.request_id, record.worker, record.status)
        for name in record.__struct_fields__:
            value = getattr(record, name)
            if name == "started_utc":
                continue
            if isinstance(value, float):
                assert said.get(name, 0.0) == round(value, 6)
            else:
                assert said.get(name, type(value)() if value is not None else None) == value


@given(journal_records)
def test_a_terminal_is_told_the_same_fields(record):
    said = json.loads(access_lines([record], "control")[0])
    for name in ("at", "level", "component", "event"):
        del said[name]
    assert access_fields(record) == said


def test_empty_values_are_left_out_and_what_is_known_to_be_zero_is_not():
    record = a_record(code="", prompt_tokens=None, completion_tokens=0, first_byte_seconds=None, stream=False)
    said = json.loads(access_lines([record], "control")[0])
    assert said["completion_tokens"] == 0
    assert said.keys().isdisjoint({"code", "prompt_tokens", "first_byte_seconds", "stream"})


def test_seconds_are_said_to_the_microsecond():
    said = access_fields(a_record(total_seconds=0.12345678, first_byte_seconds=0.00000051, queue_seconds=1 / 3))
    assert (said["total_seconds"], said["first_byte_seconds"], said["queue_seconds"]) == (0.123457, 1e-06, 0.333333)


@given(st.floats(0, 4e9), st.floats(0, 1e5))
def test_the_time_of_a_line_is_when_its_request_ended_in_milliseconds(started_utc, total_seconds):
    record = a_record(started_utc=started_utc, total_seconds=total_seconds)
    at = json.loads(access_lines([record], "control")[0])["at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    assert abs(datetime.fromisoformat(at).timestamp() - (started_utc + total_seconds)) < 0.0011


@given(st.lists(st.integers(1, 3000).map(lambda size: b"x" * (size - 1) + b"\n")))
def test_blocks_are_whole_lines_in_order_and_as_long_as_they_may_be(lines):
    made = list(blocks(lines, MANY))
    assert b"".join(made) == b"".join(lines)
    assert all(block.endswith(b"\n") and len(block) <= MANY for block in made)
    for block, following in itertools.pairwise(made):
        assert len(block) + following.index(b"\n") + 1 > MANY


@given(st.lists(st.integers(1, 2 * MANY).map(lambda size: b"x" * (size - 1) + b"\n")))
def test_a_line_longer_than_a_block_goes_alone(lines):
    made = list(blocks(lines, MANY))
    assert b"".join(made) == b"".join(lines)
    assert all(len(block) <= MANY or block.count(b"\n") == 1 for block in made)
