"""Shell. docs/cli.md, out of the commands themselves: `python -m mrproxy.cli.reference > docs/cli.md`.

tests/cli/test_reference.py compares the two, so the file cannot fall behind.
"""

import sys
from collections.abc import Iterator, Sequence

import click

from mrproxy.config import scalar_fields

GATEWAY = ("config_file", "data_dir", "url", "key", "key_file", "timeout_seconds")
SETTINGS = tuple(field.name for field in scalar_fields())
# What else a command takes, an option by which that is seen, and all of them.
TAKES = (
    ("every setting as a flag (docs/configuration.md)", "drain_seconds", SETTINGS),
    ("the options of the gateway", "timeout_seconds", GATEWAY),
)

INTRODUCTION = """\
# The command line

<!-- Generated: python -m mrproxy.cli.reference > docs/cli.md -->

`mrproxy COMMAND --help` prints the same. On a terminal lists are tables, on a pipe tab-separated text with a head;
every list and every `show` has `--json`. What strangers wrote (names, models, errors) cannot steer the terminal.

## Which gateway

What administers goes through the API (docs/api.md), and there are two ways to it:

- **Here.** Without `--url` it is the gateway of the data directory (`--data-dir`, `MRPROXY_DATA_DIR`, or `data_dir` of
  the configuration), asked on `data_dir/run/control.sock`. Whoever owns the directory may everything, and needs no key.
- **Elsewhere.** `--url https://llm.example.org`, or `MRPROXY_URL`, with an API key from a file (`--key-file`,
  `MRPROXY_KEY_FILE`) or the environment (`MRPROXY_KEY`). There is `--key` as well, but other users of the machine can
  read arguments. A key may what its user and its scopes allow: `mrproxy whoami`; for what is one's own, `--mine`.
  Certificates are checked against the system's, or those of `SSL_CERT_FILE`; redirections are not followed.

A flag counts more than a variable: with `--data-dir` the gateway is here, whatever MRPROXY_URL says.

GATEWAY_OPTIONS_HERE

Some commands need no gateway: `doctor`, `init`, `config`, `migrate`, `db`, `journal`, `audit verify`; `records` and
`usage` read the database here, and ask elsewhere; `log` reads the files where nobody answers; `backend list` and
`backend drain` then ask the workers. `key` works on keys.json where no gateway with a database runs, and says so.

## Exit status

| | |
|---|---|
| 0 | done |
| 1 | refused, not found, or something is wrong (`doctor`, `audit verify`, `db check`) |
| 2 | wrong usage |
| 3 | no gateway answers there |

What was refused is said in the gateway's words, with what is wrong where. A change whose answer was lost on the way is
sent once more with the same `Idempotency-Key`, so it is done once. `none` takes a value away: `--token-budget none`.

## Commands
"""


def document(main: click.Group) -> str:
    commands = list(visible(main, ("mrproxy",)))
    example = next(command for path, command in commands if path == ("mrproxy", "status"))
    common = "\n".join(f"    {line}".rstrip() for line in options_of(example, GATEWAY).splitlines())
    parts = [INTRODUCTION.replace("GATEWAY_OPTIONS_HERE", common)]
    return "\n".join([*parts, *(section(path, command) for path, command in commands)])


def section(path: tuple[str, ...], command: click.Command) -> str:
    """As `--help` has it, but for the options that many have."""
    context = context_of(command, " ".join(path))
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    command.format_help_text(context, formatter)
    names = [param.name for param in command.params if isinstance(param, click.Option)]
    elsewhere = {name for _, marker, those in TAKES if marker in names for name in those}
    own = [name for name in names if name not in elsewhere]
    text = formatter.getvalue() + (f"\n{options_of(command, own)}" if own else "")
    lines = "\n".join(line.rstrip() for line in text.rstrip().splitlines())
    takes = [words for words, marker, _ in TAKES if marker in names]
    more = f"\nAnd {', '.join(takes)}.\n" if takes else ""
    return f"### {' '.join(path)}\n\n```text\n{lines}\n```\n{more}"


def options_of(command: click.Command, names: Sequence[str | None]) -> str:
    context = context_of(command, "")
    records = [param.get_help_record(context) for param in command.params if param.name in names]
    formatter = context.make_formatter()
    with formatter.indentation():
        formatter.write_dl([record for record in records if record is not None])
    return formatter.getvalue()


def context_of(command: click.Command, name: str) -> click.Context:
    return click.Context(command, info_name=name, max_content_width=100, terminal_width=100)


def visible(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command behind its group, in the order of their names; what is hidden is for the supervisor."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from visible(command, (*path, name))


if __name__ == "__main__":
    from mrproxy.cli import main

    sys.stdout.write(document(main))
