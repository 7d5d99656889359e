"""Names, order, and the life of the file that is being written."""

import errno
import os
from pathlib import Path

import pytest

from mrproxy.link.segments import Appender, Segment, Series, is_being_written

NOTES = Series("notes", ".txt")


class Notes(Appender):
    """The least an appender does."""

    def __init__(self, directory: Path, worker: str = "w", segment_bytes: int = 1 << 20) -> None:
        super().__init__(NOTES, directory, worker, segment_bytes)

    def write(self, text: str) -> None:
        self._offset += os.write(self._fd, text.encode())


def test_a_name_is_found_again(tmp_path):
    (tmp_path / NOTES.name_of("w-1.x", 7)).touch()
    assert NOTES.segments(tmp_path) == [Segment("w-1.x", 7, tmp_path / "notes-w-1.x-000000000007.txt")]


def test_more_digits_than_twelve_still_sort_by_age(tmp_path):
    for sequence in (10**12, 10**12 - 1):
        (tmp_path / NOTES.name_of("w", sequence)).touch()
    assert [segment.sequence for segment in NOTES.segments(tmp_path)] == [10**12 - 1, 10**12]


@pytest.mark.parametrize(
    "name", ["notes-w-1.txt", "notes-w-000000000001.txt~", "notes-w-000000000001xtxt", "note-w-000000000001.txt", "x"]
)
def test_other_files_are_no_segments(tmp_path, name):
    (tmp_path / name).touch()
    assert NOTES.segments(tmp_path) == []


def test_two_series_share_a_directory(tmp_path):
    other = Series("other", ".txt")
    (tmp_path / NOTES.name_of("w", 1)).touch()
    (tmp_path / other.name_of("w", 2)).touch()
    assert [segment.sequence for segment in NOTES.segments(tmp_path)] == [1]
    assert [segment.sequence for segment in other.segments(tmp_path, "w")] == [2]
    assert other.segments(tmp_path, "v") == other.segments(tmp_path / "nowhere") == []


@pytest.mark.parametrize("worker", ["", "a/b", "w 0", "ä"])
def test_a_worker_whose_files_would_not_be_found_is_refused(tmp_path, worker):
    with pytest.raises(ValueError, match="worker's name"):
        Notes(tmp_path, worker)


def test_each_appender_begins_after_what_is_there_and_nothing_before_it_has_to(tmp_path):
    for expected in (1, 2):
        notes = Notes(tmp_path)
        assert len(NOTES.segments(tmp_path)) == expected - 1
        notes._begin_segment()
        assert notes.path.name == NOTES.name_of("w", expected)
        notes.close()
        notes.close()
    assert notes.path.stat().st_mode & 0o777 == 0o600


def test_a_segment_that_cannot_begin_leaves_the_old_one_open(tmp_path):
    notes = Notes(tmp_path)
    notes._begin_segment()
    (tmp_path / NOTES.name_of("w", 2)).mkdir()
    assert not notes._try_begin_segment()
    notes.write("still here")
    notes.close()
    assert notes.path.read_text() == "still here"


def test_half_a_piece_is_cut_off_again(tmp_path):
    notes = Notes(tmp_path)
    assert not notes._take_back()
    notes._begin_segment()
    notes.write("whole")
    os.write(notes._fd, b"ha")
    assert notes._take_back()
    notes.close()
    assert notes.path.read_text() == "whole"


def test_only_what_a_living_appender_has_open_is_being_written(tmp_path):
    notes = Notes(tmp_path)
    assert not is_being_written(tmp_path / "nowhere")
    notes._begin_segment()
    first = notes.path
    assert is_being_written(first)
    notes._begin_segment()
    assert [is_being_written(path) for path in (first, notes.path)] == [False, True]
    notes.close()
    assert not is_being_written(notes.path)


def test_a_file_system_without_locks_is_written_and_taken_for_final(tmp_path, monkeypatch):
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    notes = Notes(tmp_path)
    notes._begin_segment()
    notes.write("text")
    assert not is_being_written(notes.path)
    notes.close()
