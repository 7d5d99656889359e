"""Shell. `mrproxy user`: who there is, through the API. Read next: `mrproxy/control/admin/users.py`."""

import secrets
import sys
from pathlib import Path
from typing import Any

import click

from mrproxy.cli.client import Api, one
from mrproxy.cli.fields import AMOUNT, Names, OrNone, body_of, changes_of, limit_options, with_options
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.moments import Until
from mrproxy.cli.options import errors_for_people, json_option
from mrproxy.cli.output import print_json, print_one, print_rows, readable

COLUMNS = ("name", "group", "source", "is_active", "email", "weight", "models", "limits", "last_login_utc")
INVITATION_COLUMNS = ("id", "prefix", "group", "status", "email", "created_by", "expires_utc")
PASSWORD_BYTES = 18

profile_options = with_options(
    click.option("--group", help="Whose limits and weight it has [other]."),
    click.option("--email", type=OrNone(click.STRING), help="Address."),
    click.option("--full-name", help="As people say it."),
    click.option("--college", help="Where, in a university."),
    click.option("--department", help="Where, in it."),
    click.option("--intended-use", help="What for."),
    click.option("--weight", type=OrNone(AMOUNT), help="Its share beside others; none: the group's."),
    click.option("--models", type=OrNone(Names()), help="What it may use, with commas; none: all that its group may."),
    click.option("--password-file", type=click.Path(path_type=Path), help="A password in a file; - is standard input."),
    click.option("--must-change-password/--keeps-password", default=None, help="At the next sign-in."),
    click.option("--active/--inactive", "is_active", default=None, help="Whether it may come in."),
    *limit_options(),
)


@click.group()
def user() -> None:
    """Add, change and delete users.

    \b
    mrproxy user add ada --group staff --email ada@example.org
    mrproxy user change ada --token-budget 5000000 --budget-period monthly
    mrproxy user list --group staff --json
    """


@user.command("list")
@gateway_options
@click.option("--search", help="Part of a name or address.")
@click.option("--group", help="Of this group.")
@click.option("--active/--inactive", "is_active", default=None, help="Only these.")
@click.option("--source", type=click.Choice(["configuration", "managed"]), help="Where they are set.")
@json_option
def list_users(api: Api, as_json: bool, **wanted: Any) -> None:
    """List users: of the configuration, then of the database."""
    rows = api.items("/users", **wanted)
    print_rows(rows if as_json else map(readable, rows), as_json=as_json, columns=COLUMNS)


@user.command()
@gateway_options
@click.argument("name")
@json_option
def show(api: Api, name: str, as_json: bool) -> None:
    """Show one user, by name or id."""
    print_one(find_user(api, name), as_json=as_json)


@user.command()
@gateway_options
@click.argument("name")
@profile_options
@json_option
def add(api: Api, name: str, as_json: bool, password_file: Path | None, **fields: Any) -> None:
    """Add a user.

    Without a password it signs in elsewhere (OpenID Connect), or has keys only.

    \b
    mrproxy user add ada --group staff
    mrproxy user add bob --group student --token-budget 100000 --budget-period monthly
    """
    print_one(api.post("/users", {"name": name, **body_of(with_password(fields, password_file))}), as_json=as_json)


@user.command()
@gateway_options
@click.argument("name")
@click.option("--rename", "name_wanted", metavar="NAME", help="Another name.")
@profile_options
@json_option
def change(
    api: Api, name: str, name_wanted: str | None, as_json: bool, password_file: Path | None, **fields: Any
) -> None:
    """Change a user; what is not named stays, and `none` takes a value away.

    \b
    mrproxy user change ada --weight none --requests-per-minute 60
    """
    changes = changes_of({"name": name_wanted, **with_password(fields, password_file)})
    found = find_user(api, name)
    print_one(api.patch(one("/users", found["id"]), changes), as_json=as_json)


@user.command()
@gateway_options
@click.argument("name")
@click.confirmation_option("--yes", prompt="Its keys and sessions end. Go on?", help="Do not ask.")
def delete(api: Api, name: str) -> None:
    """Delete a user; who has left traces is deactivated."""
    gone = api.delete(one("/users", find_user(api, name)["id"]))
    click.echo(f"{name}: {'deleted' if gone['is_gone'] else 'deactivated, for there are records of it'}")


@user.command()
@gateway_options
@click.argument("name")
def unlock(api: Api, name: str) -> None:
    """Let a user try again who was locked out by wrong passwords."""
    api.post(one("/users", find_user(api, name)["id"]) + "/unlock")
    click.echo(f"{name}: unlocked")


@user.command("reset-password")
@gateway_options
@click.argument("name")
@click.option("--password-file", type=click.Path(path_type=Path), help="This one, instead of one made here.")
def reset_password(api: Api, name: str, password_file: Path | None) -> None:
    """Give a user a new password and print it, once; it must be changed at the next sign-in.

    Its sessions end. Standard output has nothing but the password.
    """
    with errors_for_people():
        password = read_password(password_file) if password_file is not None else secrets.token_urlsafe(PASSWORD_BYTES)
    found = find_user(api, name)
    api.patch(one("/users", found["id"]), {"password": password, "must_change_password": True})
    if password_file is None:
        click.echo(password)
    click.echo(f"{name}: has a new password, to be changed at the next sign-in; its sessions have ended.", err=True)


@user.command()
@gateway_options
@click.option("--group", help="What the new user will be in [other].")
@click.option("--email", help="The new user's address.")
@click.option("--expires", "expires_utc", type=Until(), help="Until then: 2027-12-31, 14d [7d].")
@json_option
def invite(api: Api, as_json: bool, **fields: Any) -> None:
    """Make an invitation and print its code, once. Whoever has it can make one account.

    \b
    mrproxy user invite --group student --email bob@example.org --expires 14d
    """
    made = api.post("/invitations", body_of(fields))
    if as_json:
        print_json(made)
    else:
        click.echo(made["code"])
    click.echo(f"Invitation {made['id']} into {made['group']}, until {made['expires_utc']}.", err=True)


@user.command()
@gateway_options
@click.option("--status", type=click.Choice(["active", "used", "expired", "revoked"]), help="Only these.")
@json_option
def invitations(api: Api, as_json: bool, status: str | None) -> None:
    """List invitations, the newest first."""
    print_rows(api.items("/invitations", status=status), as_json=as_json, columns=INVITATION_COLUMNS)


@user.command()
@gateway_options
@click.argument("invitation")
def uninvite(api: Api, invitation: str) -> None:
    """Revoke an invitation, by its id."""
    api.post(one("/invitations", invitation) + "/revoke")
    click.echo(f"{invitation}: revoked")


def find_user(api: Api, name: str) -> dict[str, Any]:
    return api.found("/users", name, search=name)


def with_password(fields: dict[str, Any], password_file: Path | None) -> dict[str, Any]:
    """With what the file has."""
    if password_file is None:
        return fields
    with errors_for_people():
        return fields | {"password": read_password(password_file)}


def read_password(file: Path) -> str:
    """The first line. Raises OSError."""
    if str(file) == "-":
        return sys.stdin.readline().rstrip("\n")
    with file.open(encoding="utf-8", errors="replace") as opened:
        return opened.readline().rstrip("\n")
