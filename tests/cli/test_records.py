"""`mrproxy records` on a table with a few rows."""

import base64
import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from mrproxy.canonical.capture import Body
from mrproxy.cli import main
from mrproxy.link.capture import CaptureWriter, captured_bodies
from mrproxy.link.journal import Writer
from mrproxy.link.records import JournalRecord
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.captures import CaptureIngestion
from mrproxy.storage.database import open_database
from mrproxy.storage.export import FIELDS
from mrproxy.storage.ingest import Ingestion
from mrproxy.storage.migrate import migrate
from mrproxy.storage.urls import locate
from tests.fakes.log import MemoryLog
from tests.link.journal_examples import a_record

RECORDS = [
    a_record(
        request_id=f"r{number}",
        started_utc=datetime(2026, 2, 1 + number, tzinfo=UTC).timestamp(),
        user=("ada", "=bob")[number % 2],
        status=(200, 404, 500)[number % 3],
        prompt_tokens=None if number == 4 else number,
    )
    for number in range(6)
]


async def fill(directory: Path) -> None:
    writer = Writer(directory / "journal", "w0", 1 << 20)
    writer.append_all(RECORDS)
    writer.close()
    captures, body = CaptureWriter(directory / "journal", "w0", 1 << 20), Body(100)
    body.receive_data(b'{"say": "\x1b[31mhi\xff"}')
    captures.append(captured_bodies(RECORDS[1], body, body))
    captures.close()
    async with open_bridge() as bridge, open_database(locate("", directory), bridge) as database:
        await migrate(database)
        ingestion = Ingestion(directory / "journal", database, lambda: 0.0, MemoryLog(), trio.lowlevel.checkpoint)
        await ingestion.ingest_to_end()
        await CaptureIngestion(directory / "journal", database, MemoryLog()).take_to_end()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    trio.run(fill, directory)
    return directory


def run(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["records", arguments[0], f"--data-dir={data_dir}", *arguments[1:]])


def exported(data_dir: Path, *arguments: str) -> list[str]:
    result = run(data_dir, "export", "--format=jsonl", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["request_id"] for line in result.output.splitlines()]


def test_the_newest_are_listed_first_with_their_moment(data_dir):
    result = run(data_dir, "list", "--limit=2")
    head, *lines = result.output.splitlines()
    assert head.startswith("started_utc\trequest_id\tuser")
    assert [line.split("\t")[:2] for line in lines] == [
        ["2026-02-06T00:00:00.000+00:00", "r5"],
        ["2026-02-05T00:00:00.000+00:00", "r4"],
    ]
    assert lines[1].split("\t")[8] == "-"


def test_json_has_every_field(data_dir):
    result = run(data_dir, "list", "--json", "--user=ada", "--limit=1")
    (row,) = json.loads(result.output)
    assert row.pop("cost") is None
    assert JournalRecord(**row) == RECORDS[4]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["r0", "r1", "r2", "r3", "r4", "r5"]),
        (("--user=ada",), ["r0", "r2", "r4"]),
        (("--status=404",), ["r1", "r4"]),
        (("--status=5xx",), ["r2", "r5"]),
        (("--since=2026-02-03", "--until=2026-02-05T00:00Z"), ["r2", "r3"]),
        (("--since=2026-02-03T01:00+02:00", "--until=2026-02-04"), ["r2"]),
        (("--since=1h",), []),
        (("--until=1s", "--model=llama3.2:3b", "--backend=gpu-1", "--key-id=k-1", "--status=2xx"), ["r0", "r3"]),
        (("--key-id=nobody",), []),
    ],
)
def test_filters_choose(data_dir, arguments, expected):
    assert exported(data_dir, *arguments) == expected


def test_csv_has_a_head_and_no_formula(data_dir, tmp_path):
    result = run(data_dir, "export", f"--output={tmp_path / 'out.csv'}")
    assert result.exit_code == 0, result.output
    head, *rows = csv.reader((tmp_path / "out.csv").read_text().splitlines())
    assert tuple(head) == FIELDS
    assert [row[head.index("user")] for row in rows] == ["ada", "'=bob"] * 3
    assert rows[4][head.index("prompt_tokens")] == ""
    assert rows[0][head.index("stream")] == "true"


@pytest.mark.parametrize("arguments", [("--since=yesterday",), ("--status=abc",), ("--status=999",), ("--until=5w",)])
def test_what_is_no_moment_and_no_status_is_a_usage_error(data_dir, arguments):
    assert run(data_dir, "list", *arguments).exit_code == 2


def test_a_directory_without_a_database_is_said_and_nothing_is_made(tmp_path):
    result = run(tmp_path, "list")
    assert result.exit_code == 1
    assert "there is no database" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "mrproxy.db").write_bytes(b"x" * 5000)
    result = run(tmp_path, "export")
    assert result.exit_code == 1
    assert "not a database" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--text=R4",), ["r4"]),
        (("--text=BOB", "--status=404"), ["r1"]),
        (("--text=hi",), []),
        (("--text=HI", "--bodies"), ["r1"]),
        (("--text=r", "--limit=2"), ["r5", "r4"]),
        (("--request-id=r3",), ["r3"]),
        (("--group=staff", "--dialect=openai", "--operation=chat", "--code="), ["r5", "r4", "r3", "r2", "r1", "r0"]),
    ],
)
def test_a_part_of_a_text_finds_records_and_bodies(data_dir, arguments, expected):
    result = run(data_dir, "list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    assert [row["request_id"] for row in json.loads(result.output)] == expected


def test_one_request_is_shown_whole_and_its_control_characters_are_harmless(data_dir):
    body = b'{"say": "\x1b[31mhi\xff"}'
    (found,) = json.loads(run(data_dir, "show", "r1", "--json").output)
    assert base64.b64decode(found["answer"]) == body
    result = run(data_dir, "show", "r1")
    assert "status\t404" in result.output.splitlines()
    assert "\x1b" not in result.output
    assert json.loads(run(data_dir, "show", "r0", "--json").output)[0].get("answer") is None


def test_a_request_that_nobody_knows_is_said(data_dir):
    result = run(data_dir, "show", "nobody")
    assert result.exit_code == 1
    assert "no record of 'nobody'" in result.output
