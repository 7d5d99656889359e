"""`mrproxy audit verify`, as an administrator meets it."""

import json
import sqlite3

import pytest
import trio
from click.testing import CliRunner

from mrproxy.cli import main
from mrproxy.provision import open_data_directory
from mrproxy.storage.audit import HEAD_NAME, Head, Program, append, load_head, read_head_of, save_head
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.migrate import migrate
from mrproxy.storage.urls import locate


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data directory whose log has three entries, and their head in its file."""
    monkeypatch.delenv("MRPROXY_DATABASE_URL", raising=False)
    directory = open_data_directory(str(tmp_path / "data")).root

    async def fill() -> Head | None:
        async with open_bridge() as bridge, open_database(locate("", directory), bridge) as database:
            await migrate(database)
            for number in range(3):
                await database.transact(append, Program(), "user.create", "user", number, None, {"a": number}, 5.0)
            return await database.read(read_head_of)

    head = trio.run(fill)
    assert head is not None
    save_head(directory, head)
    return directory


def verified(data, *words: str):
    return CliRunner().invoke(main, ["audit", "verify", "--data-dir", str(data), *words])


def tamper(data, statement: str) -> None:
    with sqlite3.connect(data / "mrproxy.db") as connection:
        connection.execute(statement)
    connection.close()


def test_a_log_that_is_whole_is_said_to_be(data):
    done = verified(data)
    assert (done.exit_code, "3 entries" in done.stdout, "entry 3" in done.stdout) == (0, True, True)
    found = json.loads(verified(data, "--json").stdout)
    assert (found["count"], found["first_bad_id"], found["head"]["id"]) == (3, None, 3)


def test_without_a_head_its_end_is_not_vouched_for(data):
    (data / HEAD_NAME).unlink()
    assert "compared with nothing" in verified(data).stdout


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE audit_log SET actor = 'somebody' WHERE id = 2", 2),
        ("DELETE FROM audit_log WHERE id = 1", 1),
        ("DELETE FROM audit_log WHERE id = 3", 3),
        ("DELETE FROM audit_log", 1),
    ],
)
def test_the_first_entry_that_is_wrong_is_named(data, statement, first_bad):
    tamper(data, statement)
    done = verified(data)
    assert (done.exit_code, f"entry {first_bad} is the first" in done.stdout) == (1, True)
    found = verified(data, "--json")
    assert (found.exit_code, json.loads(found.stdout)["first_bad_id"]) == (1, first_bad)


def test_after_a_restored_backup_the_log_goes_on_when_somebody_says_so(data):
    tamper(data, "DELETE FROM audit_log WHERE id = 3")
    assert verified(data).exit_code == 1
    assert verified(data, "--accept").exit_code == 0
    head = load_head(data)
    assert head is not None
    assert head.id == 3  # the entry about it
    assert verified(data).exit_code == 0


def test_a_log_that_was_changed_is_not_accepted(data):
    tamper(data, "UPDATE audit_log SET actor = 'somebody' WHERE id = 2")
    before = load_head(data)
    assert verified(data, "--accept").exit_code == 1
    assert load_head(data) == before


def test_a_damaged_head_and_a_missing_directory_are_one_line(data, tmp_path):
    (data / HEAD_NAME).write_text("{")
    done = verified(data)
    assert (done.exit_code, done.stderr.count("\n"), HEAD_NAME in done.stderr) == (1, 1, True)
    done = verified(tmp_path / "nowhere")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
