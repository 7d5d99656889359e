"""What is removed, and above all what is not."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.ledger.spent import Spent, read_spent
from mrproxy.link.journal import Position, Writer, segments
from mrproxy.storage import retention
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.retention import DAY_SECONDS, SWEEP_SECONDS, Keep, Retention
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from mrproxy.storage.urls import Location
from tests.fakes.log import MemoryLog
from tests.link.journal_examples import a_record
from tests.storage.tables import opened_with_tables

LATER_SECONDS = 1000.0


@pytest.fixture
async def database(location: Location) -> AsyncIterator[Database]:
    async with opened_with_tables(location) as opened:
        yield opened


@dataclass
class Ingested:
    positions: dict[str, Position] = field(default_factory=dict)
    is_failing: bool = False


def write(directory: Path, count: int, worker: str = "w0") -> None:
    """One record in a segment."""
    writer = Writer(directory, worker, segment_bytes=1)
    for _ in range(count):
        writer.append(a_record(worker=worker, key_id="k", prompt_tokens=1, completion_tokens=0))
    writer.close()


def numbers(directory: Path, worker: str = "w0") -> list[int]:
    return [segment.sequence for segment in segments(directory, worker)]


def retention_of(directory: Path, *, later: float = LATER_SECONDS, keep_seconds: float = 500, **more: Any) -> Retention:
    """At a time when everything is `later` seconds old."""
    newest = max((segment.path.stat().st_mtime for segment in segments(directory)), default=0.0)
    ingested = more.get("ingested", Ingested({"w0": Position(99, 0)}))
    keep = Keep(keep_seconds, more.get("days", 0))
    return Retention(
        directory, ingested, more.get("database"), keep, lambda: newest + later, more.get("log", MemoryLog())
    )


def remove(directory: Path, positions: dict[str, Position], **more: Any) -> int:
    return retention_of(directory, **more).remove_segments(positions)


def test_what_is_in_the_table_and_old_goes_but_the_newest_of_each_worker_stays(tmp_path):
    write(tmp_path, 3)
    write(tmp_path, 2, "w1")
    assert remove(tmp_path, {"w0": Position(99, 0), "w1": Position(99, 0)}) == 5
    assert (numbers(tmp_path), numbers(tmp_path, "w1")) == ([4], [3])


def test_what_is_not_in_the_table_stays(tmp_path):
    write(tmp_path, 3)
    write(tmp_path, 3, "w1")
    assert remove(tmp_path, {"w0": Position(2, 0)}) == 1
    assert (numbers(tmp_path), numbers(tmp_path, "w1")) == ([2, 3, 4], [1, 2, 3, 4])


def test_what_is_young_stays(tmp_path):
    write(tmp_path, 3)
    assert remove(tmp_path, {"w0": Position(99, 0)}, later=499) == 0
    assert numbers(tmp_path) == [1, 2, 3, 4]


def test_what_a_living_worker_writes_stays(tmp_path):
    orphan = Writer(tmp_path, "w0", 1 << 20)
    write(tmp_path, 1)
    assert remove(tmp_path, {"w0": Position(99, 0)}) == 0
    orphan.close()


def test_budgets_are_the_same_after_every_removal(tmp_path):
    for expected in range(2, 12, 2):
        write(tmp_path, 2)
        remove(tmp_path, {"w0": Position(99, 0)})
        assert len(numbers(tmp_path)) == 1
        assert read_spent(tmp_path).by_key_id == {"k": expected}


def test_nothing_goes_before_a_checkpoint_is_on_disk(tmp_path, monkeypatch):
    def no_space(self: Spent) -> bool:
        raise OSError(28, "No space left on device")

    write(tmp_path, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Spent, "save", no_space)
        with pytest.raises(OSError, match="No space"):
            remove(tmp_path, {"w0": Position(99, 0)})
        patch.setattr(Spent, "save", lambda self: False)
        assert remove(tmp_path, {"w0": Position(99, 0)}) == 0
    assert numbers(tmp_path) == [1, 2, 3, 4]


async def test_nothing_goes_while_the_database_is_away(tmp_path):
    write(tmp_path, 3)
    failing = Ingested({"w0": Position(99, 0)}, is_failing=True)
    await retention_of(tmp_path, ingested=failing).sweep()
    assert numbers(tmp_path) == [1, 2, 3, 4]


async def test_a_sweep_says_what_it_removed(tmp_path):
    log = MemoryLog()
    write(tmp_path, 3)
    swept = retention_of(tmp_path, log=log)
    await swept.sweep()
    await swept.sweep()
    assert log.events("segments of the journal removed") == [{"segments": 3}]


async def test_a_failure_is_said_once_and_tried_again(tmp_path, nursery, autojump_clock, monkeypatch):
    log, sweeps = MemoryLog(), []

    async def failing(self: Retention) -> None:
        sweeps.append(trio.current_time())
        if len(sweeps) != 3:
            raise DatabaseUnavailable("gone")

    monkeypatch.setattr(Retention, "sweep", failing)
    nursery.start_soon(retention_of(tmp_path, log=log).run)
    await trio.sleep(4.5 * SWEEP_SECONDS)
    assert len(sweeps) == 4
    assert len(log.events("what is old cannot be removed")) == 2


async def test_old_records_go_in_batches_and_young_ones_stay(tmp_path, database: Database, monkeypatch):
    monkeypatch.setattr(retention, "BATCH_RECORDS", 3)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0.0)
    ages_days = [1.0, 30.5, 29.5, 400, 31, 32, 33, 34]

    async def fill(connection: AsyncConnection) -> None:
        made = [a_record(started_utc=LATER_SECONDS - days * DAY_SECONDS) for days in ages_days]
        rows = [dict(zip(COLUMNS, row_of(record, 0.0), strict=True)) for record in made]
        await connection.execute(insert(records), rows)

    async def ages(connection: AsyncConnection) -> list[float]:
        moments = (await connection.execute(select(records.c.started_utc))).scalars()
        return sorted((LATER_SECONDS - moment) / DAY_SECONDS for moment in moments)

    log = MemoryLog()
    await database.transact(fill)
    await retention_of(tmp_path / "none", database=database, log=log).sweep()
    assert await database.read(ages) == sorted(ages_days)
    await retention_of(tmp_path / "none", database=database, log=log, days=30).sweep()
    assert await database.read(ages) == [1.0, 29.5]
    assert log.events("old records deleted") == [{"records": 6}]
