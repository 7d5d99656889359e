"""How connections are made, and how transactions begin."""

import os
import sqlite3
import stat

import pytest

from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.migrate import migrate
from mrproxy.storage.urls import locate
from tests.storage.conftest import opened
from tests.storage.test_database import add, count


async def test_the_file_is_for_us_alone(sqlite_location):
    async with opened(sqlite_location) as database:
        await migrate(database)
        await database.read(count)
        for name in ("mrproxy.db", "mrproxy.db-wal", "mrproxy.db-shm"):
            assert stat.S_IMODE(os.stat(sqlite_location.file.with_name(name)).st_mode) == 0o600


async def test_pragmas(sqlite_location):
    async def pragma(connection, name):
        return (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()

    expected = {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1, "busy_timeout": 2000}
    async with opened(sqlite_location) as database:
        assert {name: await database.transact(pragma, name) for name in expected} == expected
        assert await database.read(pragma, "query_only") == 1


async def test_a_file_that_was_replaced_is_opened_anew(sqlite_location, tmp_path):
    async with opened(sqlite_location) as database:
        await migrate(database)
        await database.transact(add, "w1")
        with sqlite3.connect(sqlite_location.file) as source:
            copy = sqlite3.connect(tmp_path / "copy")
            source.backup(copy)
            copy.close()
        source.close()
        await database.transact(add, "w2")
        for suffix in ("-wal", "-shm"):
            sqlite_location.file.with_name(f"mrproxy.db{suffix}").unlink()
        (tmp_path / "copy").replace(sqlite_location.file)
        assert await database.read(count) == await database.transact(count) == 1


async def test_a_deleted_file_says_that_its_tables_are_missing(sqlite_location):
    async with opened(sqlite_location) as database:
        await migrate(database)
        for suffix in ("", "-wal", "-shm"):
            sqlite_location.file.with_name(f"mrproxy.db{suffix}").unlink(missing_ok=True)
        with pytest.raises(DatabaseUnavailable, match="mrproxy migrate"):
            await database.transact(count)


async def test_what_goes_to_the_driver_directly_is_in_the_transaction(postgres_url, tmp_path):
    async def copy_and_fail(connection):
        driver = (await connection.get_raw_connection()).driver_connection
        await driver.copy_records_to_table(
            "ingest_positions", records=[("w1", 1, 2, 3)], columns=["worker", "sequence", "byte_offset", "records"]
        )
        raise KeyError("ours")

    async with opened(locate(postgres_url, tmp_path)) as database:
        await migrate(database)
        with pytest.raises(KeyError):
            await database.transact(copy_and_fail)
        assert await database.read(count) == 0


async def test_a_connection_of_postgresql_says_who_it_is(postgres_url, tmp_path):
    async def setting(connection, name):
        return (await connection.exec_driver_sql(f"SHOW {name}")).scalar_one()

    async with opened(locate(postgres_url, tmp_path)) as database:
        expected = {"application_name": "mrproxy", "timezone": "UTC", "lock_timeout": "10s"}
        assert {name: await database.transact(setting, name) for name in expected} == expected
        assert await database.read(setting, "transaction_isolation") == "repeatable read"
        assert await database.read(setting, "transaction_read_only") == "on"
