"""Shell. Which gateway a command asks: the one of the data directory on this machine, or one at a URL by a key.

A flag counts more than a variable, whichever of the two it is about: with `--data-dir` the gateway is here, although
MRPROXY_URL names another. A key is read from a file or the environment; arguments are there for everybody to read.
Read next: `client.py`.
"""

import sys
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click
from click.core import ParameterSource

from mrproxy.cli.client import PREFIX, Api, Place
from mrproxy.cli.fields import with_options
from mrproxy.cli.options import Function, config_option, data_directory, errors_for_people

URL_VARIABLE, KEY_VARIABLE, KEY_FILE_VARIABLE = "MRPROXY_URL", "MRPROXY_KEY", "MRPROXY_KEY_FILE"
# The front door waits a minute for an answer to begin.
DEFAULT_SECONDS = 60.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")

LOCAL = click.option("--data-dir", default=None, help="Of the gateway on this machine [./mrproxy-data].")
REMOTE = (
    click.option("--url", envvar=URL_VARIABLE, help=f"A gateway elsewhere: https://llm.example.org [{URL_VARIABLE}]."),
    click.option(
        "--key", envvar=KEY_VARIABLE, help=f"API key for --url. Others can read arguments: better [{KEY_VARIABLE}]."
    ),
    click.option(
        "--key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=KEY_FILE_VARIABLE,
        help=f"File with the API key for --url; - is standard input [{KEY_FILE_VARIABLE}].",
    ),
    click.option(
        "--timeout",
        "timeout_seconds",
        type=click.FloatRange(min=0.01, max=3600),
        default=DEFAULT_SECONDS,
        show_default=True,
        help="Seconds to wait for each answer.",
    ),
)


def gateway_options(function: Function) -> Function:
    """The command gets `api`."""
    return _with_api(function, creates=False)


def founding_gateway_options(function: Function) -> Function:
    """The same, and makes the data directory if there is none."""
    return _with_api(function, creates=True)


def remote_options(function: Function) -> Function:
    """For commands that look at files here. They get `api`, which is None unless a gateway elsewhere is meant."""

    @wraps(function)
    def command(
        *args: Any, url: str | None, key: str | None, key_file: Path | None, timeout_seconds: float, **rest: Any
    ) -> Any:
        with errors_for_people():
            place = remote_place(url, key, key_file, timeout_seconds)
        return function(*args, api=None if place is None else Api(place), **rest)

    return with_options(*REMOTE)(command)


def _with_api(function: Function, *, creates: bool) -> Function:
    def command(*args: Any, config_file: Path | None, data_dir: str | None, api: Api | None, **rest: Any) -> Any:
        if api is None:
            with errors_for_people():
                directory = data_directory(config_file, data_dir, create=creates)
            api = Api(Place(click.get_current_context().params["timeout_seconds"], directory=directory))
        return function(*args, api=api, **rest)

    return config_option(LOCAL(remote_options(wraps(function)(command))))


def remote_place(url: str | None, key: str | None, key_file: Path | None, timeout_seconds: float) -> Place | None:
    """Raises UsageError, OSError."""
    if url is not None and (is_flag("data_dir") or is_flag("config_file") or is_flag("database_url")):
        if is_flag("url"):
            raise click.UsageError("--data-dir, --config and --database-url are for a gateway here, --url for another")
        url = None
    if not url:
        if is_flag("key") or is_flag("key_file"):
            raise click.UsageError("a key is for --url: on this machine the owner of the data directory needs none")
        return None
    found = checked_url(url)
    secret = checked_key(key_of(key, key_file))
    parts = urlsplit(found)
    if secret and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        click.echo(f"Warning: {found} is not https: the key can be read on its way.", err=True)
    return Place(timeout_seconds, url=found, key=secret)


def is_flag(name: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def key_of(key: str | None, key_file: Path | None) -> str:
    """A flag before a variable, a file before a text. Raises OSError."""
    if key_file is not None and not (is_flag("key") and not is_flag("key_file")):
        return sys.stdin.readline() if str(key_file) == "-" else key_file.read_text(encoding="utf-8", errors="replace")
    return key or ""


def checked_key(text: str) -> str:
    """Without the newline that files end in. The key itself never gets into an error."""
    key = text.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise click.UsageError("the key has characters that no key has: is it the right file or variable?")
    return key


def checked_url(text: str) -> str:
    """As an SDK has it or not: `/v1` and our own prefix at the end do not matter."""
    try:
        parts = urlsplit(text)
        is_good = (
            parts.scheme in ("http", "https") and (parts.port or 1) > 0 and bool((parts.hostname or "").encode("idna"))
        )
    except ValueError:
        is_good = False
    if not is_good or not text.isascii() or not text.isprintable() or " " in text:
        raise click.UsageError("--url is not http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise click.UsageError("--url has a host and a path alone; a key goes into --key-file")
    path = parts.path.rstrip("/").removesuffix(PREFIX).removesuffix("/v1")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
