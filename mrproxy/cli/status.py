"""Shell. `mrproxy status` and `mrproxy whoami`: the gateway at a glance, and who one is there."""

from typing import Any

import click

from mrproxy.cli.client import Api
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.options import json_option
from mrproxy.cli.output import harmless, print_json, print_one, print_rows

BACKEND_COLUMNS = ("name", "kind", "state", "in_flight", "max_concurrent", "ttft_seconds", "models")


@click.command()
@gateway_options
@json_option
def status(api: Api, as_json: bool) -> None:
    """Show whether the gateway is ready, what warns, and how its backends do. Needs no key.

    \b
    mrproxy status --url https://llm.example.org
    """
    found = api.get("/status")
    if as_json:
        print_json(found)
        return
    for line in lines_of(found):
        click.echo(harmless(line))
    print_rows(found["backends"], as_json=False, columns=BACKEND_COLUMNS)


@click.command()
@gateway_options
@json_option
def whoami(api: Api, as_json: bool) -> None:
    """Show who one is for the gateway, and what one may do there."""
    print_one(api.get("/me"), as_json=as_json)


def lines_of(found: dict[str, Any]) -> list[str]:
    workers = ", ".join(
        worker["name"] + (f" ({worker['error']})" if worker["error"] else "") for worker in found["workers"]
    )
    readiness = "ready" if found["ready"] else f"not ready: {'; '.join(found['reasons'])}"
    return [
        f"mrproxy {found['version']}: {readiness}",
        *(f"warning: {each}" for each in found["warnings"]),
        f"workers: {workers or 'none'}; up {found['uptime_seconds']:.0f} s",
        f"{found['in_flight']} in flight, {found['waiting']} waiting, {found['connections']} connections",
    ]
