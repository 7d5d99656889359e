"""Shell. `mrproxy config`: what would be used, and where each value comes from."""

from pathlib import Path
from typing import Any

import click

from mrproxy.cli.options import errors_for_people, json_option, load_settings, settings_options
from mrproxy.cli.output import print_rows
from mrproxy.config.describe import markdown, rows


@click.group()
def config() -> None:
    """Show or document the settings."""


@config.command()
@settings_options
@json_option
def show(config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """Print every setting with its value and origin. Takes the flags of `serve`; secrets are masked."""
    with errors_for_people():
        settings, origins = load_settings(config_file, flags)
    listed = [{"setting": name, "value": value, "origin": origin} for name, value, origin in rows(settings, origins)]
    print_rows(listed, as_json=as_json, columns=("setting", "value", "origin"))


@config.command()
def docs() -> None:
    """Print docs/configuration.md."""
    click.echo(markdown(), nl=False)
