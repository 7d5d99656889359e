import pytest
from click.testing import CliRunner

from bench.mock_command import mock


def settings_of(monkeypatch, *arguments):
    seen = []
    monkeypatch.setattr("bench.mock_command.serve_mock", lambda *given: seen.append(given))
    result = CliRunner().invoke(mock, list(arguments))
    assert result.exit_code == 0, result.output
    return seen[0]


def test_defaults_are_those_of_the_engines(monkeypatch):
    settings, _, port, rules, _ = settings_of(monkeypatch, "vllm")
    assert (settings.max_num_seqs, settings.queue_limit, port, rules) == (256, 0, 9001, [])
    settings, _, port, _, _ = settings_of(monkeypatch, "ollama")
    assert (settings.max_num_seqs, settings.queue_limit, port) == (4, 512, 9002)


def test_options_reach_the_engine_in_seconds(monkeypatch):
    given = settings_of(
        monkeypatch, "vllm", "--itl-ms", "5", "--json-ms", "0", "--load-ms", "10", "--model", "a", "--model", "b"
    )
    settings = given[0]
    assert (settings.itl_seconds, settings.json_seconds, settings.load_seconds) == (0.005, 0.0, 0.01)
    assert settings.models == ("a", "b")


@pytest.mark.parametrize("text", ["hang", "status_503,probability=0.5", "truncate,count=2,after_tokens=9"])
def test_faults_from_the_start_become_rules(monkeypatch, text):
    rules = settings_of(monkeypatch, "vllm", "--fault", text)[3]
    assert rules[0].fault.kind == text.split(",")[0]


def test_quirks_are_the_engines_own_unless_chosen(monkeypatch):
    assert settings_of(monkeypatch, "ollama")[0].tool_style == "index0"
    settings, _, port, _, _ = settings_of(monkeypatch, "anthropic")
    assert (settings.kind, port, settings.native) == ("anthropic", 9003, ())
    options = (
        "--tool-style",
        "interleaved",
        "--reasoning-field",
        "both",
        "--native",
        "messages, responses",
        "--num-ctx",
        "8192",
    )
    chosen = settings_of(monkeypatch, "vllm", *options)[0]
    assert (chosen.tool_style, chosen.reasoning_field) == ("interleaved", "both")
    assert (chosen.native, chosen.num_ctx) == (("messages", "responses"), 8192)


def test_unknown_dialects_are_refused():
    result = CliRunner().invoke(mock, ["vllm", "--native", "messages,gopher"])
    assert result.exit_code == 2
    assert "gopher" in result.output
