"""The journal's reader, on real segments and virtual time."""

from pathlib import Path

import pytest
import trio
import trio.testing

from mrproxy.control.records import BATCH_RECORDS, POLL_SECONDS, Records
from mrproxy.control.reports import JournalLag
from mrproxy.link.journal import JournalRecord, Position, Writer
from mrproxy.telemetry.access import access_fields
from tests.fakes.log import MemoryLog

RECORD = JournalRecord(
    request_id="r",
    worker="0",
    started_utc=1.0,
    key_id="k",
    user="u",
    group="student",
    model="m",
    backend="b",
    dialect="openai",
    operation="chat",
    lane="straight",
    stream=True,
    status=200,
    code="",
    attempts=1,
    queue_seconds=0.0,
    first_byte_seconds=0.1,
    total_seconds=0.2,
    prompt_tokens=1,
    completion_tokens=2,
    usage_state="exact",
    bytes_in=10,
    bytes_out=20,
    client_address="127.0.0.1",
)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path, "0", 1 << 20)


async def test_each_record_appended_after_the_start_is_logged_once(
    tmp_path: Path, writer: Writer, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    writer.append(RECORD)
    log = MemoryLog()
    records = Records(tmp_path, log, access_log=True)
    nursery.start_soon(records.follow)
    await trio.sleep(1)
    assert log.lines == []
    writer.append(RECORD)
    await trio.sleep(2 * POLL_SECONDS)
    assert log.events("request") == [access_fields(RECORD)]
    assert records.records_read == 1


async def test_a_worker_that_starts_later_is_followed_from_its_first_record(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    log = MemoryLog()
    nursery.start_soon(Records(tmp_path / "journal", log, access_log=True).follow)
    await trio.sleep(1)
    Writer(tmp_path / "journal", "7", 1 << 20).append(RECORD)
    await trio.sleep(2 * POLL_SECONDS)
    assert log.events("request") == [access_fields(RECORD)]


async def test_a_burst_is_read_at_once_and_in_batches(
    tmp_path: Path, writer: Writer, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    log = MemoryLog()
    records = Records(tmp_path, log, access_log=True)
    for _ in range(3 * BATCH_RECORDS + 1):
        writer.append(RECORD)
    nursery.start_soon(records.follow)
    await trio.sleep(POLL_SECONDS / 2)
    assert len(log.events("request")) == 3 * BATCH_RECORDS + 1


async def test_lag_is_what_is_written_and_not_read_and_since_when(
    tmp_path: Path, writer: Writer, mock_clock: trio.testing.MockClock
) -> None:
    records = Records(tmp_path, MemoryLog(), access_log=True)
    mock_clock.jump(3)
    assert records.lag(trio.current_time()).bytes == 0
    assert records.lag(trio.current_time()).seconds == 0
    size = writer.append(RECORD)
    assert records.lag(trio.current_time()).bytes == size
    assert records.lag(trio.current_time()).seconds == 3
    records.read_to_end(trio.current_time())
    assert records.lag(trio.current_time()).bytes == 0


async def test_a_disk_that_does_not_answer_is_reported_once_and_tried_again(
    tmp_path: Path,
    writer: Writer,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = MemoryLog()
    records = Records(tmp_path, log, access_log=True)

    def failing(self: object, max_records: int) -> list[JournalRecord]:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("mrproxy.link.journal.Tail.poll", failing)
        nursery.start_soon(records.follow)
        await trio.sleep(10 * POLL_SECONDS)
    assert len(log.events("journal unreadable")) == 1
    writer.append(RECORD)
    await trio.sleep(2 * POLL_SECONDS)
    assert log.events("request") == [access_fields(RECORD)]


async def test_without_an_access_log_only_the_end_of_the_journal_is_followed(
    tmp_path: Path, writer: Writer, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(path: Path, offset: int = 0) -> None:
        raise AssertionError("a segment was read")

    monkeypatch.setattr("mrproxy.link.journal.read_segment", unwanted)
    log = MemoryLog()
    records = Records(tmp_path, log, access_log=False)
    size = writer.append(RECORD)
    mock_clock.jump(3)
    assert records.lag(trio.current_time()) == JournalLag(size, 3.0)
    records.read_to_end(trio.current_time())
    assert records.lag(trio.current_time()) == JournalLag(0, 0.0)
    assert (records.records_read, log.lines) == (0, [])


async def test_without_an_access_log_a_disk_that_does_not_answer_is_survived(
    tmp_path: Path,
    writer: Writer,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = MemoryLog()
    records = Records(tmp_path, log, access_log=False)
    writer.append(RECORD)

    def failing(directory: Path) -> dict[str, Position]:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("mrproxy.control.records.positions_at_end", failing)
        nursery.start_soon(records.follow)
        await trio.sleep(10 * POLL_SECONDS)
    assert len(log.events("journal unreadable")) == 1
    await trio.sleep(2 * POLL_SECONDS)
    assert records.lag(trio.current_time()).bytes == 0
