"""Budgets survive restarts: the sums come out of the journal, with or without a checkpoint."""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mrproxy.ledger.spent import CHECKPOINT_NAME, Spent, read_spent
from mrproxy.ledger.sums import Sums
from mrproxy.link.journal import JournalRecord, Writer, segments
from tests.link.journal_examples import a_record


def write(directory: Path, *tokens: int | None, worker: str = "w0", user: str = "ada") -> None:
    writer = Writer(directory, worker, segment_bytes=500)
    for count in tokens:
        writer.append(a_record(key_id="k1", user=user, prompt_tokens=count, completion_tokens=None))
    writer.close()


def caught_up(directory: Path) -> Spent:
    spent = Spent(directory)
    spent.catch_up()
    return spent


def test_without_a_journal_nothing_is_spent(tmp_path: Path) -> None:
    spent = caught_up(tmp_path / "nowhere")
    assert (spent.lifetime, spent.months) == (Sums(), {})


def test_all_records_of_all_workers_count_and_absent_tokens_do_not(tmp_path: Path) -> None:
    write(tmp_path, 1, None, 20, 300)
    write(tmp_path, 4000, worker="w1")
    write(tmp_path, 50_000, worker="w1", user="")
    spent = caught_up(tmp_path)
    assert spent.lifetime == Sums({"k1": 54_321}, {"ada": 4321}, {"staff": 54_321})
    assert spent.months == {"2026-09": spent.lifetime}


def test_a_restart_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 4, 5, 6)
    caught_up(tmp_path).save()
    for segment in segments(tmp_path):
        segment.path.write_bytes(b"")  # proof that they are not read again
    write(tmp_path, 100)
    assert caught_up(tmp_path).lifetime.by_key_id == {"k1": 121}


def test_records_beyond_a_checkpoint_in_the_same_segment_count_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w0", 1 << 20)
    record = a_record(key_id="k1", prompt_tokens=10, completion_tokens=5)
    for times in (1, 2, 3):
        writer.append(record)
        spent = caught_up(tmp_path)
        assert spent.lifetime.by_key_id == {"k1": 15 * times}
        spent.save()
    writer.close()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff\xfe", b'{"format":2,"positions":{},"by_key_id":{},"by_user":{}}']
)
def test_a_broken_checkpoint_is_rebuilt_from_the_first_segment(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, 1, 2, 3)
    (tmp_path / CHECKPOINT_NAME).write_bytes(content)
    assert caught_up(tmp_path).lifetime.by_key_id == {"k1": 6}


def test_catching_up_can_be_done_in_small_steps(tmp_path: Path) -> None:
    write(tmp_path, *range(1, 11))
    spent = Spent(tmp_path)
    steps = [spent.catch_up(max_records=4) for _ in range(4)]
    assert steps == [4, 4, 2, 0]
    assert spent.lifetime.by_key_id == {"k1": 55}


def test_a_torn_record_is_not_counted(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (segment,) = segments(tmp_path)
    os.truncate(segment.path, segment.path.stat().st_size - 1)
    write(tmp_path, 10)
    assert caught_up(tmp_path).lifetime.by_key_id == {"k1": 10}


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)
    caught_up(tmp_path).save()
    before = (tmp_path / CHECKPOINT_NAME).read_bytes()
    write(tmp_path, 2)

    def no_space(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        caught_up(tmp_path).save()
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_older_checkpoint_never_replaces_a_newer_one(tmp_path: Path) -> None:
    write(tmp_path, 1)
    slow = caught_up(tmp_path)
    write(tmp_path, 10)
    assert caught_up(tmp_path).save()
    assert not slow.is_current()
    assert not slow.save()
    for segment in segments(tmp_path):
        segment.path.write_bytes(b"")
    assert caught_up(tmp_path).lifetime.by_key_id == {"k1": 11}


def test_a_checkpoint_may_be_saved_again_by_the_same_owner(tmp_path: Path) -> None:
    spent = caught_up(tmp_path)
    assert spent.save()
    write(tmp_path, 5)
    assert spent.catch_up() == 1
    assert spent.save()
    assert Spent(tmp_path).lifetime.by_key_id == {"k1": 5}
    assert Spent(tmp_path).positions == spent.positions


def test_nobody_waits_for_another_process_that_saves(tmp_path: Path) -> None:
    write(tmp_path, 5)
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    assert not caught_up(tmp_path).save()
    os.close(directory)
    assert caught_up(tmp_path).save()


def test_segments_that_are_removed_while_they_are_read_are_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1, 20, 300, 4000, 50_000, *[0] * 5)
    catch_up, found = Spent.catch_up, segments(tmp_path)
    assert len(found) > 2

    def overtaken(self: Spent, max_records: int | None = None) -> int:
        """As this one begins to read, another saves a checkpoint and removes what it covers."""
        monkeypatch.undo()
        assert caught_up(tmp_path).save()
        for segment in found[:-1]:
            segment.path.unlink()
        return catch_up(self, max_records)

    monkeypatch.setattr(Spent, "catch_up", overtaken)
    assert read_spent(tmp_path).lifetime.by_key_id == {"k1": 54_321}


# Months


def write_records(directory: Path, *records: JournalRecord) -> None:
    writer = Writer(directory, "w0", segment_bytes=1 << 20)
    writer.append_all(list(records))
    writer.close()


def at(text: str, tokens: int = 1, **changes: object) -> JournalRecord:
    """A request of 2.5 s that began then."""
    begun = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    return a_record(key_id="k1", started_utc=begun, prompt_tokens=tokens, completion_tokens=None, **changes)


def test_a_request_is_of_the_month_in_which_it_ended(tmp_path: Path) -> None:
    write_records(tmp_path, at("2026-07-31T23:59:57", 1), at("2026-07-31T23:59:58", 20), at("2026-07-01T00:00:00", 300))
    months = caught_up(tmp_path).months
    assert {month: sums.by_key_id["k1"] for month, sums in months.items()} == {"2026-07": 301, "2026-08": 20}


def test_months_survive_in_the_checkpoint_and_old_ones_are_let_go(tmp_path: Path) -> None:
    write_records(tmp_path, at("2026-05-05", 1), at("2026-06-05", 2))
    caught_up(tmp_path).save()
    write_records(tmp_path, at("2026-07-05", 4), at("2026-06-06", 8), at("2026-05-06", 16))
    spent = caught_up(tmp_path)
    assert {month: sums.by_key_id["k1"] for month, sums in spent.months.items()} == {"2026-06": 10, "2026-07": 4}
    assert spent.lifetime.by_key_id == {"k1": 31}


def test_what_was_charged_counts_where_it_is_not_what_was_used(tmp_path: Path) -> None:
    write_records(tmp_path, at("2026-07-05", 4, charged_tokens=10), at("2026-07-05", 4, charged_tokens=0))
    assert caught_up(tmp_path).lifetime.by_key_id == {"k1": 10}


def test_a_time_that_no_calendar_knows_is_of_no_month(tmp_path: Path) -> None:
    odd = [a_record(key_id="k1", started_utc=utc) for utc in (float("nan"), float("inf"), 1e300, -1e300)]
    write_records(tmp_path, *odd)
    spent = caught_up(tmp_path)
    assert (spent.months, spent.lifetime.by_key_id) == ({}, {"k1": 4 * 184})


def test_a_checkpoint_of_an_older_version_is_read(tmp_path: Path) -> None:
    old = b'{"format":1,"positions":{"w0":[1,0]},"by_key_id":{"k1":5},"by_user":{"ada":5}}'
    (tmp_path / CHECKPOINT_NAME).write_bytes(old)
    write_records(tmp_path, at("2026-07-05", 4))
    spent = caught_up(tmp_path)
    assert spent.lifetime == Sums({"k1": 9}, {"ada": 9}, {"staff": 4})
    assert spent.months == {"2026-07": Sums({"k1": 4}, {"ada": 4}, {"staff": 4})}
    assert spent.save()
    assert Spent(tmp_path).lifetime == spent.lifetime
