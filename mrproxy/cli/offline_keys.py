"""Shell. Keys without a database: those of keys.json. A gateway that runs is told to reload, by SIGHUP.

What is shown has the fields that the API gives them. Read next: `mrproxy/provision.py`, which writes the file.
"""

import os
import signal
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from mrproxy.cli.moments import rfc3339
from mrproxy.cli.options import errors_for_people
from mrproxy.clock import utc_now
from mrproxy.config import ConfigError
from mrproxy.config.load import parse_expiry
from mrproxy.link.snapshot import Limits
from mrproxy.provision import (
    DataDirectory,
    NewKey,
    StoredKey,
    create_key,
    open_data_directory,
    read_keys,
    revoke_key,
    supervisor_pid,
)

ONLY_MANAGED = ("scopes", "addresses")


def create(directory: DataDirectory, body: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The key, shown with itself for the only time; and where it is."""
    unknown = [f"--{name}" for name in ONLY_MANAGED if name in body]
    if unknown:
        raise click.ClickException(f"{' and '.join(unknown)}: only a gateway with a database has keys with that")
    models, expires = body.get("models"), body.get("expires_utc")
    with errors_for_people():
        wanted = NewKey(
            name=body["name"],
            user=body.get("user"),
            group=body.get("group"),
            models=None if models is None else tuple(models),
            expires_utc=None if expires is None else parse_expiry(expires, "--expires"),
            limits=Limits(**body.get("limits", {})),
        )
        open_data_directory(str(directory.root))
        secret, stored = create_key(directory, wanted, utc_now)
    return row_of(stored) | {"key": secret}, where(directory)


def list_keys(
    directory: DataDirectory, status: str | None, user: str | None, search: str | None
) -> list[dict[str, Any]]:
    with errors_for_people():
        rows = [row_of(each) for each in read_keys(directory) or ()]
    return [
        row
        for row in rows
        if status in (None, row["status"])
        and user in (None, row["user"])
        and (not search or search.casefold() in f"{row['name']} {row['id']}".casefold())
    ]


def show(directory: DataDirectory, id_or_name: str) -> dict[str, Any]:
    rows = list_keys(directory, None, None, None)
    found = [row for row in rows if row["id"] == id_or_name] or [row for row in rows if row["name"] == id_or_name]
    if len(found) != 1:
        count = "no key is" if not found else f"{len(found)} keys are"
        raise click.ClickException(f"{count} called {id_or_name!r}; see `mrproxy key list` and use the id")
    return found[0]


def revoke(directory: DataDirectory, id_or_name: str) -> tuple[dict[str, Any], str]:
    """The key, and where it was."""
    with errors_for_people():
        revoked = revoke_key(directory, id_or_name)
    return row_of(revoked), where(directory)


def has(directory: DataDirectory | None, key_id: str) -> bool:
    if directory is None:
        return False
    try:
        return any(each.id == key_id for each in read_keys(directory) or ())
    except ConfigError:
        return False


def where(directory: DataDirectory) -> str:
    """And tell the gateway."""
    pid = supervisor_pid(directory)
    if pid is None:
        return f"({directory.keys}) No gateway runs on this data directory; it will know at its next start."
    os.kill(pid, signal.SIGHUP)
    return f"({directory.keys}) The running gateway was told to reload."


def row_of(stored: StoredKey) -> dict[str, Any]:
    is_expired = stored.expires_utc is not None and stored.expires_utc <= utc_now()
    return {
        "id": stored.id,
        "name": stored.name,
        "source": "configuration",
        "status": "expired" if is_expired else "active",
        "user": stored.user,
        "group": stored.group,
        "models": stored.models,
        "limits": msgspec.structs.asdict(stored.limits),
        "expires_utc": rfc3339(stored.expires_utc),
        "created_utc": rfc3339(stored.created_utc),
    }
