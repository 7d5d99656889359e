"""The first administrator's password: from the settings, or made, kept in a file and printed to nobody but a person."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mrproxy.control.first_administrator import PASSWORD_NAME, FirstAdministrator
from mrproxy.storage.database import Database
from mrproxy.storage.people.groups import find_group_by_name
from mrproxy.storage.people.users import change_user, create_user, find_credentials
from mrproxy.storage.people.values import NewUser
from mrproxy.storage.schema import metadata
from mrproxy.storage.urls import locate
from tests.fakes.log import MemoryLog
from tests.storage.tables import opened_with_tables


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def hashed(password: str) -> str:
    return f"hash of {password}"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened_with_tables(locate("", tmp_path)) as opened:
        yield opened


@pytest.fixture
def first(tmp_path: Path) -> FirstAdministrator:
    return FirstAdministrator(tmp_path, "admin", "", hashed, lambda: 5.0, MemoryLog(), io.StringIO())


async def hash_of(database: Database, name: str = "admin") -> str | None:
    found = await database.read(find_credentials, name)
    assert found is not None
    return found.password_hash


async def test_a_password_that_is_made_is_in_a_file_and_in_no_log(database: Database, first: FirstAdministrator):
    made = await first.ensure(database)
    assert made is not None
    assert len(made) >= 20
    file = first.data_dir / PASSWORD_NAME
    assert (file.read_text(), file.stat().st_mode & 0o777) == (f"{made}\n", 0o600)
    assert await hash_of(database) == f"hash of {made}"
    assert first.log.events("the first administrator was made") == [{"user": "admin", "password_in": str(file)}]
    assert made not in repr(first.log.lines)
    assert first.out.getvalue() == ""
    found = await database.read(find_credentials, "admin")
    assert found is not None
    assert found.user.must_change_password


async def test_a_person_sees_it(database: Database, first: FirstAdministrator):
    terminal = Terminal()
    made = await replace(first, out=terminal).ensure(database)
    assert made is not None
    assert terminal.getvalue().count(made) == 1


async def test_a_password_from_the_settings_is_kept_nowhere_else(database: Database, first: FirstAdministrator):
    terminal = Terminal()
    assert await replace(first, name="root", password="correct horse", out=terminal).ensure(database) is None
    assert await hash_of(database, "root") == "hash of correct horse"
    assert not (first.data_dir / PASSWORD_NAME).exists()
    assert "correct horse" not in repr(first.log.lines) + terminal.getvalue()
    found = await database.read(find_credentials, "root")
    assert found is not None
    assert not found.user.must_change_password


async def test_there_is_only_one_first(database: Database, first: FirstAdministrator):
    made = await first.ensure(database)
    assert await replace(first, name="other", password="x").ensure(database) is None
    assert await database.read(find_credentials, "other") is None
    assert (first.data_dir / PASSWORD_NAME).read_text() == f"{made}\n"


async def test_the_file_goes_at_the_next_start_after_the_password_was_changed(
    database: Database, first: FirstAdministrator
):
    await first.ensure(database)
    await first.ensure(database)
    assert (first.data_dir / PASSWORD_NAME).exists()
    found = await database.read(find_credentials, "admin")
    assert found is not None
    await database.transact(change_user, found.user.id, {"must_change_password": False}, None, 6.0)
    await first.ensure(database)
    assert not (first.data_dir / PASSWORD_NAME).exists()


async def test_a_name_that_is_taken_is_said_and_leaves_no_password(database: Database, first: FirstAdministrator):
    await first.ensure(database)
    group = await database.read(find_group_by_name, "staff")
    assert group is not None

    async def empty_and_take(connection):
        await connection.execute(metadata.tables["users"].delete())
        await create_user(connection, NewUser(name="ADMIN", group_id=group.id), 5.0)

    await database.transact(empty_and_take)
    assert await first.ensure(database) is None
    assert not (first.data_dir / PASSWORD_NAME).exists()
    assert len(first.log.events("there is no administrator")) == 1
