"""One transaction on either database: whole or not at all, whoever is cancelled, killed, full, locked or damaged."""

import sqlite3
import threading

import pytest
import trio
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.engines import SQLITE_READERS
from mrproxy.storage.failures import DatabaseCorrupt, DatabaseFull, DatabaseUnavailable
from mrproxy.storage.migrate import migrate
from mrproxy.storage.schema import ingest_positions
from mrproxy.storage.urls import locate
from tests.fakes.postgres import PASSWORD, free_port
from tests.storage.conftest import opened


async def add(connection, *workers):
    rows = [{"worker": worker, "sequence": 1, "byte_offset": 2, "records": 3} for worker in workers]
    await connection.execute(insert(ingest_positions), rows)


async def count(connection):
    return (await connection.execute(select(func.count()).select_from(ingest_positions))).scalar_one()


SLOW = {
    "sqlite": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
    "postgresql": "SELECT pg_sleep(1000)",
}


class Slow:
    """A statement that never ends, behind one that is to be rolled back."""

    def __init__(self):
        self.started = trio.Event()
        self.token = trio.lowlevel.current_trio_token()

    async def __call__(self, connection):
        await add(connection, "rolled back")
        self.token.run_sync_soon(self.started.set)
        await connection.execute(text(SLOW[connection.dialect.name]))


async def test_a_transaction_returns_what_its_function_returns(database):
    await database.transact(add, "w1", "w2")
    assert await database.transact(count) == await database.read(count) == 2


async def test_a_transaction_that_raises_is_as_if_it_had_never_been(database):
    async def add_and_fail(connection):
        await add(connection, "w1")
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        await database.transact(add_and_fail)
    assert await database.read(count) == 0


async def test_a_violated_constraint_is_the_callers_to_understand(database):
    await database.transact(add, "w1")
    with pytest.raises(IntegrityError) as caught:
        await database.transact(add, "w1")
    assert "byte_offset" in str(caught.value)
    assert "[parameters" not in str(caught.value).replace("[SQL parameters hidden", "")


async def test_reading_cannot_write(database):
    with pytest.raises(DatabaseUnavailable, match=r"readonly|read-only"):
        await database.read(add, "w1")
    assert await database.transact(count) == 0


async def test_a_reader_sees_one_state_while_others_write(database):
    async def count_twice(connection):
        before = await count(connection)
        token.run_sync_soon(counted.set)
        while not written.is_set():
            await connection.execute(text("SELECT 1"))
        return before, await count(connection)

    async def write():
        await counted.wait()
        await database.transact(add, "w1")
        written.set()

    token, counted, written = trio.lowlevel.current_trio_token(), trio.Event(), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert await database.read(count_twice) == (0, 0)
    assert await database.read(count) == 1


async def test_many_writers_take_turns(database):
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(database.transact, add, f"w{number}")
    assert await database.read(count) == 20


async def test_a_cancelled_transaction_is_stopped_at_once_and_leaves_nothing(database):
    slow = Slow()
    with trio.fail_after(5), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.transact, slow)
            await slow.started.wait()
            scope.cancel()
    assert scope.cancelled_caught
    with trio.fail_after(5):
        await database.transact(add, "w1")  # nothing holds the lock any more
        assert await database.read(count) == 1


async def test_closing_in_the_middle_of_a_statement_ends_it(location_with_tables):
    slow = Slow()
    errors = []

    async def run(database):
        try:
            await database.transact(slow)
        except DatabaseUnavailable as exc:
            errors.append(exc)

    with trio.fail_after(8):
        async with trio.open_nursery() as nursery:
            async with open_bridge() as bridge, open_database(location_with_tables, bridge) as database:
                nursery.start_soon(run, database)
                await slow.started.wait()
    assert len(errors) == 1
    async with opened(location_with_tables) as database:
        assert await database.read(count) == 0


async def test_nothing_is_left_behind(location_with_tables):
    before = set(threading.enumerate())
    async with opened(location_with_tables) as database:
        await database.read(count)
    assert set(threading.enumerate()) <= before  # those of others may have ended meanwhile


async def test_without_tables_it_says_what_to_do(location):
    async with opened(location) as database:
        with pytest.raises(DatabaseUnavailable, match="mrproxy migrate"):
            await database.transact(count)


# SQLite alone


async def test_readers_do_not_wait_for_the_writer(sqlite_location):
    async with opened(sqlite_location) as database:
        await migrate(database)
        slow = Slow()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.transact, slow)
            await slow.started.wait()
            with trio.fail_after(5):
                for _ in range(2 * SQLITE_READERS):
                    assert await database.read(count) == 0
            nursery.cancel_scope.cancel()


async def test_another_process_that_holds_the_lock_makes_it_unavailable(sqlite_location, monkeypatch):
    monkeypatch.setattr("mrproxy.storage.engines.SQLITE_WRITER", ("PRAGMA busy_timeout = 1",))
    async with opened(sqlite_location) as database:
        await migrate(database)
        other = sqlite3.connect(sqlite_location.file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked"):
            await database.transact(count)
        other.close()
        assert await database.transact(count) == 0


async def test_a_full_disk_is_said_and_reading_goes_on(sqlite_location):
    async def fill(connection):
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        await add(connection, *(f"worker {number:050d}" for number in range(1000)))

    async with opened(sqlite_location) as database:
        await migrate(database)
        with pytest.raises(DatabaseFull, match="full"):
            await database.transact(fill)
        assert await database.read(count) == 0


async def test_a_damaged_file_is_said(sqlite_location):
    async with opened(sqlite_location) as database:
        await migrate(database)
        await database.transact(add, *(f"worker {number:050d}" for number in range(1000)))
    content = bytearray(sqlite_location.file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    sqlite_location.file.write_bytes(content)
    async with opened(sqlite_location) as database:
        with pytest.raises(DatabaseCorrupt):
            await database.read(count)


async def test_many_that_wait_for_a_damaged_file_are_all_told_at_once(sqlite_location):
    """SQLAlchemy's pool would let each but the first wait for 30 s."""
    sqlite_location.file.write_bytes(b"not a database" * 1000)
    told = []

    async def ask(database):
        with pytest.raises(DatabaseCorrupt):
            await database.transact(count)
        told.append("corrupt")

    async with opened(sqlite_location) as database:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(ask, database)
    assert len(told) == 5


async def test_a_directory_that_is_missing_is_said(tmp_path):
    async with opened(locate(f"sqlite:///{tmp_path}/nowhere/x.db", tmp_path)) as database:
        with pytest.raises(DatabaseUnavailable, match="No such file"):
            await database.transact(count)


# PostgreSQL alone


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_that_goes_and_comes_back(postgres_server, postgres_url, tmp_path, how):
    async with opened(locate(postgres_url, tmp_path)) as database:
        await migrate(database)
        await database.transact(add, "w1")
        getattr(postgres_server, how)()
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable) as caught:
                await database.transact(add, "w2")
            assert PASSWORD not in str(caught.value)
        postgres_server.start()
        await database.transact(add, "w3")
        assert await database.read(count) == 2


@pytest.mark.slow
async def test_a_server_that_goes_in_the_middle_of_a_statement(postgres_server, postgres_url, tmp_path):
    slow = Slow()
    errors = []

    async def run(database):
        try:
            await database.transact(slow)
        except DatabaseUnavailable as exc:
            errors.append(exc)

    async with opened(locate(postgres_url, tmp_path)) as database:
        await migrate(database)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, database)
            await slow.started.wait()
            await trio.to_thread.run_sync(postgres_server.kill)
        assert len(errors) == 1
        postgres_server.start()
        assert await database.read(count) == 0


async def test_cancelling_leaves_no_statement_on_the_server(postgres_server, postgres_url, tmp_path):
    slow = Slow()
    async with opened(locate(postgres_url, tmp_path)) as database:
        await migrate(database)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(database.transact, slow)
                await slow.started.wait()
                scope.cancel()
        running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
        assert postgres_server.sql(running) == "0"


async def test_a_wrong_password_is_said_and_not_shown(postgres_server, postgres_url, tmp_path):
    url = postgres_server.url(postgres_url.rpartition("/")[2], password="guessed")
    async with opened(locate(url, tmp_path)) as database:
        with pytest.raises(DatabaseUnavailable, match="refused the login") as caught:
            await database.transact(count)
        assert "guessed" not in str(caught.value)


async def test_a_database_that_does_not_exist_is_said(postgres_server, tmp_path):
    async with opened(locate(postgres_server.url("nowhere"), tmp_path)) as database:
        with pytest.raises(DatabaseUnavailable, match="no such database"):
            await database.transact(count)


async def test_nobody_listens(tmp_path):
    async with opened(locate(f"postgresql://a:hush@127.0.0.1:{free_port()}/x", tmp_path)) as database:
        with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
            await database.transact(count)
        assert "hush" not in str(caught.value)


async def test_a_server_that_says_nothing_is_given_up(tmp_path):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        url = f"postgresql://a:b@127.0.0.1:{port}/x?connect_timeout=1"
        async with opened(locate(url, tmp_path)) as database:
            with pytest.raises(DatabaseUnavailable, match="does not answer"):
                await database.transact(count)
