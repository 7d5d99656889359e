"""Shell. `mrproxy quota`: who asks for more, and the answer, through the API."""

from typing import Any

import click

from mrproxy.cli.client import Api, one
from mrproxy.cli.fields import AMOUNT, body_of
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.options import json_option
from mrproxy.cli.output import print_one, print_rows

COLUMNS = (
    "id",
    "user",
    "status",
    "requested_tokens",
    "requested_requests_per_minute",
    "granted_tokens",
    "granted_requests_per_minute",
    "created_utc",
    "justification",
)


@click.group()
def quota() -> None:
    """Requests for a larger budget or more requests per minute.

    \b
    mrproxy quota list --status pending
    mrproxy quota approve 7 --tokens 500000 --notes "until the end of term"
    """


@quota.command("list")
@gateway_options
@click.option("--status", type=click.Choice(["pending", "approved", "denied"]), help="Only these.")
@click.option("--user", help="Of this user.")
@click.option("--mine", is_flag=True, help="One's own.")
@json_option
def list_requests(api: Api, as_json: bool, mine: bool, **wanted: Any) -> None:
    """List requests, the newest first."""
    if mine and any(value is not None for value in wanted.values()):
        raise click.UsageError("--mine stands alone")
    path = "/me/quota-requests" if mine else "/quota-requests"
    print_rows(api.items(path, **wanted), as_json=as_json, columns=COLUMNS)


@quota.command()
@gateway_options
@click.option("--tokens", "requested_tokens", type=AMOUNT, help="On top of the budget.")
@click.option("--requests-per-minute", "requested_requests_per_minute", type=AMOUNT, help="Instead of what is.")
@click.option("--justification", help="What for.")
@json_option
def ask(api: Api, as_json: bool, **fields: Any) -> None:
    """Ask for more, for oneself: with one's own key."""
    print_one(api.post("/me/quota-requests", body_of(fields)), as_json=as_json)


@quota.command()
@gateway_options
@click.argument("number")
@click.option("--tokens", "granted_tokens", type=AMOUNT, help="So many, instead of what was asked for.")
@click.option("--requests-per-minute", "granted_requests_per_minute", type=AMOUNT, help="The same.")
@click.option("--notes", help="Why; the user can read it.")
@json_option
def approve(api: Api, number: str, as_json: bool, **fields: Any) -> None:
    """Grant a request: it is in force at once."""
    review(api, number, {"is_approved": True, **body_of(fields)}, as_json)


@quota.command()
@gateway_options
@click.argument("number")
@click.option("--notes", help="Why; the user can read it.")
@json_option
def deny(api: Api, number: str, as_json: bool, **fields: Any) -> None:
    """Deny a request."""
    review(api, number, {"is_approved": False, **body_of(fields)}, as_json)


def review(api: Api, number: str, body: dict[str, Any], as_json: bool) -> None:
    print_one(api.post(one("/quota-requests", number) + "/review", body), as_json=as_json)
