"""Shell. `mrproxy group`: what members are allowed, through the API. Read next: `mrproxy/control/admin/groups.py`."""

from typing import Any

import click

from mrproxy.cli.client import Api, one
from mrproxy.cli.fields import AMOUNT, Names, OrNone, body_of, changes_of, limit_options, with_options
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.options import json_option
from mrproxy.cli.output import print_one, print_rows, readable

COLUMNS = ("name", "source", "weight", "is_admin", "is_auditor", "models", "limits", "shared", "captures_bodies")

group_options = with_options(
    click.option("--display-name", help="As people say it."),
    click.option("--description", help="What it is for."),
    click.option("--weight", type=AMOUNT, help="Each member's share beside others [1]."),
    click.option("--admin/--no-admin", "is_admin", default=None, help="Members administer the gateway."),
    click.option("--auditor/--no-auditor", "is_auditor", default=None, help="Members may read everything."),
    click.option("--models", type=OrNone(Names()), help="What members may use, with commas; none: all."),
    click.option("--max-keys", type=OrNone(AMOUNT), help="How many keys a member may make."),
    click.option("--key-days", type=OrNone(AMOUNT), help="For how long."),
    click.option("--captures-bodies/--no-captures-bodies", default=None, help="Keep members' prompts and answers."),
    *limit_options(whose=", each member"),
    *limit_options("shared", "shared-", ", all members together"),
)


@click.group()
def group() -> None:
    """Add, change and delete groups.

    \b
    mrproxy group add visitors --weight 1 --models llama3.2 --token-budget 100000 --budget-period monthly
    mrproxy group change visitors --shared-concurrent-requests 4
    """


@group.command("list")
@gateway_options
@click.option("--search", help="Part of a name.")
@click.option("--source", type=click.Choice(["configuration", "managed"]), help="Where they are set.")
@json_option
def list_groups(api: Api, as_json: bool, **wanted: Any) -> None:
    """List groups. `limits` are each member's, `shared` is one pot for all."""
    rows = api.items("/groups", **wanted)
    print_rows(rows if as_json else map(readable, rows), as_json=as_json, columns=COLUMNS)


@group.command()
@gateway_options
@click.argument("name")
@json_option
def show(api: Api, name: str, as_json: bool) -> None:
    """Show one group."""
    print_one(api.get(one("/groups", name)), as_json=as_json)


@group.command()
@gateway_options
@click.argument("name")
@group_options
@json_option
def add(api: Api, name: str, as_json: bool, **fields: Any) -> None:
    """Add a group."""
    print_one(api.post("/groups", {"name": name, **body_of(fields)}), as_json=as_json)


@group.command()
@gateway_options
@click.argument("name")
@click.option("--rename", "name_wanted", metavar="NAME", help="Another name.")
@group_options
@json_option
def change(api: Api, name: str, name_wanted: str | None, as_json: bool, **fields: Any) -> None:
    """Change a group; what is not named stays, and `none` takes a value away."""
    changes = changes_of({"name": name_wanted, **fields})
    print_one(api.patch(one("/groups", name), changes), as_json=as_json)


@group.command()
@gateway_options
@click.argument("name")
@click.confirmation_option("--yes", prompt="Go on?", help="Do not ask.")
def delete(api: Api, name: str) -> None:
    """Delete a group that nobody is in."""
    api.delete(one("/groups", name))
    click.echo(f"{name}: deleted")
