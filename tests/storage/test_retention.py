"""What is removed, and above all what is not."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.canonical.capture import Body
from mrproxy.ledger.spent import Spent, read_spent
from mrproxy.link.capture import CaptureWriter, capture_segments, captured_bodies
from mrproxy.link.journal import Position, Writer, segments
from mrproxy.storage import retention
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.retention import DAY_SECONDS, SWEEP_SECONDS, Keep, Retention
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from mrproxy.storage.schema_control import bodies, idempotency, usage_daily
from mrproxy.storage.schema_people import groups, invitations, sessions, users
from mrproxy.storage.usage import SUMS, day_of
from tests.fakes.log import MemoryLog
from tests.link.journal_examples import a_record

AGE_SECONDS = 1000.0


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


def retention_of(directory: Path, *, later: float = AGE_SECONDS, keep_seconds: float = 500, **more: Any) -> Retention:
    """At a time when everything is `later` seconds old."""
    newest = max((segment.path.stat().st_mtime for segment in segments(directory)), default=0.0)
    ingested = more.get("ingested", Ingested({"w0": Position(99, 0)}))
    keep = Keep(keep_seconds, **more.get("days", {}))
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
        assert read_spent(tmp_path).lifetime.by_key_id == {"k": expected}


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


class Empty:
    """A database in which nothing is old."""

    async def transact(self, *_: object) -> int:
        return 0


async def test_nothing_goes_while_the_database_is_away(tmp_path):
    write(tmp_path, 3)
    failing = Ingested({"w0": Position(99, 0)}, is_failing=True)
    await retention_of(tmp_path, ingested=failing, database=Empty()).sweep()
    assert numbers(tmp_path) == [1, 2, 3, 4]


async def test_a_sweep_says_what_it_removed(tmp_path):
    log = MemoryLog()
    write(tmp_path, 3)
    swept = retention_of(tmp_path, log=log, database=Empty())
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


AGES_DAYS = [0.5, 30.5, 29.5, 400, 31, 32, 33, 34]
EVERYTHING = {"records_days": 30, "bodies_days": 30, "usage_days": 30}


async def fill(connection: AsyncConnection) -> None:
    """Rows of every kind, each of every age."""
    for days in AGES_DAYS:
        then = NOW_UTC - days * DAY_SECONDS
        record = a_record(started_utc=then)
        await connection.execute(insert(records), [dict(zip(COLUMNS, row_of(record, 0.0), strict=True))])
        await connection.execute(insert(bodies), [{**BODY, "started_utc": then}])
        await connection.execute(insert(usage_daily), [{**SUM, "day": day_of(then // DAY_SECONDS), "model": str(days)}])
        await connection.execute(insert(idempotency), [{"key": str(days), "fingerprint": "f", "created_utc": then}])
        await connection.execute(insert(sessions), [{**SESSION, "id": str(days), "expires_utc": then}])
        for used_utc in (None, then):
            made = {**INVITATION, "uuid": f"{days}{used_utc}", "digest": f"{days}{used_utc}", "expires_utc": then}
            await connection.execute(insert(invitations), [{**made, "used_utc": used_utc}])


NOW_UTC = 20_000 * DAY_SECONDS + 60.0
BODY = {"request_id": "r", "user": "ada", "request": b"", "answer": b""}
SUM = {"user": "ada", "key_id": "k", "group": "g", "backend": "b"} | dict.fromkeys(SUMS, 1)
SESSION = {"user_id": 1, "kind": "cookie", "created_utc": 0.0, "seen_utc": 0.0}
INVITATION = {"prefix": "i", "group_id": 1, "created_by": "ada", "created_utc": 0.0}
COUNTED = (records, bodies, usage_daily, idempotency, sessions, invitations)


async def people(connection: AsyncConnection) -> None:
    now = {"created_utc": 0.0, "updated_utc": 0.0}
    await connection.execute(insert(groups), [{"id": 1, "name": "g", **now}])
    await connection.execute(
        insert(users), [{"id": 1, "uuid": "u", "name": "a", "name_folded": "a", "group_id": 1, **now}]
    )


async def counts(connection: AsyncConnection) -> list[int]:
    return [(await connection.execute(select(func.count()).select_from(table))).scalar_one() for table in COUNTED]


@pytest.mark.parametrize(
    ("days", "left"),
    [
        ({}, [8, 8, 8, 1, 1, 10]),
        ({"records_days": 30}, [2, 8, 8, 1, 1, 10]),
        (EVERYTHING, [2, 2, 2, 1, 1, 10]),
        ({"bodies_days": 7, "usage_days": 365}, [8, 1, 7, 1, 1, 10]),
    ],
)
async def test_old_rows_go_in_batches_and_young_ones_stay(tmp_path, database: Database, monkeypatch, days, left):
    monkeypatch.setattr(retention, "BATCH_ROWS", 3)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0.0)
    log = MemoryLog()
    await database.transact(people)
    await database.transact(fill)
    swept = Retention(tmp_path / "none", Ingested(), database, Keep(500, **days), lambda: NOW_UTC, log)
    await swept.sweep()
    assert await database.read(counts) == left
    gone = {fields["table"]: fields["rows"] for fields in log.events("old rows deleted")}
    assert (gone.get("records", 0), gone["sessions"]) == (8 - left[0], 7)
    said = len(log.lines)
    await swept.sweep()
    assert len(log.lines) == said


async def test_prompts_on_disk_are_kept_no_longer_than_those_in_the_table(tmp_path):
    writer, log = CaptureWriter(tmp_path, "w0", 1), MemoryLog()
    body = Body(10)
    for _ in range(2):
        writer.append(captured_bodies(a_record(), body, body))
    newest = max(path.stat().st_mtime for path in capture_segments(tmp_path))
    for days, later, gone in ((0, 9.0, 0), (7, 6.9, 0), (7, 7.1, 2)):
        now_utc = newest + later * DAY_SECONDS
        keep = Keep(500, bodies_days=days)
        await Retention(tmp_path, Ingested(), Empty(), keep, lambda now_utc=now_utc: now_utc, log).sweep()
        assert sum(fields["segments"] for fields in log.events(TOO_OLD)) == gone
    assert [path.stat().st_size for path in capture_segments(tmp_path)] == [0]


TOO_OLD = "captured bodies were too old before the database took them"
