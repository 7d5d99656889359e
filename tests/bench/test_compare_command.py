import click
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.compare import NGINX, Row
from bench.compare_command import parse_pids, print_workload, running_target, split_pair, write_report

from .test_compare import sample


def test_pairs_are_split_at_the_first_equals_sign():
    assert split_pair("a=http://x?y=z", "URL") == ("a", "http://x?y=z")
    assert parse_pids(("ours=auto", "other=1,2")) == {"ours": "auto", "other": "1,2"}
    for wrong in ("a", "=b", "a="):
        with pytest.raises(click.BadParameter):
            split_pair(wrong, "URL")


def test_a_table_shows_ratios_and_processes_and_errors(capsys):
    rows = [Row(NGINX, "json x1", [sample(NGINX, 10.0)]), Row("ours", "json x1", [sample("ours", 20.0, 1.5)])]
    print_workload("json x1", rows)
    out = capsys.readouterr().out
    assert "CPU µs/request" in out
    assert "2.00 (2.00–2.00)" in out
    assert "+0.50" in out
    assert "ours: b 2.0 µs, a 1.0 µs" in out


def test_a_report_makes_its_folder(tmp_path):
    write_report(tmp_path / "new" / "compare.json", "{}")
    assert (tmp_path / "new" / "compare.json").read_text() == "{}"


@pytest.mark.slow
def test_a_target_that_runs_already_is_found_by_its_port(engine, monkeypatch):
    pinned: list[list[int]] = []
    # Not for real: process 1 is everybody's ancestor, and the whole machine would sit on one core from then on.
    monkeypatch.setattr("bench.procfs.pin", lambda roots, core: pinned.append(roots))
    found = running_target("ours", engine.url, {}, "key")
    assert found.pids == engine.pids
    assert found.key == "key"
    assert running_target("ours", engine.url, {"ours": "1,2"}, "").pids == (1, 2)
    assert all(roots in ([*engine.pids], [1, 2]) for roots in pinned)


def test_a_wrong_target_is_a_usage_error():
    result = CliRunner().invoke(
        main, ["compare", "--target", "nonsense", "--no-nginx", "--upstream", "http://127.0.0.1:1"]
    )
    assert result.exit_code == 2
    assert "NAME=URL" in result.output
