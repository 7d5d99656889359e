"""Shell. `mrproxy config`: what would be used, and where each value comes from."""

from pathlib import Path
from typing import Any

import click

from mrproxy.cli.client import Api
from mrproxy.cli.gateway import remote_options
from mrproxy.cli.options import errors_for_people, json_option, load_settings, settings_options
from mrproxy.cli.output import print_rows
from mrproxy.config.describe import markdown, rows


@click.group()
def config() -> None:
    """Show or document the settings."""


@config.command()
@settings_options
@remote_options
@json_option
def show(config_file: Path | None, api: Api | None, as_json: bool, **flags: Any) -> None:
    """Print every setting with its value and origin. Takes the flags of `serve`; secrets are masked.

    With --url and no such flag, the settings of a gateway elsewhere, as they are in force; secrets are left out.

    \b
    mrproxy config show --config /etc/mrproxy.toml
    mrproxy config show --url https://llm.example.org
    """
    if api is not None and not any(value not in (None, ()) for value in flags.values()):
        there = [{"setting": each["name"], "origin": each["source"], **each} for each in api.get("/settings")["items"]]
        print_rows(there, as_json=as_json, columns=("setting", "value", "origin"))
        return
    with errors_for_people():
        settings, origins = load_settings(config_file, flags)
    listed = [{"setting": name, "value": value, "origin": origin} for name, value, origin in rows(settings, origins)]
    print_rows(listed, as_json=as_json, columns=("setting", "value", "origin"))


@config.command()
def docs() -> None:
    """Print docs/configuration.md."""
    click.echo(markdown(), nl=False)
