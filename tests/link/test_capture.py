"""Shell. Captures on disk."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.capture import Body
from mrproxy.link.capture import (
    CapturedBodies,
    CaptureReader,
    CaptureWriter,
    as_text,
    capture_segments,
    captured_bodies,
)
from tests.link.journal_examples import a_record


def body_of(data: bytes, max_bytes: int = 1 << 16) -> Body:
    body = Body(max_bytes)
    body.receive_data(data)
    return body


def line(request_id: str = "one", answer: bytes = b"{}") -> CapturedBodies:
    return captured_bodies(a_record(request_id=request_id), body_of(b"{}"), body_of(answer))


def read_all(directory: Path) -> list[CapturedBodies]:
    return [each for path in capture_segments(directory) for each in CaptureReader(path)]


def test_what_is_written_is_read_in_order(tmp_path):
    writer = CaptureWriter(tmp_path, "w", 1 << 20)
    lines = [line(str(number), b"\xff" if number % 2 else "né\n".encode()) for number in range(5)]
    for each in lines:
        writer.append(each)
    writer.close()
    assert read_all(tmp_path) == lines
    assert (writer.written, writer.lost) == (5, 0)


def test_no_file_before_the_first_line_and_only_the_owner_reads_it(tmp_path):
    writer = CaptureWriter(tmp_path, "w", 1 << 20)
    assert list(tmp_path.iterdir()) == []
    writer.append(line())
    writer.close()
    (path,) = tmp_path.iterdir()
    assert path.name == "capture-w-000000000001.ndjson"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_segment_and_a_new_start_begin_the_next_one(tmp_path):
    writer = CaptureWriter(tmp_path, "w", 1)
    writer.append(line("one"))
    writer.append(line("two"))
    restarted = CaptureWriter(tmp_path, "w", 1)
    restarted.append(line("three"))
    assert [path.name[-8:] for path in capture_segments(tmp_path, "w")] == ["1.ndjson", "2.ndjson", "3.ndjson"]
    assert [each.request_id for each in read_all(tmp_path)] == ["one", "two", "three"]


def test_workers_have_segments_of_their_own(tmp_path):
    for name in ("w-2", "w"):
        writer = CaptureWriter(tmp_path, name, 1)
        writer.append(line(name))
    (tmp_path / "journal-w-000000000001.mrj").touch()
    assert [each.request_id for each in read_all(tmp_path)] == ["w", "w-2"]
    assert len(capture_segments(tmp_path, "w")) == 1
    assert capture_segments(tmp_path / "nowhere") == []


def test_a_full_disk_loses_the_line_counts_it_and_leaves_no_half_of_it(tmp_path, monkeypatch):
    writer = CaptureWriter(tmp_path, "w", 1 << 20)
    writer.append(line("one"))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        writer.append(line("two"))
    writer.append(line("three"))
    writer.close()
    assert [each.request_id for each in read_all(tmp_path)] == ["one", "three"]
    assert (writer.written, writer.lost) == (2, 1)


def test_a_disk_that_takes_nothing_back_gets_a_new_segment(tmp_path, monkeypatch):
    writer = CaptureWriter(tmp_path, "w", 1 << 20)
    writer.append(line("one"))

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        patch.setattr(os, "ftruncate", fail)
        writer.append(line("two"))
    writer.append(line("three"))
    writer.close()
    assert len(capture_segments(tmp_path)) == 2
    assert writer.lost == 1


def test_a_directory_that_cannot_be_written_loses_lines_only(tmp_path):
    writer = CaptureWriter(tmp_path / "nowhere", "w", 1 << 20)
    writer.append(line())
    assert (writer.written, writer.lost) == (0, 1)
    (tmp_path / "nowhere").mkdir()
    writer.append(line())
    assert (writer.written, writer.lost) == (1, 1)
    writer.close()


def test_a_reader_steps_over_what_is_no_line(tmp_path):
    writer = CaptureWriter(tmp_path, "w", 1 << 20)
    writer.append(line("one"))
    writer.close()
    (path,) = capture_segments(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\xff\n{}\n" + whole + whole[:20])
    reader = CaptureReader(path)
    assert [each.request_id for each in reader] == ["one", "one"]
    assert reader.damaged_lines == 3


def test_bytes_that_are_no_text_become_base64_and_say_so():
    assert as_text(body_of(b"\xff\x00")) == ("/wA=", True)
    assert as_text(body_of("né".encode())) == ("né", False)
    assert as_text(body_of("né".encode()[:2])) == ("bsM=", True)  # whole, so it is the caller's own half character


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_cut_through_a_character_leaves_text(text, max_bytes):
    shown, is_base64 = as_text(body_of(text.encode(), max_bytes))
    assert not is_base64
    assert text.startswith(shown)
    assert len(shown.encode()) > min(len(text.encode()), max_bytes) - 4


def test_a_line_says_what_the_journal_says_and_what_was_done_to_the_bodies():
    made = captured_bodies(a_record(), body_of(b"12345", 4), body_of(b"\xff"))
    record = a_record()
    assert (made.request_id, made.started_utc, made.status) == (record.request_id, record.started_utc, record.status)
    assert (made.key_id, made.user, made.model) == (record.key_id, record.user, record.model)
    assert (made.request, made.request_truncated, made.request_is_base64) == ("1234", True, False)
    assert (made.answer, made.answer_truncated, made.answer_is_base64) == ("/w==", False, True)


@pytest.mark.parametrize("name", ["capture-w-1.ndjson", "capture-w-000000000001.ndjson.gz", "spent.json"])
def test_other_files_are_no_segments(tmp_path, name):
    (tmp_path / name).touch()
    assert capture_segments(tmp_path) == []
