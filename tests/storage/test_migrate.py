"""What the revisions build is what the schema says, on both databases, whatever happens on the way."""

import sys

import pytest
import trio
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text

from mrproxy.storage import migrate as module
from mrproxy.storage.failures import DatabaseError, DatabaseUnavailable
from mrproxy.storage.migrate import Revision, State, known_revisions, migrate, newest_revision, prepare, read_revision
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import metadata
from mrproxy.storage.urls import locate
from mrproxy.storage.usage import KEYS, SUMS, sums_of, usage_daily
from tests.link.journal_examples import a_record
from tests.storage.conftest import opened


@pytest.fixture
async def database(location):
    async with opened(location) as database:
        yield database


async def tables_of(database):
    async def names(connection):
        return await connection.run_sync(lambda plain: set(inspect(plain).get_table_names()))

    return await database.read(names)


async def differences(database):
    def compare(plain):
        # SQLite knows no identity columns, and numbers its rows without being told.
        context = MigrationContext.configure(plain, opts={"compare_server_default": not database.is_sqlite})
        return compare_metadata(context, metadata)

    return await database.read(lambda connection: connection.run_sync(compare))


async def test_the_revisions_build_the_schema(database):
    before, after = await migrate(database)
    assert (before.state, after.state) == (State.EMPTY, State.CURRENT)
    assert await differences(database) == []


async def test_migrating_again_changes_nothing(database):
    await migrate(database)
    before, after = await migrate(database)
    assert before == after == Revision(newest_revision(), newest_revision())


async def test_a_newer_database_is_left_alone_and_used(database):
    await migrate(database)

    async def pretend(connection):
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await database.transact(pretend)
    before, after = await migrate(database)
    assert before == after == Revision("9999", newest_revision())
    assert after.state is State.NEWER
    assert after.is_usable


async def test_a_migration_that_is_interrupted_leaves_nothing_and_heals(database, monkeypatch):
    upgrade = module._upgrade

    def interrupted(connection):
        upgrade(connection)
        raise RuntimeError("killed")

    monkeypatch.setattr(module, "_upgrade", interrupted)
    with pytest.raises(RuntimeError, match="killed"):
        await migrate(database)
    assert await tables_of(database) == set()
    monkeypatch.undo()
    assert (await migrate(database))[1].state is State.CURRENT
    assert await differences(database) == []


DYING = """
import os, sys, trio
from pathlib import Path
from alembic import op
from mrproxy.storage.migrate import migrate
from mrproxy.storage.urls import locate
from tests.storage.conftest import opened

op.create_index = lambda *_: os.kill(os.getpid(), 9)

async def main():
    async with opened(locate(sys.argv[1], Path())) as database:
        await migrate(database)

trio.run(main)
"""


@pytest.mark.slow
async def test_a_migration_killed_half_way_heals(location):
    url = location.url.render_as_string(hide_password=False)
    done = await trio.run_process([sys.executable, "-c", DYING, url], check=False, capture_stderr=True)
    assert done.returncode == -9, done.stderr
    async with opened(location) as database:
        assert (await read_revision(database)).state is State.EMPTY
        assert (await migrate(database))[1].state is State.CURRENT
        assert await differences(database) == []


async def test_two_migrations_at_once_are_one_after_the_other(location):
    befores = []

    async def migrate_once(database):
        befores.append((await migrate(database))[0].state)

    async with opened(location) as one, opened(location) as two, trio.open_nursery() as nursery:
        nursery.start_soon(migrate_once, one)
        nursery.start_soon(migrate_once, two)
    assert sorted(befores, key=lambda state: state.value) == [State.CURRENT, State.EMPTY]


async def test_looking_creates_no_file(sqlite_location):
    async with opened(sqlite_location) as database:
        assert (await read_revision(database)).state is State.EMPTY
    assert not sqlite_location.file.exists()


async def test_only_the_embedded_database_is_migrated_by_itself(tmp_path):
    async with opened(locate("", tmp_path)) as database:
        assert (await prepare(database)).state is State.CURRENT
    async with opened(locate(f"sqlite:///{tmp_path}/other.db", tmp_path)) as database:
        assert (await prepare(database)).state is State.EMPTY


def test_an_older_revision_is_behind(monkeypatch):
    assert Revision(newest_revision(), "later").state is State.BEHIND
    assert not Revision(newest_revision(), "later").is_usable


def test_the_revisions_are_one_line():
    assert newest_revision() in known_revisions()


async def test_a_database_that_cannot_be_reached_says_so(tmp_path):
    async with opened(locate(f"sqlite:///{tmp_path}/nowhere/x.db", tmp_path)) as database:
        with pytest.raises(DatabaseUnavailable):
            await migrate(database)


async def test_a_damaged_file_says_so(sqlite_location):
    sqlite_location.file.write_bytes(b"not a database" * 1000)
    async with opened(sqlite_location) as database:
        with pytest.raises(DatabaseError, match="not a database"):
            await read_revision(database)


NEW_IN_2 = {"charged_tokens", "traceparent", "cost"}


async def test_usage_begins_with_the_records_that_an_older_version_left(database):
    """As `usage.py` would have summed them up; odd ones hold nothing up."""

    def first_revision(plain):
        config = module._config()
        config.attributes["connection"] = plain
        command.upgrade(config, "0001")

    async def fill(connection):
        await connection.run_sync(first_revision)
        names = [name for name in COLUMNS if name not in NEW_IN_2]
        columns = ", ".join(f'"{name}"' for name in names)
        statement = text(f"INSERT INTO records ({columns}) VALUES ({', '.join(f':{name}' for name in names)})")
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in made]
        await connection.execute(statement, [{name: row[name] for name in names} for row in rows])

    async def sums(connection):
        return (await connection.execute(select(*(usage_daily.c[name] for name in (*KEYS, *SUMS))))).all()

    made = [
        row_of(
            a_record(
                started_utc=1_790_000_000.0 + number * 40_000,
                user=("ada", "bob")[number % 2],
                status=(200, 503)[number % 3 == 0],
                code=("", "client_departed")[number % 4 == 0],
                prompt_tokens=None if number == 5 else number,
            ),
            0.0,
        )
        for number in range(12)
    ]
    odd = dict(zip(COLUMNS, made[0], strict=True)) | {
        "started_utc": 1e300,
        "model": "m" * 2000,
        "prompt_tokens": 2**62,
        "completion_tokens": -1,
        "total_seconds": 1e300,
    }
    made += [tuple(odd.values())] * 3
    await database.transact(fill)
    await migrate(database)
    *found, strange = sorted(tuple(row) for row in await database.read(sums))[::-1]
    assert sorted(found) == sums_of(made[:12])
    assert strange[0] == "1970-01-01"
    assert strange[4] == "m" * 100
    assert strange[6:] == (3, 3, 0, 0, 0, 0, 0.0)
