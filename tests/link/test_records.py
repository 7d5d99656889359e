"""The record's frame: byte-exact, bounded, and believed only by its checksum."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link import records
from mrproxy.link.records import Gap, JournalRecord, encode_frame, frame_bytes, split_frame
from tests.link.journal_examples import a_record, journal_records


@given(journal_records)
def test_a_record_survives_its_frame(record: JournalRecord) -> None:
    frame = encode_frame(record)
    assert split_frame(memoryview(frame), 0) == record
    assert frame_bytes(memoryview(frame), 0) == len(frame)
    assert encode_frame(record) == frame


@given(journal_records, st.data())
def test_no_cut_frame_is_believed(record: JournalRecord, data: st.DataObject) -> None:
    frame = encode_frame(record)
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert split_frame(memoryview(frame[:cut]), 0) is Gap.NOT_ALL_HERE


@given(journal_records, st.data())
def test_no_flipped_bit_goes_unseen(record: JournalRecord, data: st.DataObject) -> None:
    frame = bytearray(encode_frame(record))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert isinstance(split_frame(memoryview(frame), 0), Gap)


def test_absent_tokens_are_nil_on_disk_and_not_zero() -> None:
    frame = encode_frame(a_record(prompt_tokens=None, completion_tokens=0))
    fields = msgspec.msgpack.decode(frame[records.HEADER_BYTES :])
    assert fields[0] == 1
    assert fields[19:21] == [None, 0]


def test_a_field_added_by_a_later_version_is_ignored() -> None:
    payload = encode_frame(a_record())[records.HEADER_BYTES :]
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(payload), "from the future"])
    assert records._decode(longer) == a_record()


def test_a_record_of_unknown_version_is_damaged_and_not_misread() -> None:
    frame = encode_frame(a_record())
    fields = msgspec.msgpack.decode(frame[records.HEADER_BYTES :])
    payload = msgspec.msgpack.encode([2, *fields[1:]])
    framed = records._HEADER.pack(len(payload), records.zlib.crc32(payload)) + payload
    assert split_frame(memoryview(framed), 0) is Gap.DAMAGED


@pytest.mark.parametrize("model", ["m" * 1_000_000, "lone surrogate \ud800"])
def test_a_strange_name_is_cut_to_size_and_its_tokens_are_still_counted(model: str) -> None:
    frame = encode_frame(a_record(model=model, prompt_tokens=2**80))
    record = split_frame(memoryview(frame), 0)
    assert isinstance(record, JournalRecord)
    assert record.model == model[:512].encode("utf-8", "replace").decode()
    assert record.prompt_tokens == 2**63 - 1
    assert record.stream is True
