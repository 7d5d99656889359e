"""Shell. `mrproxy key`: API keys, in one of two ways.

A gateway that runs with a database is asked through its API. Without one the keys are those of keys.json in the data
directory, and a gateway that runs is told to reload (`offline_keys.py`). Which way it was, standard error says.
Read next: `mrproxy/control/admin/keys.py`.
"""

import sys
from pathlib import Path
from typing import Any

import click

from mrproxy.cli import offline_keys
from mrproxy.cli.client import Api, Refused, Unreachable, one
from mrproxy.cli.fields import Lasting, Names, OrNone, body_of, changes_of, limit_options, with_options
from mrproxy.cli.gateway import founding_gateway_options, gateway_options
from mrproxy.cli.moments import Until
from mrproxy.cli.options import data_dir_options, data_directory, errors_for_people, json_option
from mrproxy.cli.output import print_json, print_one, print_rows, readable
from mrproxy.identity.digest import digest_key
from mrproxy.link.snapshot import SnapshotError, read
from mrproxy.provision import DataDirectory, read_secret, supervisor_pid

COLUMNS = (
    "id",
    "name",
    "source",
    "status",
    "user",
    "group",
    "models",
    "expires_utc",
    "created_utc",
    "last_used_utc",
    "limits",
)
CONFIGURATION = "configuration"
NEEDS_DATABASE = "this needs a gateway that runs with a database; keys.json has none of it"

offline_option = click.option("--offline", is_flag=True, help="Use keys.json of the data directory, and no API.")
mine_option = click.option("--mine", is_flag=True, help="One's own keys, with a key that has the scope `own`.")
kind_options = with_options(
    click.option("--models", type=OrNone(Names()), help="Models it may use, with commas; none: all."),
    click.option("--scopes", type=Names(), help="What it may do [inference]; read, own, admin, …: docs/api.md."),
    click.option("--addresses", type=OrNone(Names()), help="Networks it may come from: 10.0.0.0/8, 2001:db8::/32."),
    click.option("--expires", "expires_utc", type=OrNone(Until()), help="2027-12-31, RFC 3339, or 90d from now."),
    *limit_options(),
)


@click.group()
def key() -> None:
    """Create, change and revoke API keys.

    With a running gateway that has a database they are kept there; otherwise in keys.json of the data directory.

    \b
    mrproxy key create --user ada --expires 90d
    mrproxy key rotate 3f0c25e1a9b7 --overlap 24h
    mrproxy key create --mine --name laptop --url https://llm.example.org --key-file ~/.mrproxy-key
    """


@key.command()
@founding_gateway_options
@offline_option
@mine_option
@click.option("--name", help="For people; default: the user.")
@click.option("--user", help="Whose key it is; a user that is new is made.")
@click.option("--group", help="Without --user: a service key of this group. With it: of a new user [other].")
@kind_options
@json_option
def create(api: Api, offline: bool, mine: bool, as_json: bool, **fields: Any) -> None:
    """Create a key and print it, once. Standard output has nothing but the key.

    \b
    mrproxy key create --user ada --group staff
    mrproxy key create --name ci --group service --models llama3.2 --requests-per-minute 60
    """
    body = body_of(fields)
    body.setdefault("name", body.get("user") or body.get("group") or "unnamed")
    directory = None if mine else directory_for(api, offline)
    if directory is None and not mine:
        directory = prepare_owner(api, body)
    if directory is not None:
        made, where = offline_keys.create(directory, body)
    else:
        made, where = api.post("/me/keys" if mine else "/keys", body), "It is in force, and kept in the database."
    if as_json:
        print_json(made)
    else:
        click.echo(made["key"])
    click.echo(f"Key {made['id']} ({made['name']}); it cannot be shown again. {where}", err=True)


@key.command("list")
@gateway_options
@offline_option
@mine_option
@click.option("--status", type=click.Choice(["active", "expired", "revoked"]), help="Only these.")
@click.option("--user", help="Of this user.")
@click.option("--search", help="Part of a name.")
@json_option
def list_keys(api: Api, offline: bool, mine: bool, as_json: bool, **wanted: Any) -> None:
    """List keys: of the configuration and keys.json, then of the database."""
    if mine:
        unknown = [name for name in ("user", "search") if wanted.pop(name) is not None]
        if unknown:
            raise click.UsageError("--mine has no --user and no --search")
    directory = None if mine else directory_for(api, offline)
    if directory is None:
        rows = api.items("/me/keys" if mine else "/keys", **wanted)
    else:
        rows = iter(offline_keys.list_keys(directory, **wanted))
        click.echo(f"These are the keys of {directory.keys}, without a database.", err=True)
    print_rows(rows if as_json else map(readable, rows), as_json=as_json, columns=COLUMNS)


@key.command()
@gateway_options
@offline_option
@mine_option
@click.argument("id_or_name")
@json_option
def show(api: Api, offline: bool, mine: bool, id_or_name: str, as_json: bool) -> None:
    """Show one key, never the key itself."""
    directory = None if mine else directory_for(api, offline)
    if directory is None:
        print_one(found_key(api, id_or_name, mine=mine), as_json=as_json)
    else:
        print_one(offline_keys.show(directory, id_or_name), as_json=as_json)


@key.command()
@gateway_options
@click.argument("id_or_name")
@click.option("--rename", "name", metavar="NAME", help="Another name.")
@kind_options
@json_option
def change(api: Api, id_or_name: str, as_json: bool, **fields: Any) -> None:
    """Change a key of the database; what is not named stays, and `none` takes a value away."""
    changes = changes_of(fields)
    refuse_offline(directory_for(api, offline=False))
    print_one(api.patch(one("/keys", found_key(api, id_or_name)["id"]), changes), as_json=as_json)


@key.command()
@gateway_options
@offline_option
@mine_option
@click.argument("id_or_name")
def revoke(api: Api, offline: bool, mine: bool, id_or_name: str) -> None:
    """Revoke a key for good. When this returns it is good for nothing."""
    directory = None if mine else directory_for(api, offline)
    if directory is None:
        found = found_key(api, id_or_name, mine=mine)
        if found["source"] == CONFIGURATION and offline_keys.has(api.place.directory, found["id"]):
            directory, id_or_name = api.place.directory, found["id"]
    if directory is not None:
        revoked, where = offline_keys.revoke(directory, id_or_name)
    else:
        path = "/me/keys" if mine else "/keys"
        revoked, where = api.post(one(path, found["id"]) + "/revoke"), "Nobody can use it from now on."
    click.echo(f"Revoked {revoked['id']} ({revoked['name']}). {where}")


@key.command()
@gateway_options
@mine_option
@click.argument("id_or_name")
@click.option("--overlap", "overlap_seconds", type=Lasting(), help="How long the old key is good beside: 24h [0].")
@click.option("--expires", "expires_utc", type=Until(), help="Of the new key: 2027-12-31, 90d.")
@json_option
def rotate(api: Api, mine: bool, id_or_name: str, as_json: bool, **fields: Any) -> None:
    """Replace a key by a new one with the same rights, and print that, once."""
    if not mine:
        refuse_offline(directory_for(api, offline=False))
    path = one("/me/keys" if mine else "/keys", found_key(api, id_or_name, mine=mine)["id"])
    made = api.post(f"{path}/rotate", body_of(fields))
    if as_json:
        print_json(made)
    else:
        click.echo(made["key"])
    click.echo(f"Key {made['id']} ({made['name']}); it cannot be shown again.", err=True)


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


def directory_for(api: Api, offline: bool) -> DataDirectory | None:
    """The directory whose keys.json is to be used; None: ask the API. Raises Unreachable, Refused."""
    directory = api.place.directory
    if directory is None:
        if offline:
            raise click.UsageError("--offline is for a data directory on this machine")
        return None
    if offline:
        return directory
    try:
        return directory if api.get("/status")["storage"] is None else None
    except Unreachable as exc:
        if supervisor_pid(directory) is None or not has_database(directory):
            return directory
        hint = "it runs, and may still be starting; --offline uses keys.json"
        raise Unreachable(f"{exc.message}; {hint}") from exc


def has_database(directory: DataDirectory) -> bool:
    """Of a gateway that runs and does not answer, by what it serves from."""
    try:
        return read(directory.configured).settings.records
    except SnapshotError:
        return False


def refuse_offline(directory: DataDirectory | None) -> None:
    if directory is not None:
        raise click.ClickException(NEEDS_DATABASE)


def found_key(api: Api, id_or_name: str, *, mine: bool = False) -> dict[str, Any]:
    """By id, or by the name of a key that is good."""
    if mine:
        return api.found("/me/keys", id_or_name, status="active")
    return api.found("/keys", id_or_name, status="active", search=id_or_name)


def prepare_owner(api: Api, body: dict[str, Any]) -> DataDirectory | None:
    """Whose key it will be, made if need be. A directory: a user of the configuration has his keys in keys.json."""
    user, group = body.get("user"), body.get("group")
    if user is None:
        body.setdefault("group", "other")
        return None
    try:
        owner = api.found("/users", user, search=user)
    except Refused as refusal:
        if refusal.status != 404:
            raise
        owner = api.post("/users", {"name": user, "group": group or "other"})
        click.echo(f"User {user} was made, in {owner['group']}.", err=True)
    if owner["source"] == CONFIGURATION and api.place.directory is not None:
        return api.place.directory
    if group is not None and owner["group"] != group:
        raise Refused(f"{user} is in {owner['group']}: `mrproxy user change` puts users into other groups.", 409)
    body.pop("group", None)
    return None
