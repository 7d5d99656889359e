"""Shell. `mrproxy doctor` as a whole."""

import json

from click.testing import CliRunner

from mrproxy.cli import main


def run(*words: str):
    return CliRunner().invoke(main, ["doctor", *words])


def test_a_new_directory_has_warnings_and_no_error(tmp_path):
    CliRunner().invoke(main, ["init", str(tmp_path / "m.toml"), "--data-dir", str(tmp_path / "d")])
    result = run("--config", str(tmp_path / "m.toml"))
    assert result.exit_code == 0, result.output
    assert "ok      data directory: " in result.stdout
    assert "warning gateway: none runs\n        → start it with `mrproxy serve`\n" in result.stdout
    found = {
        each["check"]: each["level"] for each in json.loads(run("--config", str(tmp_path / "m.toml"), "--json").stdout)
    }
    assert (found["secret"], found["database"], found["backends"]) == ("ok", "warning", "warning")


def test_an_error_is_exit_status_1_and_nothing_is_made(tmp_path):
    result = run("--data-dir", str(tmp_path / "typo"))
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "start `mrproxy serve` once, or name it with --data-dir" in result.stdout


def test_a_broken_configuration_is_the_only_finding(tmp_path):
    (tmp_path / "m.toml").write_text("prot = 1")
    result = run("--config", str(tmp_path / "m.toml"))
    assert result.exit_code == 1
    assert "did you mean 'port'?" in result.stdout
    assert "data directory" not in result.stdout


def test_without_a_database_none_is_looked_for(tmp_path):
    (tmp_path / "m.toml").write_text(f'records = false\ndata_dir = "{tmp_path / "d"}"')
    assert "none is wanted (records = false)" in run("--config", str(tmp_path / "m.toml")).stdout
    (tmp_path / "n.toml").write_text(f'database_url = "mysql://x"\ndata_dir = "{tmp_path / "d"}"')
    assert "error   database: " in run("--config", str(tmp_path / "n.toml")).stdout
