"""The journal's files: what was appended is read, whatever happened to the tail, the disk or the process."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrproxy.link.journal import Position, Tail, Writer, is_torn, read_segment, segments
from mrproxy.link.records import JournalRecord, encode_frame
from mrproxy.link.segments import is_being_written
from tests.link.journal_examples import a_record, journal_records

SEGMENT_BYTES = 1 << 20
# The file each example uses is written anew, so sharing the directory between examples is harmless.
shares_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)


def numbered(count: int, start: int = 0) -> list[JournalRecord]:
    return [a_record(request_id=f"req-{number:04}") for number in range(start, start + count)]


def all_of(path: Path) -> list[JournalRecord]:
    return [record for _, record in read_segment(path)]


@contextmanager
def no_file_longer_than(size_bytes: int) -> Iterator[None]:
    """The kernel's own full disk: a short write first, then EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@shares_directory
@given(records=st.lists(journal_records, max_size=8))
def test_records_are_read_as_written_byte_for_byte(tmp_path: Path, records: list[JournalRecord]) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    sizes = [writer.append(record) for record in records]
    writer.close()
    reader = read_segment(writer.path)
    assert [record for _, record in reader] == records
    assert not reader.torn
    assert writer.path.read_bytes() == b"".join(encode_frame(record) for record in records)
    assert writer.position.offset == reader.offset == sum(sizes)


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    for record in numbered(5):
        writer.append(record)
    offset_after_two = [offset for offset, _ in read_segment(writer.path)][1]
    assert [record for _, record in read_segment(writer.path, offset_after_two)] == numbered(3, start=2)
    writer.close()


@shares_directory
@given(records=st.lists(journal_records, min_size=1, max_size=5), data=st.data())
def test_a_truncated_tail_loses_only_the_torn_record_and_is_reported(
    tmp_path: Path, records: list[JournalRecord], data: st.DataObject
) -> None:
    path = tmp_path / "segment"
    frames = [encode_frame(record) for record in records]
    cut = data.draw(st.integers(1, len(frames[-1]) - 1))
    path.write_bytes(b"".join(frames)[:-cut])
    reader = read_segment(path)
    assert [record for _, record in reader] == records[:-1]
    assert reader.torn
    assert reader.offset == sum(map(len, frames[:-1]))


@shares_directory
@given(records=st.lists(journal_records, min_size=1, max_size=5), data=st.data())
def test_a_flipped_bit_in_the_last_record_loses_only_that_and_is_reported(
    tmp_path: Path, records: list[JournalRecord], data: st.DataObject
) -> None:
    path = tmp_path / "segment"
    frames = [encode_frame(record) for record in records]
    content = bytearray(b"".join(frames))
    bit = data.draw(st.integers((len(content) - len(frames[-1])) * 8, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    reader = read_segment(path)
    assert [record for _, record in reader] == records[:-1]
    assert reader.torn


@shares_directory
@given(position=st.integers(4, 10_000), count=st.integers(2, 5))
def test_a_damaged_record_in_the_middle_is_stepped_over_and_counted(tmp_path: Path, position: int, count: int) -> None:
    path = tmp_path / "segment"
    frames = [encode_frame(record) for record in numbered(count)]
    content = bytearray(b"".join(frames))
    content[4 + (position - 4) % (len(frames[0]) - 4)] ^= 0xFF
    path.write_bytes(content)
    reader = read_segment(path)
    assert [record for _, record in reader] == numbered(count - 1, start=1)
    assert reader.damaged_records == 1
    assert not reader.torn


@shares_directory
@given(content=st.binary(max_size=300))
def test_reading_any_bytes_ends_without_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "segment"
    path.write_bytes(content)
    reader = read_segment(path)
    assert list(reader) == []
    assert reader.torn == bool(content)
    assert list(reader) == []


def test_records_that_straddle_the_readers_blocks_are_whole(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", 1 << 30)
    records = [a_record(model="m" * 400, request_id=f"req-{number}") for number in range(3000)]
    for record in records:
        writer.append(record)
    writer.close()
    assert writer.position.offset > 1 << 20
    assert all_of(writer.path) == records


def test_a_full_segment_is_followed_by_a_new_one(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", segment_bytes=300)
    for record in numbered(7):
        writer.append(record)
    writer.close()
    found = segments(tmp_path)
    assert [segment.path.name for segment in found][:2] == [
        "journal-w0-000000000001.mrj",
        "journal-w0-000000000002.mrj",
    ]
    assert len(found) >= 3
    assert [record for segment in found for record in all_of(segment.path)] == numbered(7)


def test_segments_are_private_to_the_account_that_runs_the_proxy(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "journal", "w0", SEGMENT_BYTES)
    writer.close()
    assert writer.path.stat().st_mode & 0o077 == 0


def test_each_start_begins_a_new_segment_and_knows_a_torn_one(tmp_path: Path) -> None:
    first = Writer(tmp_path, "w0", SEGMENT_BYTES)
    assert not first.found_torn
    first.append(a_record())
    first.close()
    second = Writer(tmp_path, "w0", SEGMENT_BYTES)
    assert not second.found_torn
    second.append(a_record())
    second.close()
    os.truncate(second.path, second.position.offset - 3)
    third = Writer(tmp_path, "w0", SEGMENT_BYTES)
    third.close()
    assert third.found_torn
    assert third.position == Position(3, 0)
    assert is_torn(second.path)
    assert not is_torn(first.path)


def test_other_files_and_other_workers_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a segment")
    for worker in ("w-1", "w"):
        Writer(tmp_path, worker, SEGMENT_BYTES).close()
    assert [(segment.worker, segment.sequence) for segment in segments(tmp_path)] == [("w", 1), ("w-1", 1)]
    assert [segment.worker for segment in segments(tmp_path, "w")] == ["w"]
    assert segments(tmp_path / "nowhere") == []


@pytest.mark.parametrize("worker", ["", "a/b", "..", "w 0"])
def test_a_worker_name_cannot_leave_the_directory(tmp_path: Path, worker: str) -> None:
    if worker == "..":  # dots are letters like others: the prefix keeps them harmless
        Writer(tmp_path, worker, SEGMENT_BYTES).close()
        assert [path.parent for path in tmp_path.iterdir()] == [tmp_path]
        return
    with pytest.raises(ValueError, match="worker's name"):
        Writer(tmp_path, worker, SEGMENT_BYTES)


def test_a_full_disk_loses_records_counts_them_and_goes_on(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    sizes = [writer.append(record) for record in numbered(2)]
    with no_file_longer_than(sum(sizes) + 100):
        assert [writer.append(record) for record in numbered(3, start=2)] == [0, 0, 0]
    assert writer.lost_records == 3
    assert writer.append(numbered(1, start=5)[0]) > 0
    writer.close()
    reader = read_segment(writer.path)
    assert [record.request_id for _, record in reader] == ["req-0000", "req-0001", "req-0005"]
    assert not reader.torn
    assert reader.damaged_records == 0


def test_a_segment_that_cannot_be_repaired_is_left_for_a_new_one(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    writer.append(a_record())
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._fd)
    os.close(full)
    assert writer.append(a_record(request_id="saved")) > 0
    assert writer.lost_records == 0
    assert writer.position.sequence == 2
    assert [record.request_id for record in all_of(writer.path)] == ["saved"]
    writer.close()


def test_a_missing_directory_loses_records_until_it_is_back(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    writer = Writer(directory, "w0", SEGMENT_BYTES)
    writer.close()
    writer.path.unlink()
    directory.rmdir()
    assert writer.append(a_record()) == 0
    assert writer.lost_records == 1
    directory.mkdir()
    assert writer.append(a_record()) > 0
    assert len(all_of(writer.path)) == 1
    writer.close()
    writer.close()


def test_where_no_new_segment_can_be_made_the_old_one_grows_on(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", segment_bytes=100)
    (tmp_path / "journal-w0-000000000002.mrj").mkdir()
    for record in numbered(3):
        assert writer.append(record) > 0
    writer.close()
    assert all_of(writer.path) == numbered(3)
    assert writer.lost_records == 0


def test_tail_follows_over_rotations_and_takes_each_record_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", segment_bytes=400)
    assert Tail(tmp_path / "nowhere").poll() == []
    tail = Tail(tmp_path)
    assert tail.poll() == []
    taken = []
    for record in numbered(20):
        writer.append(record)
        taken += tail.poll(max_records=1)
    assert taken == numbered(20)
    assert tail.poll() == []
    assert tail.lag_bytes() == 0
    assert tail.torn_segments == 0
    writer.close()


@given(max_records=st.integers(1, 7), restarts=st.booleans())
@shares_directory
def test_tail_takes_the_same_whatever_the_batch_and_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, max_records: int, restarts: bool
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    for worker in ("a", "b"):
        writer = Writer(directory, worker, segment_bytes=400)
        for record in numbered(6):
            writer.append(record)
        writer.close()
    tail, taken = Tail(directory), []
    assert tail.lag_bytes() > 0
    while batch := tail.poll(max_records):
        assert len(batch) <= max_records
        taken += batch
        if restarts:
            tail = Tail(directory, tail.positions)
    assert taken == numbered(6) * 2


def test_tail_waits_for_the_rest_of_a_record_in_the_segment_being_written(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", SEGMENT_BYTES)
    frame = encode_frame(a_record())
    os.write(writer._fd, frame[:50])
    tail = Tail(tmp_path)
    assert tail.poll() == []
    assert tail.torn_segments == 0
    os.write(writer._fd, frame[50:])
    assert tail.poll() == [a_record()]
    writer.close()


def test_tail_leaves_a_torn_segment_behind_when_a_younger_one_exists(tmp_path: Path) -> None:
    first = Writer(tmp_path, "w0", SEGMENT_BYTES)
    for record in numbered(2):
        first.append(record)
    first.close()
    os.truncate(first.path, first.position.offset - 1)
    second = Writer(tmp_path, "w0", SEGMENT_BYTES)
    second.append(numbered(1, start=2)[0])
    second.close()
    tail = Tail(tmp_path)
    assert [record.request_id for record in tail.poll()] == ["req-0000", "req-0002"]
    assert tail.poll() == []
    assert tail.torn_segments == 1


def test_tail_stays_with_a_segment_that_a_living_writer_still_fills_beside_its_successor(tmp_path: Path) -> None:
    orphan, successor = (Writer(tmp_path, "w0", SEGMENT_BYTES) for _ in range(2))
    other = Writer(tmp_path, "w1", SEGMENT_BYTES)
    tail = Tail(tmp_path)
    for number, writer in enumerate((successor, orphan, other)):
        writer.append(numbered(1, start=number)[0])
    assert [record.request_id for record in tail.poll()] == ["req-0001", "req-0002"]
    orphan.append(numbered(1, start=3)[0])
    assert [record.request_id for record in tail.poll()] == ["req-0003"]
    assert tail.lag_bytes() > 0
    orphan.close()
    assert [record.request_id for record in tail.poll()] == ["req-0000"]
    assert (tail.poll(), tail.lag_bytes()) == ([], 0)


def test_tail_goes_on_with_the_next_segment_when_retention_removed_one(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", segment_bytes=1)
    tail = Tail(tmp_path)
    for record in numbered(3):
        writer.append(record)
    assert tail.poll(max_records=1) == numbered(1)
    segments(tmp_path)[1].path.unlink()
    assert tail.poll() == numbered(1, start=2)
    writer.close()


_ENDLESS_WRITER = """
import sys
from pathlib import Path
from mrproxy.link.journal import Writer
from tests.link.journal_examples import a_record
writer = Writer(Path(sys.argv[1]), "w0", 100_000)
number = 0
while True:
    writer.append(a_record(request_id=str(number)))
    number += 1
    if number % 100 == 0:
        print(number, flush=True)
"""


@pytest.mark.slow
def test_kill_dash_nine_loses_no_record_whose_append_returned(tmp_path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _ENDLESS_WRITER, str(tmp_path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(20):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
        tail, taken = Tail(tmp_path), []
        while batch := tail.poll():
            taken += [int(record.request_id) for record in batch]
        assert taken == list(range(len(taken)))
        assert len(taken) >= acknowledged
        assert tail.damaged_records == 0
        for segment in segments(tmp_path):
            assert not is_being_written(segment.path)
            segment.path.unlink()
