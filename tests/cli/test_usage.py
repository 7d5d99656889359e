"""`mrproxy usage` on sums of a few requests."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from mrproxy.cli import main
from mrproxy.cli.usage import day_of, last_day_before
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.migrate import migrate
from mrproxy.storage.rows import row_of
from mrproxy.storage.urls import locate
from mrproxy.storage.usage import Price, add_sums, priced, sums_of
from tests.link.journal_examples import a_record

RECORDS = [
    a_record(
        started_utc=datetime(2026, 2, 1 + number, 12, tzinfo=UTC).timestamp(),
        user=("ada", "bob", "")[number % 3],
        status=(200, 500)[number % 2],
        prompt_tokens=number,
        completion_tokens=0,
    )
    for number in range(6)
]


async def fill(directory: Path) -> None:
    async with open_bridge() as bridge, open_database(locate("", directory), bridge) as database:
        await migrate(database)
        rows = priced([row_of(record, 0.0) for record in RECORDS], {"llama3.2:3b": Price(10**12, 0)})
        await database.transact(add_sums, sums_of(rows))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    trio.run(fill, directory)
    return directory


def run(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["usage", f"--data-dir={data_dir}", *arguments])


def lines(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.output.splitlines()]


def test_users_with_most_tokens_come_first_and_all_come_last(data_dir):
    assert lines(run(data_dir)) == [
        ["user", "requests", "errors", "prompt_tokens", "completion_tokens", "charged_tokens", "cost"],
        ["-", "2", "1", "7", "0", "7", "7.0000"],
        ["bob", "2", "1", "5", "0", "5", "5.0000"],
        ["ada", "2", "1", "3", "0", "3", "3.0000"],
        ["(all)", "6", "3", "15", "0", "15", "15.0000"],
    ]


def test_days_and_names_choose(data_dir):
    found = lines(run(data_dir, "--by=day", "--since=2026-02-02", "--until=2026-02-05", "--user=bob"))
    assert [row[0] for row in found] == ["day", "2026-02-02", "(all)"]
    found = lines(run(data_dir, "--by=day", "--since=2026-02-04T23:00", "--until=2026-02-05T00:01"))
    assert [row[0] for row in found[1:-1]] == ["2026-02-04", "2026-02-05"]
    assert [row[0] for row in lines(run(data_dir, "--by=model", "--group=nobody"))] == ["model", "(all)"]


def test_json_has_millionths(data_dir):
    found = json.loads(run(data_dir, "--json", "--by=backend").output)
    assert (found["by"], found["total"]["cost"]) == ("backend", 15_000_000)
    assert [(item["name"], item["requests"]) for item in found["items"]] == [("gpu-1", 6)]


def test_what_nothing_is_summed_by_is_a_usage_error(data_dir):
    assert run(data_dir, "--by=password").exit_code == 2
    assert run(data_dir, "--since=yesterday").exit_code == 2


def test_a_directory_without_a_database_is_said(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "there is no database" in result.output


@pytest.mark.parametrize(
    ("moment", "day", "last"),
    [(86_400.0, "1970-01-02", "1970-01-01"), (86_400.5, "1970-01-02", "1970-01-02"), (None, None, None)],
)
def test_until_midnight_is_the_day_before(moment, day, last):
    assert (day_of(moment), last_day_before(moment)) == (day, last)
