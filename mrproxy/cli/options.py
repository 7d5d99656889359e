"""Shell. Options made from the settings: one flag per field of `Settings`, with its own words as help."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field
from pathlib import Path
from typing import Any

import click

from mrproxy.config import ConfigError, Settings, about, flag_of, load, scalar_fields
from mrproxy.provision import DataDirectory, open_data_directory

Function = Callable[..., Any]

CONFIG_VARIABLE = "MRPROXY_CONFIG"
TYPES: dict[object, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT, str: click.STRING}


def config_option(function: Function) -> Function:
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=CONFIG_VARIABLE,
        help=f"Read settings from this TOML file [{CONFIG_VARIABLE}].",
    )(function)


def settings_options(function: Function) -> Function:
    """All settings as flags. Absent ones are None, so that `load` can tell them from given defaults."""
    for each in reversed(scalar_fields()):
        function = flag(each)(function)
    function = click.option(
        "--backend",
        "backends",
        multiple=True,
        metavar="KIND=URL[,max_concurrent=N][,name=X]",
        help="A backend; may be given several times. Kinds: vllm, openai, llamacpp, ollama, auto.",
    )(function)
    return config_option(function)


def flag(each: Field[Any]) -> Callable[[Function], Function]:
    described = about(each)
    default = getattr(Settings(), each.name)
    shown = f"{described.doc} [{default}]" if default != "" else described.doc
    name = flag_of(each.name)
    if each.type is bool:
        return click.option(f"{name}/--no-{name[2:]}", each.name, default=None, help=shown)
    kind = click.Choice(described.choices) if described.choices else TYPES[each.type]
    return click.option(name, each.name, type=kind, default=None, help=shown)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """What the user can correct is one line, not a traceback."""
    try:
        yield
    except ConfigError as exc:
        raise click.ClickException(str(exc)) from exc
    except BrokenPipeError:  # `… | head` has seen enough; click ends quietly
        raise
    except OSError as exc:
        raise click.ClickException(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)) from exc


def load_settings(config_file: Path | None, flags: dict[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Raises ConfigError."""
    return load(config_file, os.environ, flags)


def data_dir_options(function: Function) -> Function:
    """For commands that look at one data directory: where it is may come from a flag, the environment or the file."""
    function = click.option("--data-dir", default=None, help="The data directory [./mrproxy-data].")(function)
    return config_option(function)


def data_directory(config_file: Path | None, data_dir: str | None, *, create: bool = False) -> DataDirectory:
    """Raises ConfigError, also where there is none: a mistyped path must not look like an empty gateway."""
    settings, _ = load_settings(config_file, {"data_dir": data_dir})
    if not create and not Path(settings.data_dir).is_dir():
        raise ConfigError(f"there is no data directory {settings.data_dir}; name it with --data-dir")
    return open_data_directory(settings.data_dir)


def json_option(function: Function) -> Function:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)
