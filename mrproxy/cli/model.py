"""Shell. `mrproxy model`: what a token of each model costs, in budgets and in money, through the API."""

from typing import Any

import click

from mrproxy.cli.client import Api, Refused, one
from mrproxy.cli.fields import MILLIONTHS, OrNone, Price, changes_of
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.options import json_option
from mrproxy.cli.output import print_one, print_rows

COLUMNS = ("name", "source", "budget_weight", "prompt_price", "completion_price", "description")


@click.group()
def model() -> None:
    """Weights and prices of models; which there are, `mrproxy status` shows.

    \b
    mrproxy model set llama-70b --weight 4 --prompt-price 0.60 --completion-price 2.40
    """


@model.command("list")
@gateway_options
@click.option("--search", help="Part of a name.")
@click.option("--source", type=click.Choice(["configuration", "managed"]), help="Where they are set.")
@json_option
def list_models(api: Api, as_json: bool, **wanted: Any) -> None:
    """List weights and prices; models that are not here weigh 1 and cost nothing.

    Prices are for a million tokens; `--json` has them in millionths of the currency.
    """
    rows = api.items("/models", **wanted)
    print_rows(rows if as_json else map(priced, rows), as_json=as_json, columns=COLUMNS)


@model.command("set")
@gateway_options
@click.argument("name")
@click.option("--weight", "budget_weight", type=click.FloatRange(min=0), help="Tokens of a budget for each token.")
@click.option("--prompt-price", type=OrNone(Price()), help="For a million tokens, in the currency: 0.15.")
@click.option("--completion-price", type=OrNone(Price()), help="For a million tokens, in the currency: 0.60.")
@click.option("--description", help="For people.")
@json_option
def set_model(api: Api, name: str, as_json: bool, **fields: Any) -> None:
    """Say what a model weighs and costs; what is not named stays, and `none` takes a price away."""
    changes = changes_of(fields)
    try:
        stands = api.patch(one("/models", name), changes)
    except Refused as refusal:
        if refusal.code != "not-found":
            raise
        stands = api.post("/models", {"name": name, **changes})
    print_one(stands if as_json else priced(stands), as_json=as_json)


@model.command()
@gateway_options
@click.argument("name")
def delete(api: Api, name: str) -> None:
    """Forget a model's weight and prices: it weighs 1 and costs nothing."""
    api.delete(one("/models", name))
    click.echo(f"{name}: weighs 1 and costs nothing")


def priced(entity: dict[str, Any]) -> dict[str, Any]:
    """For people: in the currency."""
    prices = {name: entity[name] for name in ("prompt_price", "completion_price")}
    return entity | {name: None if price is None else price / MILLIONTHS for name, price in prices.items()}
