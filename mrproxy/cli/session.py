"""Shell. `mrproxy session`: where somebody is signed in, and an end to it, through the API."""

import click

from mrproxy.cli.client import Api, one
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.options import json_option
from mrproxy.cli.output import print_rows
from mrproxy.cli.user import find_user

COLUMNS = ("id", "kind", "created_utc", "seen_utc", "expires_utc", "address", "user_agent")


@click.group()
def session() -> None:
    """See and end sign-ins of users.

    \b
    mrproxy session list ada
    mrproxy session revoke ada --all
    """


@session.command("list")
@gateway_options
@click.argument("user")
@json_option
def list_sessions(api: Api, user: str, as_json: bool) -> None:
    """List where a user is signed in."""
    found = api.get(of_user(api, user))
    print_rows(found["items"], as_json=as_json, columns=COLUMNS)


@session.command()
@gateway_options
@click.argument("user")
@click.argument("session_id", metavar="[SESSION]", required=False)
@click.option("--all", "all_of_them", is_flag=True, help="All sessions of the user.")
def revoke(api: Api, user: str, session_id: str | None, all_of_them: bool) -> None:
    """End one session of a user, or all. Keys go on: `mrproxy key revoke`."""
    if (session_id is None) != all_of_them:
        raise click.UsageError("name a session (`mrproxy session list`), or --all")
    if session_id is not None:
        api.delete(one(of_user(api, user), session_id))
        click.echo(f"{user}: the session has ended")
    else:
        click.echo(f"{user}: {api.delete(of_user(api, user))['ended']} sessions have ended")


def of_user(api: Api, user: str) -> str:
    return one("/users", find_user(api, user)["id"]) + "/sessions"
