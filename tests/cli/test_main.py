"""Shell. The commands as a first-time user meets them."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mrproxy.cli import main
from mrproxy.config import flag_of, scalar_fields


def run(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_help_shows_how_to_start_and_hides_internal_commands():
    result = run("--help")
    assert result.exit_code == 0
    assert "mrproxy serve --backend vllm=http://127.0.0.1:9001" in result.output
    listed = result.output.split("Commands:")[1].split("Settings come from")[0]
    assert [line.split()[0] for line in listed.strip().splitlines()] == [
        "audit", "backend", "config", "db", "doctor", "group", "init", "journal", "key", "log", "migrate", "model",
        "quota", "records", "serve", "session", "status", "top", "usage", "user", "version", "whoami"
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["worker", "control"])
def test_internal_commands_still_explain_themselves(command):
    result = run(command, "--help")
    assert "Started by `mrproxy serve`." in " ".join(result.output.split())


def test_every_setting_is_a_flag_of_serve_with_its_own_words():
    flags = run("serve", "--help").output
    for each in scalar_fields():
        assert flag_of(each.name) in flags


def test_a_broken_configuration_is_one_line_and_no_traceback(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text("prot = 1")
    result = run("serve", "--config", str(file))
    assert result.exit_code == 1
    assert result.output == f"Error: {file}: unknown setting 'prot'; did you mean 'port'?\n"


def test_a_wrong_value_of_a_flag_is_a_usage_error():
    result = run("serve", "--port", "x")
    assert result.exit_code == 2
    assert "'x' is not a valid integer" in result.output


def test_version_names_the_program():
    assert run("version").output.startswith("mrproxy ")


def test_commands_that_only_look_create_no_data_directory(tmp_path):
    for command in (("key", "list"), ("journal", "stat"), ("backend", "list")):
        result = run(*command, "--data-dir", str(tmp_path / "typo"))
        assert result.exit_code == 1
        assert "there is no data directory" in result.output
    assert list(tmp_path.iterdir()) == []


def test_starting_a_child_needs_no_rich_no_httpx_and_no_database():
    unwanted = {"rich", "httpx", "sqlalchemy", "alembic", "asyncio"}
    find = "from mrproxy.cli import main; main.get_command(click.Context(main), 'worker'); import mrproxy.app"
    code = f"import click, sys; {find}; print({unwanted} & {{name.partition('.')[0] for name in sys.modules}})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_command_imports_no_other():
    find = "from mrproxy.cli import main; main.get_command(click.Context(main), 'worker')"
    code = f"import click, sys; {find}; print(sorted(name for name in sys.modules if name.startswith('mrproxy')))"
    loaded = ["mrproxy", "mrproxy.cli", "mrproxy.cli.children", "mrproxy.cli.lazy"]
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == f"{loaded}\n"


def test_every_module_of_a_command_has_it_by_its_name():
    context = click.Context(main)
    assert all(main.get_command(context, name).name == name for name in main.list_commands(context))
    assert main.get_command(context, "no-such-command") is None


def test_a_command_that_is_mistyped_is_guessed():
    assert "status" in run("statsu").output
