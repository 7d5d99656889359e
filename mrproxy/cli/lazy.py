"""Shell. A group's commands, of which only the one that runs is imported.

The processes of `mrproxy serve` are started through the command line, again after each crash: what the commands that
administer need would be half of what they import. `--help` imports all.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click


class LazyCommands(MutableMapping[str, click.Command]):
    """`modules`: command -> module of `mrproxy.cli`, in which it has the same name. Commands can be added, too."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules
        self._commands: dict[str, click.Command | None] = dict.fromkeys(modules)

    def __getitem__(self, name: str) -> click.Command:
        command = self._commands[name]
        if command is None:
            found = getattr(import_module(f"mrproxy.cli.{self._modules[name]}"), name)
            assert isinstance(found, click.Command)
            command = self._commands[name] = found
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)

    def __contains__(self, name: object) -> bool:
        return name in self._commands
