"""The journal's batches: as good as one record after the other, in one write."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link.journal import Position, Writer, read_segment, segments
from mrproxy.link.records import JournalRecord, encode_frame
from tests.link.journal_examples import journal_records
from tests.link.test_journal import SEGMENT_BYTES, all_of, no_file_longer_than, numbered, shares_directory


@shares_directory
@given(batches=st.lists(st.lists(journal_records, max_size=4), max_size=5))
def test_a_batch_is_byte_for_byte_what_its_records_are_one_by_one(
    tmp_path: Path, batches: list[list[JournalRecord]]
) -> None:
    one_by_one = Writer(tmp_path, "w0", SEGMENT_BYTES)
    batched = Writer(tmp_path, "w1", SEGMENT_BYTES)
    mixed = Writer(tmp_path, "w2", SEGMENT_BYTES)
    for number, batch in enumerate(batches):
        for record in batch:
            one_by_one.append(record)
        batched.append_all(batch)
        if number % 2:
            mixed.append_all(batch)
        else:
            for record in batch:
                mixed.append(record)
    expected = [record for batch in batches for record in batch]
    for writer in (one_by_one, batched, mixed):
        assert writer.path.read_bytes() == one_by_one.path.read_bytes()
        assert all_of(writer.path) == expected
        assert (writer.records, writer.lost_records) == (len(expected), 0)
        assert writer.written_bytes == writer.position.offset == writer.path.stat().st_size
        writer.close()


def test_a_batch_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    writes: list[int] = []
    write = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr("mrproxy.link.journal.os.write", counted)
    writer.append_all(numbered(50))
    writer.close()
    assert writes == [writer.written_bytes]


def test_a_segment_filled_by_a_batch_is_followed_by_a_new_one(tmp_path: Path) -> None:
    size = len(encode_frame(numbered(1)[0]))
    writer = Writer(tmp_path, "w0", segment_bytes=3 * size)
    writer.append_all(numbered(2))
    assert writer.position == Position(1, 2 * size)
    writer.append_all(numbered(4, start=2))
    assert writer.position == Position(2, 0)
    writer.append_all(numbered(3, start=6))
    assert writer.position == Position(3, 0)
    writer.close()
    assert [all_of(segment.path) for segment in segments(tmp_path)] == [numbered(6), numbered(3, start=6), []]
    assert (writer.records, writer.written_bytes) == (9, 9 * size)


@pytest.mark.parametrize("room_records", [0, 1, 3, 4])
def test_a_disk_that_fills_up_in_a_batch_takes_what_fits_and_only_the_rest_is_lost(
    tmp_path: Path, room_records: int
) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    size = writer.append(numbered(1)[0])
    with no_file_longer_than((1 + room_records) * size + size // 2):
        writer.append_all(numbered(5, start=1))
    assert writer.lost_records == 5 - room_records
    writer.append_all(numbered(2, start=6))
    writer.close()
    reader = read_segment(writer.path)
    taken = [record.request_id for _, record in reader]
    assert taken == [f"req-{number:04}" for number in (*range(1 + room_records), 6, 7)]
    assert (reader.torn, reader.damaged_records) == (False, 0)
    assert (writer.records, writer.written_bytes) == (3 + room_records, writer.path.stat().st_size)


@pytest.mark.parametrize("can_truncate", [True, False])
@pytest.mark.parametrize("half_bytes", [0, 40])
def test_what_was_written_whole_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half_bytes: int, can_truncate: bool
) -> None:
    """A reader may have taken it between the short write and its repair."""
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    size = len(encode_frame(numbered(1)[0]))
    write = os.write

    def refuse(fd: int, length: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        lengths = iter([2 * size + half_bytes])
        patch.setattr(os, "write", lambda fd, data: write(fd, data[: next(lengths, None)]))
        if not can_truncate:
            patch.setattr(os, "ftruncate", refuse)
        writer.append_all(numbered(5))
    writer.append_all(numbered(2, start=5))
    writer.close()
    assert [record for segment in segments(tmp_path) for record in all_of(segment.path)] == numbered(7)
    assert (writer.records, writer.lost_records, writer.written_bytes) == (7, 0, 7 * size)


def test_a_batch_survives_a_segment_that_cannot_be_repaired(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    writer.append_all(numbered(2))
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._fd)
    os.close(full)
    writer.append_all(numbered(3, start=2))
    assert writer.position.sequence == 2
    assert all_of(writer.path) == numbered(3, start=2)
    assert (writer.records, writer.lost_records) == (5, 0)
    writer.close()


def test_a_batch_that_comes_after_the_end_goes_to_a_new_segment(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    writer.close()
    writer.append_all(numbered(3))
    writer.close()
    assert all_of(writer.path) == numbered(3)
    assert writer.lost_records == 0


def test_a_missing_directory_loses_the_whole_batch_and_counts_it(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "journal", "w0", SEGMENT_BYTES)
    writer.close()
    writer.path.unlink()
    (tmp_path / "journal").rmdir()
    writer.append_all(numbered(3))
    assert (writer.records, writer.written_bytes, writer.lost_records) == (0, 0, 3)


def test_an_empty_batch_changes_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    writer.append_all([])
    writer.close()
    assert (writer.position, writer.records, writer.lost_records) == (Position(1, 0), 0, 0)
