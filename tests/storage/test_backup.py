"""A backup is whole or is not there, and the way back takes one step, on both databases."""

import sqlite3
import stat

import pytest
from sqlalchemy import text

from mrproxy.storage import backup as module
from mrproxy.storage.backup import BackupFailed, back_up, problems_of, restore
from mrproxy.storage.failures import DatabaseCorrupt, DatabaseError, DatabaseUnavailable
from mrproxy.storage.migrate import State, count_rows, migrate, read_revision
from mrproxy.storage.urls import locate
from tests.storage.conftest import opened
from tests.storage.test_database import add, count


def clock():
    return 1_700_000_000.5


@pytest.fixture
async def filled(location):
    async with opened(location) as database:
        await migrate(database)
        await database.transact(add, "w1", "w2")
    return location


async def workers(location):
    async with opened(location) as database:
        return await database.read(count)


async def test_there_and_back(filled, tmp_path):
    target = tmp_path / "backup"
    assert back_up(filled, target) == target.stat().st_size > 0
    async with opened(filled) as database:
        await database.transact(add, "w3")
    restore(filled, target, clock)
    assert await workers(filled) == 2
    async with opened(filled) as database:
        assert (await read_revision(database)).state is State.CURRENT
        await database.transact(add, "w3")
        assert (await count_rows(database))["ingest_positions"] == 3


async def test_a_backup_names_people_and_is_for_us_alone(filled, tmp_path):
    back_up(filled, tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600


async def test_a_backup_is_taken_while_others_write_and_has_none_of_it(filled, tmp_path):
    async def add_and_back_up(connection):
        await add(connection, "w3")
        back_up(filled, tmp_path / "backup")

    async with opened(filled) as database:
        await database.transact(add_and_back_up)
    assert await workers(filled) == 3
    restore(filled, tmp_path / "backup", clock)
    assert await workers(filled) == 2


async def test_into_an_empty_database(filled, tmp_path, postgres_server):
    back_up(filled, tmp_path / "backup")
    url = postgres_server.create_database() if filled.file is None else f"sqlite:///{tmp_path}/new.db"
    other = locate(url, tmp_path)
    assert restore(other, tmp_path / "backup", clock) is None
    assert await workers(other) == 2


async def test_tables_that_came_later_are_not_in_the_way(filled, tmp_path, monkeypatch):
    async def drop(connection):
        await connection.execute(text("DROP TABLE ingest_positions"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))

    other = tmp_path / "all"
    back_up(filled, other)
    async with opened(filled) as database:
        await database.transact(drop)
    back_up(filled, tmp_path / "older")
    restore(filled, other, clock)
    restore(filled, tmp_path / "older", clock)
    async with opened(filled) as database:
        with pytest.raises(DatabaseUnavailable, match="mrproxy migrate"):
            await database.read(count)


async def test_nothing_is_overwritten_unasked(filled, tmp_path):
    target = tmp_path / "backup"
    target.write_text("precious")
    with pytest.raises(BackupFailed, match="exists already"):
        back_up(filled, target)
    assert target.read_text() == "precious"
    back_up(filled, target, overwrite=True)
    restore(filled, target, clock)
    with pytest.raises(BackupFailed, match="is a directory"):
        back_up(filled, tmp_path, overwrite=True)


async def test_what_is_no_backup_changes_nothing(filled, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello " * 1000)
    sqlite3.connect(tmp_path / "theirs").execute("CREATE TABLE t (x)").connection.close()
    for name in ("missing", "empty", "text", "theirs"):
        with pytest.raises(DatabaseError):
            restore(filled, tmp_path / name, clock)
    assert await workers(filled) == 2


async def test_a_backup_that_was_cut_off_changes_nothing(filled, tmp_path):
    back_up(filled, tmp_path / "backup")
    content = (tmp_path / "backup").read_bytes()
    for length in (100, len(content) // 2, len(content) - 100):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(DatabaseError):
            restore(filled, tmp_path / "cut", clock)
    assert await workers(filled) == 2


async def test_a_backup_that_fails_leaves_nothing(filled, tmp_path, monkeypatch):
    def fail(path, flags):
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(module, "sync", fail)
    with pytest.raises(OSError, match="No space"):
        back_up(filled, tmp_path / "backup")
    assert sorted(tmp_path.iterdir()) == before


async def test_a_database_that_is_not_there(tmp_path):
    with pytest.raises(BackupFailed, match="there is no database"):
        back_up(locate("", tmp_path), tmp_path / "backup")
    with pytest.raises(BackupFailed, match="there is no database"):
        problems_of(locate("", tmp_path))
    assert list(tmp_path.iterdir()) == []


# SQLite alone


@pytest.fixture
async def filled_file(sqlite_location):
    async with opened(sqlite_location) as database:
        await migrate(database)
        await database.transact(add, *(f"worker {number:050d}" for number in range(1000)))
    return sqlite_location


def damage(file):
    content = bytearray(file.read_bytes())
    content[-8192:-4096] = b"\xff" * 4096
    file.write_bytes(content)


async def test_a_sound_file_has_no_problems(filled_file):
    assert problems_of(filled_file) == []


async def test_a_damaged_file_is_found_and_not_backed_up(filled_file, tmp_path):
    damage(filled_file.file)
    assert problems_of(filled_file)
    with pytest.raises(DatabaseCorrupt, match="damaged"):
        back_up(filled_file, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


async def test_a_damaged_file_is_replaced_and_kept(filled_file, tmp_path):
    back_up(filled_file, tmp_path / "backup")
    damage(filled_file.file)
    damaged = filled_file.file.read_bytes()
    filled_file.file.with_name("mrproxy.db-wal").write_bytes(b"left behind")
    kept = restore(filled_file, tmp_path / "backup", clock)
    assert kept.name == "mrproxy.db.until-20231114T221320.500000Z"
    assert kept.read_bytes() == damaged
    assert not filled_file.file.with_name("mrproxy.db-wal").exists()
    assert await workers(filled_file) == 1000


async def test_a_database_that_is_open_goes_on_with_what_was_restored(sqlite_location, tmp_path):
    async with opened(sqlite_location) as database:
        await migrate(database)
        await database.transact(add, "w1")
        back_up(sqlite_location, tmp_path / "backup")
        await database.transact(add, "w2")
        restore(sqlite_location, tmp_path / "backup", clock)
        assert await database.read(count) == 1
        await database.transact(add, "w3")
        assert await database.read(count) == 2


def test_rows_without_their_parents_are_problems(sqlite_location):
    with sqlite3.connect(sqlite_location.file) as connection:
        connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id REFERENCES parent (id))")
        connection.execute("INSERT INTO child VALUES (1, 7)")
    connection.close()
    assert problems_of(sqlite_location) == ["row 1 of child refers to a row of parent that is missing"]
