"""The spool: what was written is read, in order and once; what is damaged is counted and nothing else is lost."""

import os
import stat
import struct
import zlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mrproxy.link.journal import Position
from mrproxy.link.spool import (
    Event,
    ItemsAppended,
    ResponseDeleted,
    ResponseStored,
    SpoolReader,
    SpoolTail,
    SpoolWriter,
    encode_event,
    spool_segments,
)
from mrproxy.link.state import Item

PLENTY = 1 << 30


def stored(name: str = "resp_1", state: bytes = b"state") -> ResponseStored:
    return ResponseStored(name, "user:ada", None, None, 1.0, 2.0, state)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
EVENTS = st.one_of(
    st.builds(ResponseStored, TEXTS, TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.floats(0, 1e10),
              st.floats(0, 1e10), st.binary(max_size=200)),
    st.builds(ResponseDeleted, TEXTS, TEXTS, st.floats(0, 1e10), st.floats(0, 1e10)),
    st.builds(ItemsAppended, TEXTS, TEXTS, st.floats(0, 1e10),
              st.lists(st.builds(Item, TEXTS, TEXTS), max_size=3).map(tuple)),
)  # fmt: skip


def read(path: Path) -> list[Event]:
    return list(SpoolReader(path))


def only(directory: Path) -> Path:
    (segment,) = spool_segments(directory)
    return segment.path


def test_nothing_is_opened_before_the_first_event(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "w1", PLENTY)
    assert spool_segments(tmp_path) == []
    assert writer.append(stored())
    assert stat.S_IMODE(only(tmp_path).stat().st_mode) == 0o600
    writer.close()


@given(st.lists(EVENTS, min_size=1, max_size=8), st.integers(1, 400))
@settings(max_examples=50)
def test_what_was_written_is_read_in_order_by_steps_of_any_size(tmp_path_factory, events, step) -> None:
    directory = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(directory, "w1", 300)
    for event in events:
        assert writer.append(event)
    writer.close()
    tail, taken = SpoolTail(directory), []
    while piece := tail.poll(step):
        taken += piece
    assert taken == events
    assert (tail.damaged, tail.lag_bytes(), writer.lost) == (0, 0, 0)


def test_several_events_are_one_write_and_stay_together(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "w1", PLENTY)
    events = [stored(), ResponseDeleted("resp_1", "user:ada", 3.0, 4.0)]
    assert writer.append(*events)
    assert read(only(tmp_path)) == events
    assert writer.written == 2
    writer.close()


def test_a_tail_goes_on_where_it_was(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "w1", PLENTY)
    writer.append(stored("a"))
    tail = SpoolTail(tmp_path)
    assert [event.id for event in tail.poll(PLENTY)] == ["a"]
    writer.append(stored("b"))
    again = SpoolTail(tmp_path, tail.positions)
    assert again.lag_bytes() == len(encode_event(stored("b")))
    assert [event.id for event in again.poll(PLENTY)] == ["b"]
    assert again.poll(PLENTY) == []
    writer.close()


def test_a_torn_end_waits_while_its_writer_lives_and_is_counted_when_it_is_dead(tmp_path: Path) -> None:
    first = SpoolWriter(tmp_path, "w1", PLENTY)
    first.append(stored("a"))
    with only(tmp_path).open("ab") as file:
        file.write(encode_event(stored("half"))[:-3])
    second = SpoolWriter(tmp_path, "w1", PLENTY)
    second.append(stored("b"))
    tail = SpoolTail(tmp_path)
    assert [event.id for event in tail.poll(PLENTY)] == ["a"]  # the first one still holds its lock
    assert tail.damaged == 0
    first.close()
    assert [event.id for event in tail.poll(PLENTY)] == ["b"]
    assert tail.damaged == 1
    second.close()


def test_a_damaged_event_is_stepped_over(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "w1", PLENTY)
    writer.append(stored("a"))
    writer.append(stored("b"))
    writer.append(stored("c"))
    writer.close()
    path, size = only(tmp_path), len(encode_event(stored("a")))
    content = bytearray(path.read_bytes())
    content[size + 12] ^= 0xFF
    path.write_bytes(content)
    reader = SpoolReader(path)
    assert [event.id for event in reader] == ["a", "c"]
    assert (reader.damaged, reader.torn) == (1, False)


def test_a_length_that_cannot_be_ends_a_segment_and_not_its_successor(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "w1", 1)
    writer.append(stored("a"))
    writer.append(stored("b"))
    writer.close()
    first = spool_segments(tmp_path)[0].path
    first.write_bytes(b"\xff" * 50)
    tail = SpoolTail(tmp_path)
    assert [event.id for event in tail.poll(PLENTY)] == ["b"]
    assert tail.damaged == 1


def test_a_foreign_event_is_counted_not_fatal(tmp_path: Path) -> None:
    """A newer worker may write what this reader does not know."""
    path = tmp_path / "responses-w1-000000000001.mrs"
    unknown = b"\x92\xa3new\x01"
    path.write_bytes(struct.pack("<II", len(unknown), zlib.crc32(unknown)) + unknown + encode_event(stored("a")))
    tail = SpoolTail(tmp_path)
    assert [event.id for event in tail.poll(PLENTY)] == ["a"]
    assert tail.damaged == 1


def test_a_disk_that_takes_nothing_is_counted_and_raises_nothing(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "missing", "w1", PLENTY)
    assert not writer.append(stored(), stored())
    assert (writer.lost, writer.written) == (2, 0)
    (tmp_path / "missing").mkdir()
    assert writer.append(stored())
    writer.close()


def test_half_a_write_is_taken_back(tmp_path: Path, monkeypatch) -> None:
    writer = SpoolWriter(tmp_path, "w1", PLENTY)
    writer.append(stored("a"))
    whole = os.write
    with monkeypatch.context() as patch:
        patch.setattr("mrproxy.link.spool.os.write", lambda fd, data: whole(fd, data[:10]))
        assert not writer.append(stored("lost"))
    writer.append(stored("b"))
    writer.close()
    assert [event.id for event in read(only(tmp_path))] == ["a", "b"]


def test_what_cannot_be_text_is_lost_alone(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "w1", PLENTY)
    assert not writer.append(ResponseDeleted("\ud800", "user:ada", 1.0, 2.0))
    assert writer.append(stored())
    assert (writer.lost, len(read(only(tmp_path)))) == (1, 1)
    writer.close()


def test_segments_of_several_workers_are_followed_beside_each_other(tmp_path: Path) -> None:
    for worker in ("w1", "w2"):
        writer = SpoolWriter(tmp_path, worker, PLENTY)
        writer.append(stored(worker))
        writer.close()
    tail = SpoolTail(tmp_path)
    assert sorted(event.id for event in tail.poll(PLENTY)) == ["w1", "w2"]
    assert tail.positions == dict.fromkeys(("w1", "w2"), Position(1, len(encode_event(stored("w1")))))
