"""Shell. `mrproxy journal`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mrproxy.cli import main
from mrproxy.link.capture import CapturedBodies, CaptureWriter
from mrproxy.link.journal import Writer
from mrproxy.link.records import JournalRecord
from mrproxy.provision import open_data_directory


def record(request_id: str, status: int, tokens: int | None) -> JournalRecord:
    return JournalRecord(
        request_id=request_id,
        worker="w1",
        started_utc=1.5,
        key_id="k",
        user="ada",
        group="staff",
        model="m",
        backend="b",
        dialect="openai",
        operation="chat",
        lane="straight",
        stream=True,
        status=status,
        code="",
        attempts=1,
        queue_seconds=0.0,
        first_byte_seconds=None,
        total_seconds=0.5,
        prompt_tokens=tokens,
        completion_tokens=tokens,
        usage_state="absent" if tokens is None else "exact",
        bytes_in=1,
        bytes_out=2,
        client_address="127.0.0.1",
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = open_data_directory(str(tmp_path / "data"))
    writer = Writer(directory.journal, "w1", 1 << 20)
    writer.append(record("one", 200, 7))
    writer.append(record("two", 502, None))
    writer.close()
    return directory.root


def run(*arguments: object):
    return CliRunner().invoke(main, ["journal", *map(str, arguments)])


def test_cat_prints_records_for_people(data_dir):
    header, one, two = run("cat", "--data-dir", data_dir).stdout.splitlines()
    assert header.split("\t")[:3] == ["started_utc", "request_id", "user"]
    assert one.split("\t")[1] == "one"
    assert two.split("\t")[7:9] == ["-", "-"]


def test_cat_as_json_is_one_object_per_line_with_every_field(data_dir):
    lines = [json.loads(line) for line in run("cat", "--json", "--data-dir", data_dir).stdout.splitlines()]
    assert [line["request_id"] for line in lines] == ["one", "two"]
    assert set(lines[0]) == set(JournalRecord.__struct_fields__)
    assert lines[1]["prompt_tokens"] is None


def test_stat_adds_up_and_sees_a_torn_tail(data_dir):
    (path,) = (data_dir / "journal").iterdir()
    with path.open("ab") as file:
        file.write(b"\x99\x00\x00")
    (row,) = json.loads(run("stat", "--json", path).stdout)
    assert row["torn"] is True
    assert (row["records"], row["failed"], row["prompt_tokens"]) == (2, 1, 7)
    assert row["usage_states"] == {"exact": 1, "absent": 1}


def test_stat_of_a_whole_segment_says_so(data_dir):
    assert run("stat", "--data-dir", data_dir).stdout.splitlines()[1].endswith("\tno")


# Bodies


@pytest.fixture
def captured(data_dir):
    writer = CaptureWriter(data_dir / "journal", "w1", 1 << 20)
    for name, answer in (("one", "hello"), ("two", "\x1b[2Jwiped\r\nline")):
        writer.append(CapturedBodies(name, 1.5, "k", "ada", "m", 200, "{}", False, answer, True))
    writer.close()
    return data_dir


def test_bodies_of_one_request_are_found_by_its_id(captured):
    shown = run("bodies", "one", "--data-dir", captured).stdout
    assert shown.splitlines() == [
        "--- one 1970-01-01T00:00:01.500+00:00 user=ada key_id=k model=m status=200",
        "request:",
        "{}",
        "answer (cut off):",
        "hello",
    ]


def test_bodies_as_json_are_one_object_per_line_with_every_field(captured):
    lines = [json.loads(line) for line in run("bodies", "--json", "--data-dir", captured).stdout.splitlines()]
    assert [line["answer"] for line in lines] == ["hello", "\x1b[2Jwiped\r\nline"]
    assert set(lines[0]) == set(CapturedBodies.__struct_fields__)


def test_a_body_cannot_steer_the_terminal(captured):
    shown = run("bodies", "two", "--data-dir", captured).stdout
    assert "\N{REPLACEMENT CHARACTER}[2Jwiped\nline\n" in shown
    assert "\x1b" not in shown


def test_bodies_of_an_unknown_request_are_an_error_in_one_line(captured):
    result = run("bodies", "three", "--data-dir", captured)
    assert result.exit_code == 1
    assert "no bodies of a request three were captured" in result.stderr


def test_where_nothing_was_captured_nothing_is_printed(data_dir):
    result = run("bodies", "--data-dir", data_dir)
    assert (result.exit_code, result.stdout) == (0, "")
