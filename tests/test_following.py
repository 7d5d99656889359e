"""A new snapshot is seen once, and one that is none is a problem until it is replaced."""

import errno
import os
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy import following
from mrproxy.following import Follower, Rounds, free
from mrproxy.link.catalogue import catalogue_from, catalogue_of
from mrproxy.link.snapshot import KeySpec, Snapshot, SnapshotError, write


def snapshot(generation: int, keys: int = 1) -> Snapshot:
    specs = tuple(KeySpec(str(number), "", f"{number:032x}") for number in range(keys))
    return Snapshot(generation=generation, created_utc=0.0, keys=specs)


async def test_each_snapshot_is_seen_once(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "snapshot.json")
    write(follower.path, snapshot(1))
    assert follower.first().head.generation == 1
    assert await follower.look() is None
    write(follower.path, snapshot(2))
    found = await follower.look()
    assert found is not None
    assert found.head.generation == 2
    assert await follower.look() is None


async def test_a_broken_one_is_told_once_and_a_problem_until_it_is_replaced(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "snapshot.json")
    write(follower.path, snapshot(1))
    follower.first()
    follower.path.write_text("{")
    with pytest.raises(SnapshotError, match="not a snapshot"):
        await follower.look()
    assert await follower.look() is None
    assert "not a snapshot" in follower.problem
    follower.path.unlink()
    with pytest.raises(SnapshotError, match="No such file"):
        await follower.look()
    write(follower.path, snapshot(3))
    assert await follower.look() is not None
    assert follower.problem == ""


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO])
async def test_one_that_could_not_be_read_is_told_once_and_read_when_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    follower = Follower(tmp_path / "snapshot.json")
    write(follower.path, snapshot(1))
    follower.first()
    write(follower.path, snapshot(2))  # say: a key was revoked

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(SnapshotError, match=os.strerror(number)):
            await follower.look()
        for _ in range(3):
            assert await follower.look() is None
        assert os.strerror(number) in follower.problem
    found = await follower.look()
    assert found is not None
    assert found.head.generation == 2
    assert follower.problem == ""
    assert await follower.look() is None


async def test_a_look_that_was_cancelled_has_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(tmp_path / "snapshot.json")
    write(follower.path, snapshot(1))
    follower.first()
    write(follower.path, snapshot(2))
    with monkeypatch.context() as patch, trio.CancelScope() as looking:
        patch.setattr(following, "catalogue_of", lambda data: looking.cancel() or catalogue_of(data))
        await follower.look()
    assert looking.cancelled_caught
    assert follower.problem == ""
    assert await follower.look() is not None


async def test_the_same_file_that_was_gone_for_a_while_is_no_problem_any_more(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "snapshot.json")
    write(follower.path, snapshot(1))
    follower.first()
    elsewhere = follower.path.rename(tmp_path / "elsewhere.json")
    with pytest.raises(SnapshotError, match="No such file"):
        await follower.look()
    elsewhere.rename(follower.path)
    assert await follower.look() is not None
    assert follower.problem == ""


def test_without_a_snapshot_there_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file"):
        Follower(tmp_path / "snapshot.json").first()


async def test_others_run_while_a_large_one_is_taken_over_and_freed(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "snapshot.json")
    write(follower.path, snapshot(1, keys=10_000))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        found = await follower.look()
        assert found is not None
        assert found.key_count == 10_000
        assert turns > 5
        turns = 0
        await free(catalogue_from(snapshot(1)))
        assert turns > 10
        nursery.cancel_scope.cancel()


# Rounds


async def test_who_asks_in_the_middle_of_a_round_waits_for_the_next_one() -> None:
    rounds, ended = Rounds(), []

    async def ask(name: str) -> None:
        await rounds.wait_round()
        ended.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "early")
        await rounds.wait_asked()
        with rounds.open_round():
            nursery.start_soon(ask, "late")
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert ended == ["early"]
        await rounds.wait_asked()
        with rounds.open_round():
            pass
    assert ended == ["early", "late"]


async def test_who_leaves_ends_no_round_and_all_who_asked_share_one() -> None:
    rounds, ended = Rounds(), []

    async def ask() -> None:
        await rounds.wait_round()
        ended.append("stayed")

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as leaving:
            leaving.cancel()
            await rounds.wait_round()
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await rounds.wait_asked()
        with rounds.open_round():
            await wait_all_tasks_blocked()
    assert ended == ["stayed", "stayed"]
    with trio.CancelScope() as scope:
        scope.cancel()
        await rounds.wait_asked()
    assert scope.cancelled_caught, "nobody has asked since"


async def test_a_round_that_was_cut_off_is_nobodys_end() -> None:
    rounds = Rounds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.wait_round)
        await rounds.wait_asked()
        with pytest.raises(ZeroDivisionError), rounds.open_round():
            raise ZeroDivisionError
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        nursery.cancel_scope.cancel()
