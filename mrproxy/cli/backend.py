"""Shell. `mrproxy backend`: what answers requests, through the API.

Looking and draining need no control plane: where it does not answer, the workers are asked on their own sockets
(`worker_sockets.py`). Draining is forgotten when a worker restarts; disabling is kept.
Read next: `mrproxy/control/admin/backends.py`.
"""

import sys
from pathlib import Path
from typing import Any

import click

from mrproxy.cli import worker_sockets
from mrproxy.cli.client import Api, Refused, Unreachable, one
from mrproxy.cli.fields import AMOUNT, NULL, Names, OrNone, Pairs, body_of, changes_of, with_options
from mrproxy.cli.gateway import gateway_options
from mrproxy.cli.options import errors_for_people, json_option
from mrproxy.cli.output import print_one, print_rows
from mrproxy.config.tables import KINDS

COLUMNS = ("name", "source", "kind", "url", "state", "in_flight", "max_concurrent", "models")
PLACE = click.Path(path_type=Path, dir_okay=False)

backend_options = with_options(
    click.option("--max-concurrent", type=OrNone(AMOUNT), help="Requests at the same time; none: as for its kind."),
    click.option("--api-key-file", type=PLACE, help="What it wants from us, in a file; - is standard input."),
    click.option("--models", type=OrNone(Names()), help="Of its models only these, with commas; none: all."),
    click.option("--aliases", type=Pairs(), help="PUBLIC=OWN names of models, with commas."),
    click.option("--num-ctx", type=OrNone(AMOUNT), help="Context length, for kind ollama."),
    click.option("--capabilities", type=OrNone(Names()), help="What it can do, where that is not found out: vision, …"),
    click.option("--priority", type=int, help="Before others, if higher."),
    click.option("--notes", help="For people."),
)


@click.group()
def backend() -> None:
    """Add, drain and remove backends.

    \b
    mrproxy backend add vllm=http://10.0.0.5:8000 --name gpu-1 --max-concurrent 64
    mrproxy backend drain gpu-1
    mrproxy backend list --json
    """


@backend.command("list")
@gateway_options
@click.option("--search", help="Part of a name.")
@click.option("--kind", help="Of this kind.")
@click.option("--source", type=click.Choice(["configuration", "managed"]), help="Where they are set.")
@click.option("--workers", "by_worker", is_flag=True, help="As each worker here sees them, asked on its own socket.")
@json_option
def list_backends(api: Api, by_worker: bool, as_json: bool, **wanted: Any) -> None:
    """List backends, with health and load."""
    if not by_worker:
        try:
            rows = list(api.items("/backends", **wanted))
        except Unreachable as exc:
            if api.place.directory is None:
                raise
            click.echo(f"The control plane does not answer ({exc.message}); these are the workers' views.", err=True)
            by_worker = True
    if by_worker:
        print_rows(worker_sockets.views(api.place), as_json=as_json, columns=worker_sockets.COLUMNS)
    else:
        print_rows(rows if as_json else map(with_state, rows), as_json=as_json, columns=COLUMNS)


@backend.command()
@gateway_options
@click.argument("name")
@json_option
def show(api: Api, name: str, as_json: bool) -> None:
    """Show one backend, by name or id."""
    print_one(found(api, name), as_json=as_json)


@backend.command()
@gateway_options
@click.argument("target", metavar="[KIND=]URL")
@click.option("--name", help="Otherwise one is made of the URL.")
@click.option("--enabled/--disabled", "is_enabled", default=None, help="Whether it is used.")
@backend_options
@json_option
def add(api: Api, target: str, as_json: bool, api_key_file: Path | None, **fields: Any) -> None:
    """Add a backend. Without a KIND it is found out.

    \b
    mrproxy backend add ollama=http://10.0.0.6:11434
    mrproxy backend add openai=https://api.example.com --api-key-file key.txt --models gpt-x
    """
    kind, equals, url = target.partition("=")
    if not equals or "/" in kind:
        kind, url = "auto", target
    if kind not in KINDS:
        raise click.UsageError(f"unknown kind {kind!r}; known are {', '.join(KINDS)}")
    body = {"kind": kind, "url": url, **body_of(with_api_key(fields, api_key_file))}
    print_one(api.post("/backends", body), as_json=as_json)


@backend.command()
@gateway_options
@click.argument("name")
@click.option("--rename", "name_wanted", metavar="NAME", help="Another name.")
@click.option("--backend-url", help="Another URL.")
@click.option("--kind", type=click.Choice(KINDS), help="Another kind.")
@click.option("--no-api-key", is_flag=True, help="It wants none any more.")
@backend_options
@json_option
def change(
    api: Api,
    name: str,
    name_wanted: str | None,
    backend_url: str | None,
    no_api_key: bool,
    api_key_file: Path | None,
    as_json: bool,
    **fields: Any,
) -> None:
    """Change a backend; what is not named stays, and `none` takes a value away."""
    wanted = with_api_key(fields, api_key_file) | {"name": name_wanted, "url": backend_url}
    changes = changes_of(wanted | ({"api_key": NULL} if no_api_key else {}))
    print_one(api.patch(one("/backends", found(api, name)["id"]), changes), as_json=as_json)


@backend.command()
@gateway_options
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let it serve again, as `undrain`.")
def drain(api: Api, name: str, undo: bool) -> None:
    """Send a backend no new requests; running ones finish."""
    tell(api, name, "undrain" if undo else "drain")


@backend.command()
@gateway_options
@click.argument("name")
def undrain(api: Api, name: str) -> None:
    """Send a drained backend requests again."""
    tell(api, name, "undrain")


@backend.command()
@gateway_options
@click.argument("name")
def enable(api: Api, name: str) -> None:
    """Use a backend again that was disabled."""
    api.post(one("/backends", found(api, name)["id"]) + "/enable")
    click.echo(f"{name}: enabled")


@backend.command()
@gateway_options
@click.argument("name")
def disable(api: Api, name: str) -> None:
    """Take a backend out of use, until it is enabled."""
    api.post(one("/backends", found(api, name)["id"]) + "/disable")
    click.echo(f"{name}: disabled")


@backend.command()
@gateway_options
@click.argument("name")
@click.confirmation_option(
    "--yes", prompt="What runs on it is tried elsewhere, if it can be. Go on?", help="Do not ask."
)
def remove(api: Api, name: str) -> None:
    """Remove a backend. To let running requests finish, drain it before."""
    api.delete(one("/backends", found(api, name)["id"]))
    click.echo(f"{name}: removed")


def tell(api: Api, name: str, verb: str) -> None:
    try:
        told = api.post(one("/backends", found(api, name)["id"]) + f"/{verb}")
    except Unreachable:
        if api.place.directory is None:
            raise
        worker_sockets.tell(api.place, name, verb)
    else:
        deaf = [f"worker {worker}: {said}" for worker, said in told["workers"].items() if said != "ok"]
        if deaf:
            raise Refused(f"{name}: not {verb}ed everywhere", 503, lines=tuple(deaf))
    click.echo(f"{name}: {verb}ed")


def found(api: Api, name: str) -> dict[str, Any]:
    return api.found("/backends", name, search=name)


def with_state(entity: dict[str, Any]) -> dict[str, Any]:
    """For people: what the workers say beside what is set."""
    live = entity["live"] or {"state": "unknown" if entity["is_enabled"] else "disabled"}
    return entity | {name: live[name] for name in ("state", "in_flight", "max_concurrent", "models") if name in live}


def with_api_key(fields: dict[str, Any], file: Path | None) -> dict[str, Any]:
    """With what the file has."""
    if file is None:
        return fields
    with errors_for_people():
        text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8", errors="replace")
    return fields | {"api_key": text.strip()}
