"""Pure. The snapshot: what is written is read, whole or not at all."""

import contextlib
import os
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.config import Settings
from mrproxy.link import snapshot as snapshots
from mrproxy.link.snapshot import (
    BackendSpec,
    GroupSpec,
    KeySpec,
    Limits,
    Managed,
    ModelSpec,
    Snapshot,
    SnapshotError,
    UserSpec,
)

FULL = Snapshot(
    generation=3,
    created_utc=1.5,
    settings=replace(Settings(), port=1, scheduler="fifo"),
    groups=(GroupSpec("staff", 2, Limits(token_budget=7)),),
    users=(UserSpec("ada", "staff", None, Limits(requests_per_minute=3)),),
    keys=(KeySpec("id", "name", "00ff", "ada", ("llama",), 9.0, Limits(concurrent_requests=1)),),
    backends=(BackendSpec("b", "vllm", "http://a", 8, "secret", ("m",), {"public": "own"}),),
)


def test_decode_undoes_encode():
    assert snapshots.decode(snapshots.encode(FULL)) == FULL


def test_a_written_snapshot_is_read_back_and_is_private(tmp_path):
    path = tmp_path / "snapshot.json"
    snapshots.write(path, Snapshot(generation=1, created_utc=0.0))
    snapshots.write(path, FULL)
    assert snapshots.read(path) == FULL
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["snapshot.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "snapshot.json"
    snapshots.write(path, FULL)

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        snapshots.write(path, Snapshot(generation=4, created_utc=0.0))
    monkeypatch.undo()
    assert snapshots.read(path) == FULL
    assert os.listdir(tmp_path) == ["snapshot.json"]


def test_fields_of_a_newer_version_are_ignored_and_missing_ones_are_default():
    old = b'{"generation":1,"created_utc":0,"settings":{"port":5,"from_the_future":1},"more":[]}'
    assert snapshots.decode(old).settings == replace(Settings(), port=5)


def test_another_format_is_refused():
    with pytest.raises(SnapshotError, match="format 2"):
        snapshots.decode(b'{"format":2,"generation":1,"created_utc":0}')


def test_a_missing_file_is_a_snapshot_error(tmp_path):
    with pytest.raises(SnapshotError, match="No such file"):
        snapshots.read(tmp_path / "none")


def test_a_torn_file_is_a_snapshot_error_that_names_it(tmp_path):
    path = tmp_path / "snapshot.json"
    path.write_bytes(snapshots.encode(FULL)[:-40])
    with pytest.raises(SnapshotError, match=r"snapshot\.json: not a snapshot"):
        snapshots.read(path)


@given(st.binary())
def test_no_bytes_break_decoding_otherwise_than_by_snapshot_error(data):
    with contextlib.suppress(SnapshotError):
        snapshots.decode(data)


def test_the_databases_part_is_written_and_read(tmp_path):
    path = tmp_path / "managed.json"
    assert snapshots.read_managed(path) is None
    managed = Managed(generation=4, groups=FULL.groups, users=FULL.users, keys=FULL.keys, models=(ModelSpec("m", 2.0),))
    snapshots.write_managed(path, managed)
    assert snapshots.read_managed(path) == managed
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_snapshot_says_of_itself_is_read_alone(tmp_path):
    path = tmp_path / "snapshot.json"
    snapshots.write(path, FULL)
    assert snapshots.read_preamble(path) == snapshots.Preamble(generation=3, created_utc=1.5)


def test_a_user_and_a_key_are_a_line_each():
    lines = snapshots.encode(FULL).splitlines()
    assert [line for line in lines if b'"digest"' in line] == [msgspec.json.encode(FULL.keys[0])]
    assert msgspec.json.encode(FULL.users[0]) in lines
