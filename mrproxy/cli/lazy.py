"""Shell. A group of commands of which only the one that runs is imported.

The processes of `mrproxy serve` are started through the command line, again after each crash: what the commands that
administer need would be half of what they import. `--help` imports all.
"""

from importlib import import_module

import click


class LazyGroup(click.Group):
    """`modules`: command -> module of `mrproxy.cli`, in which it has the same name."""

    modules: dict[str, str]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        command = getattr(import_module(f"mrproxy.cli.{self.modules[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command
