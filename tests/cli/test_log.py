"""Shell. `mrproxy log`, of an API and of the files."""

import itertools
import json

import msgspec
import pytest

from mrproxy.cli.client import Unreachable
from mrproxy.cli.log import followed, line_of
from mrproxy.provision import open_data_directory
from mrproxy.telemetry.log_file import LogFile


def entry(at: str, event: str = "e", **more: object) -> dict[str, object]:
    return {"at": at, "level": "info", "component": "control", "event": event, **more}


def test_entries_are_lines_or_json(api, run):
    found = [entry("2026-01-01T00:00:00.000Z", backend="gpu\n\x1b[2J")]
    api.answers["GET /logs"] = {"entries": found}
    result = run("log", "--level=error", "--text=gpu", "--since=2026-01-01")
    assert result.stdout == "2026-01-01T00:00:00.000Z info control e backend=gpu \N{REPLACEMENT CHARACTER}[2J\n"
    wanted = {"limit": "200", "level": "error", "text": "gpu", "since": "2026-01-01T00:00:00+00:00"}
    assert api.asked[0].query == wanted
    assert json.loads(run("log", "--json").stdout) == found


def test_without_a_gateway_the_files_are_read(run, tmp_path):
    directory = open_data_directory(str(tmp_path / "d"))
    file = LogFile(directory.logs, "control", 1 << 20)
    for number in range(3):
        file.append(msgspec.json.encode(entry(f"2026-01-01T00:00:0{number}.000Z", f"e{number}")) + b"\n")
    file.close()
    result = run("log", "--since=2026-01-01T00:00:01")
    assert [line.split()[3] for line in result.stdout.splitlines()] == ["e1", "e2"]


def test_without_a_gateway_elsewhere_there_is_nothing_to_read(run):
    assert run("log", url="http://127.0.0.1:9").exit_code == 3


class Enough(Exception):
    pass


def test_each_entry_is_followed_once_and_a_restart_is_survived(capsys):
    first, twin, last = entry("1"), entry("1", "twin"), entry("2")
    answers = iter([[first], [first, twin], Unreachable("away"), Unreachable("away"), [first, twin, last], [last]])
    sinces = []
    naps = itertools.count()

    def fetch(since):
        sinces.append(since)
        found = next(answers)
        if isinstance(found, Unreachable):
            raise found
        return found

    def sleep(_seconds):
        if next(naps) == 5:
            raise Enough

    seen = []
    with pytest.raises(Enough):
        seen += followed(fetch, None, sleep) or []
    stream = followed(fetch_of([[first], [first, twin], [first, twin, last]]), None, lambda _: None)
    assert [next(stream) for _ in range(3)] == [first, twin, last]
    assert sinces == [None, "1", "1", "1", "1", "2"]
    assert capsys.readouterr().err.count("trying again") == 1


def fetch_of(answers):
    left = iter(answers)
    return lambda _since: next(left)


def test_ctrl_c_ends_following_without_an_error(api, run, monkeypatch):
    api.answers["GET /logs"] = {"entries": [entry("1")]}

    def interrupt(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("mrproxy.cli.log.time.sleep", interrupt)
    result = run("log", "--follow", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, entry("1"))


def test_a_line_begins_with_when_and_what():
    assert line_of({"event": "x", "at": "1", "level": "info", "component": "c", "n": 1.5}) == "1 info c x n=1.5"
