"""Shell. `mrproxy init`: a configuration file with every setting explained, and the data directory. Overwrites nothing.

The file says nothing that is not the default, but where the data is: what is uncommented is a decision.
Read next: `mrproxy/config/settings.py`, where the words come from.
"""

import json
import os
from itertools import groupby
from pathlib import Path

import click

from mrproxy.cli.options import errors_for_people
from mrproxy.config import Settings, about, scalar_fields, variable_of
from mrproxy.provision import open_data_directory, read_secret

HEAD = """\
# mrproxy's configuration. Every setting is here with its default, commented out; docs/configuration.md says more.
# The environment ({variable}, …) counts more than this file, and flags of `mrproxy serve` count more than both.
# A running gateway reads it again on SIGHUP; a mistake is refused with its reason, and nothing changes.
"""

TABLES = """\

# Backends, groups, users and keys stand here, or are kept in the database: `mrproxy backend add`, `mrproxy user add`.
# Of one name, what stands here counts.

# [[backends]]
# name = "gpu-1"
# kind = "vllm"                      # vllm, openai, llamacpp, ollama, anthropic, auto
# url = "http://10.0.0.5:8000"
# max_concurrent = 64

# [groups.lab]
# weight = 4
# tokens_per_minute = 200_000        # each member's

# [[users]]
# name = "ada"
# group = "lab"

# [[keys]]
# name = "ada's laptop"
# key = "$ADA_KEY"                   # read from the environment
# user = "ada"
"""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="mrproxy.toml")
@click.option("--data-dir", default="mrproxy-data", show_default=True, help="Where data is kept; made if need be.")
def init(file: Path, data_dir: str) -> None:
    """Write a commented configuration to FILE [mrproxy.toml] and make the data directory.

    \b
    mrproxy init
    mrproxy init /etc/mrproxy.toml --data-dir /var/lib/mrproxy
    """
    directory = Path(data_dir).absolute()
    with errors_for_people():
        write_new(file, document(directory))
        read_secret(open_data_directory(str(directory)))
    click.echo(f"{file}: every setting, commented out\n{directory}: the data directory\n")
    click.echo(
        "What to do next:\n"
        f"  1. look at {file}: host, port, tls_cert\n"
        f"  2. mrproxy serve --config {file}\n"
        f"  3. mrproxy backend add vllm=http://10.0.0.5:8000 --config {file}\n"
        f"  4. mrproxy user add ada --group staff --config {file}\n"
        f"     mrproxy key create --user ada --config {file}\n"
        f"  5. mrproxy doctor --config {file}"
    )


def write_new(file: Path, text: str) -> None:
    """Readable by its owner alone: keys may come to stand in it. Raises ClickException, OSError."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise click.ClickException(f"{file} is there already, and is left as it is") from exc
    with open(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)


def document(data_dir: Path) -> str:
    lines = [HEAD.format(variable=variable_of("port"))]
    for section, fields in groupby(scalar_fields(), key=lambda field: about(field).section):
        lines.append(f"\n# {section}\n")
        for field in fields:
            described = about(field)
            unit = f" [{described.unit}]" if described.unit else ""
            restart = " Read at start only." if described.restart else ""
            lines.append(f"# {described.doc}{unit}{restart}")
            if field.name == "data_dir":
                lines.append(f"data_dir = {toml(str(data_dir))}")
            else:
                lines.append(f"# {field.name} = {toml(getattr(Settings(), field.name))}")
    return "\n".join(lines) + "\n" + TABLES


def toml(value: object) -> str:
    """JSON's texts and numbers are TOML's, and so are its truths."""
    return json.dumps(value, ensure_ascii=False)
