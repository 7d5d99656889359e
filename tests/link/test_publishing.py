"""Whoever changes a part puts the whole into force, and nobody's change is lost."""

from pathlib import Path

import pytest

from mrproxy.link import snapshot as snapshots
from mrproxy.link.publishing import publish
from mrproxy.link.snapshot import KeySpec, Managed, Snapshot, SnapshotError


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    configure(tmp_path, "a")
    return tmp_path


def keys(names: str) -> tuple[KeySpec, ...]:
    return tuple(KeySpec(name, name, name.encode().hex()) for name in names)


def configure(data_dir: Path, names: str) -> None:
    snapshots.write(data_dir / "configured.json", Snapshot(generation=0, created_utc=0.0, keys=keys(names)))


def manage(data_dir: Path, names: str) -> None:
    snapshots.write_managed(data_dir / "managed.json", Managed(generation=1, keys=keys(names)))


def in_force(data_dir: Path) -> tuple[int, float, str]:
    snapshot = snapshots.read(data_dir / "snapshot.json")
    return snapshot.generation, snapshot.created_utc, "".join(each.name for each in snapshot.keys)


def test_both_parts_are_put_into_force_as_they_change(data_dir: Path):
    assert publish(data_dir, 10.0) == 1
    assert in_force(data_dir) == (1, 10.0, "a")
    manage(data_dir, "bc")
    assert publish(data_dir, 11.0) == 2
    assert in_force(data_dir) == (2, 11.0, "abc")
    configure(data_dir, "d")
    assert publish(data_dir, 12.0) == 3
    assert in_force(data_dir) == (3, 12.0, "dbc")
    assert (data_dir / "snapshot.json").stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_where_nothing_has_changed(data_dir: Path):
    publish(data_dir, 10.0)
    before = (data_dir / "snapshot.json").stat()
    assert publish(data_dir, 11.0) == 1
    after = (data_dir / "snapshot.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("part", ["configured.json", "managed.json"])
def test_a_part_that_cannot_be_read_leaves_the_snapshot_in_force(data_dir: Path, part: str):
    publish(data_dir, 10.0)
    configure(data_dir, "z")
    (data_dir / part).write_text("{")
    with pytest.raises(SnapshotError, match=part):
        publish(data_dir, 11.0)
    assert in_force(data_dir) == (1, 10.0, "a")


def test_an_unreadable_snapshot_is_replaced(data_dir: Path):
    (data_dir / "snapshot.json").write_text("{")
    assert publish(data_dir, 10.0) == 1
    assert in_force(data_dir) == (1, 10.0, "a")
