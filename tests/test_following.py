"""A new snapshot is seen once, and one that is none is a problem until it is replaced."""

from pathlib import Path

import pytest
import trio

from mrproxy.following import Follower, free
from mrproxy.link.catalogue import catalogue_from
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
