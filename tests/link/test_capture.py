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
    CaptureTail,
    CaptureWriter,
    as_text,
    believable,
    capture_segments,
    captured_bodies,
    is_finished,
    remove_older,
    remove_taken,
)
from mrproxy.link.journal import Position
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


MANY = (1000, 1 << 20)


def ids(found: list[CapturedBodies]) -> list[str]:
    return [each.request_id for each in found]


def sizes(directory: Path) -> list[tuple[str, bool]]:
    return [(path.name[-8:-7], path.stat().st_size > 0) for path in capture_segments(directory)]


def test_a_tail_takes_what_is_whole_and_goes_on_where_it_stopped(tmp_path):
    writer = CaptureWriter(tmp_path, "w", 1 << 20)
    tail = CaptureTail(tmp_path)
    assert tail.poll(*MANY) == []
    for name in ("one", "two"):
        writer.append(line(name))
    assert ids(tail.poll(*MANY)) == ["one", "two"]
    with writer.path.open("ab") as file:
        file.write(b'{"request_id": "half')
    assert tail.poll(*MANY) == []
    assert (tail.positions["w"].sequence, tail.damaged_lines) == (1, 0)


def test_what_a_poll_takes_is_bounded_by_lines_and_by_bytes(tmp_path):
    writer = CaptureWriter(tmp_path, "w", 1)
    for number in range(6):
        writer.append(line(str(number)))
    tail = CaptureTail(tmp_path)
    assert [ids(tail.poll(2, 1 << 20)), ids(tail.poll(100, 1)), ids(tail.poll(*MANY))] == [
        ["0", "1"],
        ["2"],
        ["3", "4", "5"],
    ]


def test_half_a_line_of_a_dead_writer_is_counted_once_and_what_follows_is_taken(tmp_path):
    dead = CaptureWriter(tmp_path, "w", 1 << 20)
    dead.append(line("one"))
    os.write(dead._fd, b'{"request_id": "ha')
    living = CaptureWriter(tmp_path, "w", 1 << 20)
    living.append(line("two"))
    tail = CaptureTail(tmp_path)
    assert ids(tail.poll(*MANY)) == ["one"]  # it may still go on: who comes behind it waits
    dead.close()
    assert ids(tail.poll(*MANY)) == ["two"]
    assert tail.damaged_lines == 1
    assert tail.poll(*MANY) == []
    assert tail.damaged_lines == 1


def test_a_segment_that_is_taken_over_goes_and_the_newest_leaves_its_number(tmp_path):
    writer = CaptureWriter(tmp_path, "w", 1)
    for number in range(3):
        writer.append(line(str(number)))
    tail = CaptureTail(tmp_path)
    assert len(tail.poll(*MANY)) == 3
    assert remove_taken(tmp_path, tail.positions) == 3
    assert sizes(tmp_path) == [("3", False)]
    assert remove_taken(tmp_path, tail.positions) == 0
    again = CaptureWriter(tmp_path, "w", 1 << 20)
    again.append(line("3"))
    assert ids(tail.poll(*MANY)) == ["3"]
    assert remove_taken(tmp_path, tail.positions) == 0
    assert sizes(tmp_path) == [("4", True)], "it is being written"
    again.append(line("4"))
    again.close()
    assert ids(tail.poll(*MANY)) == ["4"]
    assert believable(tmp_path, tail.positions) == tail.positions
    assert remove_taken(tmp_path, tail.positions) == 1
    assert believable(tmp_path, tail.positions) == tail.positions


def test_a_segment_that_was_only_just_made_is_not_taken_for_finished(tmp_path):
    (tmp_path / "capture-w-000000000001.ndjson").touch()
    tail = CaptureTail(tmp_path)
    assert tail.poll(*MANY) == []
    assert remove_taken(tmp_path, tail.positions) == 0
    assert tail.positions == {"w": Position(1, 0)}


def test_positions_beyond_what_is_there_are_not_believed(tmp_path):
    assert believable(tmp_path, {"w": Position(7, 0)}) == {"w": Position(0, 0)}
    writer = CaptureWriter(tmp_path, "w", 1 << 20)
    writer.append(line())
    size = writer.path.stat().st_size
    for position in (Position(0, 0), Position(1, size), Position(2, 0)):
        assert believable(tmp_path, {"w": position}) == {"w": position}
    for position in (Position(1, size + 1), Position(2, 1), Position(3, 0)):
        assert believable(tmp_path, {"w": position}) == {"w": Position(0, 0)}


def test_what_is_old_goes_unless_somebody_writes_it(tmp_path):
    writer = CaptureWriter(tmp_path, "w", 1)
    for number in range(2):
        writer.append(line(str(number)))
    living = CaptureWriter(tmp_path, "w2", 1 << 20)
    living.append(line())
    newest = max(path.stat().st_mtime for path in capture_segments(tmp_path))
    assert remove_older(tmp_path, newest - 1000) == 0
    assert remove_older(tmp_path, newest + 1) == 2
    assert sizes(tmp_path) == [("2", False), ("1", True)]


def test_without_locks_nothing_is_called_finished(tmp_path, monkeypatch):
    def no_locks(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    path = tmp_path / "x"
    path.touch()
    assert is_finished(path)
    assert not is_finished(tmp_path / "nowhere")
    monkeypatch.setattr("mrproxy.link.capture.fcntl.flock", no_locks)
    assert not is_finished(path)
