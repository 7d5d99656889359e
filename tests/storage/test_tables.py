"""What tests begin with: the tables of the schema, and nothing that another test left behind."""

from contextlib import closing

import pytest
import trio

from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.urls import locate
from tests.fakes.postgres import SharedDatabase
from tests.storage.conftest import opened
from tests.storage.tables import opened_with_tables, statements
from tests.storage.test_database import Slow, add, count
from tests.storage.test_migrate import differences

NUMBER = "SELECT nextval(pg_get_serial_sequence('users', 'id'))"
SCHEMA = "SELECT nspowner::regrole, nspacl, obj_description(oid) FROM pg_namespace WHERE nspname = 'public'"
# None of them can be done twice.
CHANGES = (
    "CREATE TABLE theirs (x int)",
    "CREATE TYPE theirs AS ENUM ('x')",
    "CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE INDEX theirs ON users (email)",
    "ALTER TABLE users RENAME COLUMN email TO theirs",
    "DROP TABLE users CASCADE",
)


async def test_they_are_those_of_the_schema(database):
    assert await differences(database) == []


async def test_a_file_is_for_us_alone_and_was_not_open_when_it_was_copied(sqlite_location):
    async with opened_with_tables(sqlite_location) as database:
        await database.transact(add, "w1")
        assert await database.read(count) == 1
    assert sqlite_location.file.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def shared(postgres_server):
    with closing(SharedDatabase(postgres_server, statements("postgresql+asyncpg://"))) as shared:
        yield shared


def name_of(url):
    return url.rpartition("/")[2]


@pytest.mark.slow
def test_rows_and_numbers_begin_anew(postgres_server, shared):
    url = shared.take()
    for _ in range(2):
        assert postgres_server.sql(NUMBER, name_of(url)) == "1"
        assert postgres_server.sql("SELECT count(*) FROM facts", name_of(url)) == "0"
        postgres_server.sql("INSERT INTO facts (name, value) VALUES ('theirs', 'x')", name_of(url))
        assert shared.take() == url


@pytest.mark.slow
def test_what_was_changed_is_made_anew(postgres_server, shared):
    url = shared.take()
    for change in CHANGES:
        for _ in range(2):
            postgres_server.sql(change, name_of(url))
            assert shared.take() == url


@pytest.mark.slow
def test_one_without_tables_is_like_a_new_one(postgres_server):
    with closing(SharedDatabase(postgres_server)) as shared:
        url, new = shared.take(), postgres_server.create_database()
        postgres_server.sql("CREATE TABLE theirs (x int)", name_of(url))
        assert shared.take() == url
        assert postgres_server.sql(SCHEMA, name_of(url)) == postgres_server.sql(SCHEMA, name_of(new))
        assert postgres_server.sql("SELECT count(*) FROM pg_class WHERE oid >= 16384", name_of(url)) == "0"
    postgres_server.drop_database(new)


@pytest.mark.slow
async def test_whoever_is_still_on_it_is_disconnected(shared, tmp_path):
    url, slow = shared.take(), Slow()
    errors = []

    async def run(database):
        try:
            await database.transact(slow)
        except DatabaseUnavailable as exc:
            errors.append(exc)

    async with opened(locate(url, tmp_path)) as database:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, database)
            await slow.started.wait()
            assert await trio.to_thread.run_sync(shared.take) == url
        assert len(errors) == 1
        assert await database.read(count) == 0


@pytest.mark.slow
def test_where_the_server_was_killed_there_is_another(postgres_server, shared):
    first = shared.take()
    postgres_server.kill()
    second = shared.take()
    assert second != first
    assert postgres_server.sql("SELECT count(*) FROM facts", name_of(second)) == "0"
    assert shared.take() == second
