import json

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.results import encode_result

from .results_example import example


@pytest.mark.parametrize(
    "command",
    [[], ["mock"], ["run"], ["compare"], ["report"], ["fairness"], ["memory"], ["soak"], ["departures"], ["peers"]],
)
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_a_wrong_fault_is_refused_with_the_known_ones():
    result = CliRunner().invoke(main, ["mock", "vllm", "--fault", "explode"])
    assert result.exit_code == 2
    assert "reset_stream" in result.output


def test_report_prints_a_stored_run_and_writes_html(tmp_path):
    stored = tmp_path / "run.json"
    stored.write_bytes(encode_result(example(errors={"status 503": 7})))
    result = CliRunner().invoke(main, ["report", str(stored)])
    assert result.output.startswith("FAILED 7: status 503")
    page = tmp_path / "run.html"
    assert CliRunner().invoke(main, ["report", str(stored), "--html", str(page)]).exit_code == 0
    assert "<svg" in page.read_text()
    stored.write_text("{}")
    assert CliRunner().invoke(main, ["report", str(stored)]).exit_code == 1


@pytest.mark.slow
def test_run_writes_json_on_standard_output(engine):
    arguments = ["run", "--url", engine.url, "--mock-url", engine.url, "--seconds", "0.3", "--warm-seconds", "0.1"]
    # The generator shares two cores with whatever else tests run: its lag is not what is tested here.
    result = CliRunner().invoke(main, [*arguments, "--max-tokens", "5", "--json", "-", "--max-lag-ms", "1000"])
    assert result.exit_code == 0
    value = json.loads(result.stdout)
    assert value["fidelity"]["checked"] == value["fidelity"]["identical"] > 0
    assert value["errors"] == {}
