"""Shell. `mrproxy doctor`: everything that keeps a gateway from working, looked at one after the other.

It changes nothing and needs no gateway that runs. Read next: `checks.py`, `checks_beyond.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from mrproxy.cli import checks, checks_beyond
from mrproxy.cli.checks import Finding, Level
from mrproxy.cli.client import Api, Place
from mrproxy.cli.database import database_options
from mrproxy.cli.options import json_option, load_settings
from mrproxy.cli.output import harmless, print_json
from mrproxy.clock import utc_now
from mrproxy.config import ConfigError, Settings
from mrproxy.provision import DataDirectory

COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}
GATEWAY_SECONDS = 10.0


@click.command()
@database_options
@json_option
def doctor(config_file: Path | None, data_dir: str | None, database_url: str | None, as_json: bool) -> None:
    """Look for what is wrong, and say what to do. Exit status 1 if there is an error; warnings are none.

    Configuration, data directory, secret, snapshot, journal, disk, clock, limits, certificate, database, audit log,
    each backend, and the gateway if it runs.

    \b
    mrproxy doctor --config /etc/mrproxy.toml
    """
    findings: list[Finding] = []
    for finding in examine(config_file, data_dir, database_url):
        findings.append(finding)
        if not as_json:
            say(finding)
    if as_json:
        print_json([{"check": each.check, "level": each.level.value} | words_of(each) for each in findings])
    if any(each.level is Level.ERROR for each in findings):
        raise SystemExit(1)


def examine(config_file: Path | None, data_dir: str | None, database_url: str | None) -> Iterator[Finding]:
    """One by one: some take seconds."""
    try:
        settings, _ = load_settings(config_file, {"data_dir": data_dir, "database_url": database_url})
    except ConfigError as exc:
        yield checks.error("configuration", str(exc), "correct it; nothing else can be looked at")
        return
    yield checks.ok("configuration", str(config_file or "no file"))
    directory, now_utc = DataDirectory(Path(settings.data_dir).absolute()), utc_now()
    found = checks.check_directory(directory)
    yield found
    if found.level is not Level.ERROR:
        yield checks.check_secret(directory)
        yield checks.check_snapshot(directory)
        yield checks.check_journal(directory)
        yield checks.check_disk(directory)
    yield checks.check_clock(directory, now_utc)
    yield checks.check_descriptors(settings)
    yield from checks.check_tls(settings, now_utc)
    yield from look_beyond(settings, directory)


def look_beyond(settings: Settings, directory: DataDirectory) -> Iterator[Finding]:
    from mrproxy.storage.urls import locate

    if settings.records:
        try:
            location = locate(settings.database_url, directory.root)
        except ConfigError as exc:
            yield checks.error("database", str(exc), "correct --database-url")
        else:
            yield from checks_beyond.check_database(location, directory.root)
    else:
        yield checks.ok("database", "none is wanted (records = false)")
    backends = checks_beyond.backends_of(settings, directory)
    yield from checks_beyond.check_backends(backends, settings.probe_deadline_seconds)
    yield checks_beyond.check_gateway(Api(Place(GATEWAY_SECONDS, directory=directory)))


def words_of(finding: Finding) -> dict[str, str]:
    return {"detail": finding.detail, "advice": finding.advice}


def say(finding: Finding) -> None:
    level = click.style(f"{finding.level.value:<8}", fg=COLOURS[finding.level])
    click.echo(f"{level}{harmless(finding.check)}: {harmless(finding.detail)}")
    if finding.advice:
        click.echo(f"{'':<8}→ {harmless(finding.advice)}")
