"""Shell. `mrproxy serve`. The processes that it starts are `children.py`."""

import sys
from pathlib import Path
from typing import Any

import click
import trio

from mrproxy.cli.options import errors_for_people, load_settings, settings_options
from mrproxy.clock import utc_now
from mrproxy.config import ConfigError, Settings
from mrproxy.supervisor import Supervisor
from mrproxy.telemetry.log import open_log

STDERR = 2


@click.command(
    epilog="Every flag is also a key of the TOML file and an environment variable MRPROXY_<NAME>. "
    "SIGTERM drains, SIGHUP reloads."
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, hidden=True, help="Relay processes on the one port.")
@settings_options
def serve(config_file: Path | None, workers: int, **flags: Any) -> None:
    """Serve: start the gateway with all its parts and keep them running."""

    def load() -> Settings:
        return load_settings(config_file, flags)[0]

    with errors_for_people():
        check_database(load())
    log = open_log(STDERR, utc_now, "supervisor")
    with errors_for_people():
        names = tuple(f"w{number}" for number in range(1, workers + 1))
        trio.run(Supervisor(load, log, utc_now, sys.stdout, workers=names).serve)


def check_database(settings: Settings) -> None:
    """Refuse an address that means no database; whether anybody answers there, nobody waits for. Raises UsageError."""
    if not (settings.records and settings.database_url):
        return
    from mrproxy.storage.urls import locate  # only here: the default needs none of SQLAlchemy's 20 MB

    try:
        locate(settings.database_url, Path(settings.data_dir))
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc
