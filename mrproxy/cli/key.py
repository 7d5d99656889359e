"""Shell. `mrproxy key`: the keys of a data directory. A running gateway is told to reload by SIGHUP."""

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from mrproxy.cli.options import data_dir_options, data_directory, errors_for_people, json_option
from mrproxy.cli.output import print_json, print_rows
from mrproxy.clock import utc_now
from mrproxy.config.load import parse_expiry
from mrproxy.identity.digest import digest_key
from mrproxy.link.snapshot import Limits
from mrproxy.provision import (
    DataDirectory,
    NewKey,
    StoredKey,
    create_key,
    read_keys,
    read_secret,
    revoke_key,
    supervisor_pid,
)

AMOUNT = click.IntRange(min=1)
COLUMNS = ("id", "name", "user", "group", "models", "expires", "created", "limits")


@click.group()
def key() -> None:
    """Create, list and revoke API keys."""


@key.command()
@data_dir_options
@json_option
@click.option("--name", default="", help="For people; default: the user.")
@click.option("--user", default=None, help="Whose key it is; without one it is a caller of its own.")
@click.option("--group", default=None, help="The user's group, if the configuration does not list the user.")
@click.option("--models", default=None, help="Comma-separated models it may use; default: all.")
@click.option("--expires", default=None, help="RFC 3339, such as 2027-12-31T00:00:00Z.")
@click.option("--requests-per-minute", type=AMOUNT, default=None)
@click.option("--tokens-per-minute", type=AMOUNT, default=None)
@click.option("--concurrent-requests", type=AMOUNT, default=None)
@click.option("--token-budget", type=AMOUNT, default=None, help="Tokens in all, then no more.")
def create(
    config_file: Path | None,
    data_dir: str | None,
    as_json: bool,
    name: str,
    user: str | None,
    group: str | None,
    models: str | None,
    expires: str | None,
    **limits: int | None,
) -> None:
    """Create a key and print it, once. Standard output has nothing but the key."""
    with errors_for_people():
        directory = data_directory(config_file, data_dir, create=True)
        wanted = NewKey(
            name=name or user or "unnamed",
            user=user,
            group=group,
            models=tuple(each.strip() for each in models.split(",") if each.strip()) if models else None,
            expires_utc=None if expires is None else parse_expiry(expires, "--expires"),
            limits=Limits(**limits),
        )
        secret, stored = create_key(directory, wanted, utc_now)
    if as_json:
        print_json(row_of(stored) | {"key": secret})
    else:
        click.echo(secret)
    click.echo(f"Key {stored.id} ({stored.name}); it cannot be shown again. {reload_running(directory)}", err=True)


@key.command("list")
@data_dir_options
@json_option
def list_keys(config_file: Path | None, data_dir: str | None, as_json: bool) -> None:
    """List the keys of the data directory; those of the configuration are in `mrproxy config show`."""
    with errors_for_people():
        keys = read_keys(data_directory(config_file, data_dir)) or ()
    print_rows([row_of(each) for each in keys], as_json=as_json, columns=COLUMNS)


@key.command()
@data_dir_options
@click.argument("id_or_name")
def revoke(config_file: Path | None, data_dir: str | None, id_or_name: str) -> None:
    """Revoke a key for good."""
    with errors_for_people():
        directory = data_directory(config_file, data_dir)
        revoked = revoke_key(directory, id_or_name)
    click.echo(f"Revoked {revoked.id} ({revoked.name}). {reload_running(directory)}")


@key.command()
@data_dir_options
def digest(config_file: Path | None, data_dir: str | None) -> None:
    """Read a key from standard input and print its digest, for `digest` in [[keys]]."""
    with errors_for_people():
        secret = read_secret(data_directory(config_file, data_dir))
    text = sys.stdin.readline().strip()
    if not text:
        raise click.ClickException("no key on standard input")
    click.echo(digest_key(secret, text.encode()).hex())


def reload_running(directory: DataDirectory) -> str:
    pid = supervisor_pid(directory)
    if pid is None:
        return "No gateway runs on this data directory; it will know at its next start."
    os.kill(pid, signal.SIGHUP)
    return "The running gateway was told to reload."


def row_of(stored: StoredKey) -> dict[str, object]:
    limits = {name: value for name in stored.limits.__struct_fields__ if (value := getattr(stored.limits, name))}
    if "token_budget" not in limits:
        del limits["budget_period"]
    return {
        "id": stored.id,
        "name": stored.name,
        "user": stored.user,
        "group": stored.group,
        "models": stored.models,
        "expires": moment(stored.expires_utc),
        "created": moment(stored.created_utc),
        "limits": limits,
    }


def moment(utc: float | None) -> str | None:
    return None if utc is None else datetime.fromtimestamp(utc, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
