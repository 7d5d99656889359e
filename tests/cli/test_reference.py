"""Shell. docs/cli.md is what the commands say of themselves, and every command shows how it is used."""

from pathlib import Path

import click
import pytest

from mrproxy.cli import main
from mrproxy.cli.reference import document, visible

COMMANDS = list(visible(main, ("mrproxy",)))


def test_the_committed_file_is_in_step():
    committed = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert committed == document(main), "run: python -m mrproxy.cli.reference > docs/cli.md"


@pytest.mark.parametrize(
    ("path", "command"), COMMANDS, ids=lambda each: " ".join(each) if isinstance(each, tuple) else ""
)
def test_every_command_and_option_has_words(path, command):
    assert command.help, path
    assert all(param.help for param in command.params if isinstance(param, click.Option) and param.name != "help"), path


def test_what_is_for_the_supervisor_is_left_out():
    assert not {"worker", "control"} & {path[1] for path, _ in COMMANDS}


def test_no_example_has_a_key_on_the_command_line():
    for path, command in COMMANDS:
        assert "--key mr_" not in (command.help or ""), path
        assert "--key=mr_" not in (command.help or ""), path
