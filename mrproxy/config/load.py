"""Shell. Configuration file < environment < flags, with the origin of every value.

A wrong value anywhere is a `ConfigError` that names the file, variable or flag and the reason; nothing is guessed and
nothing is half applied, so a reload can refuse a broken file and keep what it has.

`"$NAME"` as a secret (`key`, `api_key`, `client_secret`, `bootstrap_api_key`, `admin_password`, `database_url`) is read
from the environment, so that files hold none.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mrproxy.config.settings import TABLES, Settings, about, flag_of, scalar_fields, variable_of
from mrproxy.config.tables import (
    Backend,
    Group,
    Key,
    LimitFields,
    Oidc,
    User,
    check_backend,
    check_key,
    check_oidc,
    parse_backend_option,
)

# Weights of the groups that exist without being configured (docs/design.md, scheduler).
DEFAULT_GROUPS = {"admin": 10, "faculty": 3, "staff": 2, "student": 1, "other": 1}

Scalar = bool | int | float | str


class ConfigError(Exception):
    """Says which file, variable or flag is wrong, and why."""


class Tables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    backends: tuple[Backend, ...] = ()
    groups: dict[str, Group] = {}
    users: tuple[User, ...] = ()
    keys: tuple[Key, ...] = ()
    oidc: tuple[Oidc, ...] = ()


def load(file: Path | None, env: Mapping[str, str], flags: Mapping[str, object]) -> tuple[Settings, dict[str, str]]:
    """Read `file` (None: no file) and combine. `flags` maps setting names to values; None means not given.

    Returns the settings and, per setting name, where its value came from. Raises ConfigError.
    """
    document = {} if file is None else read_document(file)
    return combine(document, str(file), env, flags)


def read_document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{file}: {exc.strerror or exc}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file}: {exc}") from exc


def combine(
    document: Mapping[str, Any], file_name: str, env: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[Settings, dict[str, str]]:
    known = {each.name for each in scalar_fields()}
    for key in document:
        if key not in known and key not in TABLES:
            raise ConfigError(f"{file_name}: unknown setting {key!r}{suggestion(key, known | set(TABLES))}")
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for each in scalar_fields():
        raw, origin = pick(each.name, document, file_name, env, flags)
        origins[each.name] = origin
        if origin != "default":
            values[each.name] = value_of(each, raw, origin, env)
    tables = read_tables(document, file_name, env)
    backends, origins["backends"] = all_backends(tables, file_name, env, flags)
    for name in ("groups", "users", "keys", "oidc"):
        origins[name] = f"file {file_name}" if name in document else "default"
    settings = Settings(
        **values,
        backends=backends,
        groups=tables.groups,
        users=tables.users,
        keys=tables.keys,
        oidc=tables.oidc,
    )
    check_together(settings)
    return settings, origins


def suggestion(word: str, known: set[str]) -> str:
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def pick(
    name: str, document: Mapping[str, Any], file_name: str, env: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[object, str]:
    """The strongest value of a setting and where it came from."""
    if flags.get(name) is not None:
        return flags[name], f"flag {flag_of(name)}"
    variable = variable_of(name)
    # Kubernetes sets MRPROXY_PORT=tcp://10.0.0.1:80 in every pod beside a service named mrproxy: not meant for us.
    if variable in env and not env[variable].startswith("tcp://"):
        return env[variable], f"environment {variable}"
    if name in document:
        return document[name], f"file {file_name}"
    return None, "default"


def value_of(each: Field[Any], raw: object, origin: str, env: Mapping[str, str]) -> Scalar:
    described = about(each)
    where = f"{origin}: {each.name}"
    value = PARSERS[each.type](raw, where)
    if described.choices and value not in described.choices:
        raise ConfigError(f"{where} is {value!r}, not one of {', '.join(described.choices)}")
    if isinstance(value, int | float):
        check_bounds(value, described.minimum, described.maximum, where)
    if described.secret and isinstance(value, str):
        return secret_value(value, env, where)
    return value


def check_bounds(value: float, minimum: float | None, maximum: float | None, where: str) -> None:
    if minimum is not None and not value >= minimum:  # `not >=` refuses NaN too
        raise ConfigError(f"{where} is {value}, less than {minimum}")
    if maximum is not None and value > maximum:
        raise ConfigError(f"{where} is {value}, more than {maximum}")


def parse_bool(raw: object, where: str) -> bool:
    match raw if isinstance(raw, bool) else str(raw).lower():
        case True | "true" | "yes" | "on" | "1":
            return True
        case False | "false" | "no" | "off" | "0":
            return False
    raise ConfigError(f"{where} is {raw!r}, neither true nor false")


def parse_int(raw: object, where: str) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        try:
            return int(raw)
        except ValueError:
            pass
    raise ConfigError(f"{where} is {raw!r}, not a whole number")


def parse_float(raw: object, where: str) -> float:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, str):
        try:
            return float(raw)
        except ValueError:
            pass
    raise ConfigError(f"{where} is {raw!r}, not a number")


def parse_str(raw: object, where: str) -> str:
    if isinstance(raw, str):
        return raw
    raise ConfigError(f"{where} is {raw!r}, not a string")


PARSERS: dict[object, Callable[[object, str], Scalar]] = {
    bool: parse_bool,
    int: parse_int,
    float: parse_float,
    str: parse_str,
}


def secret_value(text: str, env: Mapping[str, str], where: str) -> str:
    """The text, or what the variable that it names holds; without the newline that secret files end in."""
    if not text.startswith("$"):
        return text.strip()
    value = env.get(text[1:], "").strip()
    if not value:
        raise ConfigError(f"{where} names the environment variable {text[1:]}, which is not set")
    return value


def read_tables(document: Mapping[str, Any], file_name: str, env: Mapping[str, str]) -> Tables:
    try:
        tables = msgspec.convert({name: document[name] for name in TABLES if name in document}, Tables)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{file_name}: {exc}") from exc
    where = f"file {file_name}"
    return Tables(
        backends=tuple(read_backend(each, where, env) for each in tables.backends),
        groups=tables.groups,
        users=tables.users,
        keys=tuple(read_key(each, where, env) for each in tables.keys),
        oidc=tuple(read_oidc(each, where, env) for each in tables.oidc),
    )


def read_backend(backend: Backend, where: str, env: Mapping[str, str]) -> Backend:
    where = f"{where}: backends {backend.name or backend.url}"
    try:
        checked = check_backend(backend)
    except ValueError as exc:
        raise ConfigError(f"{where}: {exc}") from exc
    if checked.api_key is None:
        return checked
    return msgspec.structs.replace(checked, api_key=secret_value(checked.api_key, env, where))


def read_key(key: Key, where: str, env: Mapping[str, str]) -> Key:
    where = f"{where}: keys {key.name or key.user or '(unnamed)'}"
    if (key.key is None) == (key.digest is None):
        raise ConfigError(f"{where}: give either key or digest")
    try:
        key = check_key(key)
    except ValueError as exc:
        raise ConfigError(f"{where}: {exc}") from exc
    if key.expires is not None:
        parse_expiry(key.expires, where)
    if key.digest is not None:
        if len(key.digest) != 32 or not set(key.digest) <= set("0123456789abcdef"):
            raise ConfigError(f"{where}: digest must be 32 lower-case hex digits (see `mrproxy key digest`)")
        return key
    secret = secret_value(key.key or "", env, where)
    if not secret:
        raise ConfigError(f"{where}: the key is empty, and would let everybody in")
    return msgspec.structs.replace(key, key=secret)


def read_oidc(provider: Oidc, where: str, env: Mapping[str, str]) -> Oidc:
    where = f"{where}: oidc {provider.name or provider.issuer}"
    try:
        checked = check_oidc(provider)
    except ValueError as exc:
        raise ConfigError(f"{where}: {exc}") from exc
    if checked.client_secret is None:
        return checked
    return msgspec.structs.replace(checked, client_secret=secret_value(checked.client_secret, env, where))


def parse_expiry(text: str, where: str) -> float:
    """RFC 3339 → seconds since 1970. A time without a zone is refused: whose midnight would it be?"""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(f"{where}: expires is {text!r}, not RFC 3339 such as 2027-01-31T00:00:00Z") from exc
    if moment.tzinfo is None:
        raise ConfigError(f"{where}: expires is {text!r}, without a zone; write Z or +02:00 behind it")
    return moment.timestamp()


def all_backends(
    tables: Tables, file_name: str, env: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[tuple[Backend, ...], str]:
    """The file's, then the environment's, then the flags'; a later one replaces an earlier one of its name."""
    by_name = unique({}, tables.backends, f"file {file_name}")
    origins = [f"file {file_name}"] if tables.backends else []
    flagged = flags.get("backends") or ()
    given: list[tuple[Sequence[str], str]] = [
        (env.get(variable_of("backends"), "").split(), f"environment {variable_of('backends')}"),
        (flagged if isinstance(flagged, Sequence) else (), "flag --backend"),
    ]
    for options, origin in given:
        if options:
            by_name |= unique({}, [backend_option(text, origin) for text in options], origin)
            origins.append(origin)
    return tuple(by_name.values()), ", ".join(origins) or "default"


def backend_option(text: str, origin: str) -> Backend:
    try:
        return parse_backend_option(text)
    except ValueError as exc:
        raise ConfigError(f"{origin}: {exc}") from exc


def unique(by_name: dict[str, Backend], backends: Sequence[Backend], origin: str) -> dict[str, Backend]:
    for backend in backends:
        if backend.name in by_name:
            raise ConfigError(f"{origin}: two backends are named {backend.name!r}")
        by_name[backend.name] = backend
    return by_name


def check_together(settings: Settings) -> None:
    """What no single value can be blamed for."""
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ConfigError("tls_cert and tls_key belong together: one of them is missing")
    groups = DEFAULT_GROUPS.keys() | settings.groups.keys()
    names: set[str] = set()
    for user in settings.users:
        if user.name in names:
            raise ConfigError(f"two users are named {user.name!r}")
        names.add(user.name)
    for table, group in [(f"user {each.name!r}", each.group) for each in settings.users] + [
        (f"key {each.name!r}", each.group) for each in settings.keys if each.group is not None
    ]:
        if group not in groups:
            raise ConfigError(f"{table} is in group {group!r}, which is not configured")
    for key in settings.keys:
        if key.group is not None and (key.user is None or key.user in names):
            raise ConfigError(f"key {key.name!r}: a group belongs to the user; set it in [[users]]")
    check_amounts(settings)
    check_sign_in(settings)


def check_sign_in(settings: Settings) -> None:
    for network in settings.trusted_proxies.replace(",", " ").split():
        try:
            ip_network(network, strict=False)
        except ValueError as exc:
            raise ConfigError(f"trusted_proxies: {exc}") from exc
    if settings.public_url:
        parts = urlsplit(settings.public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigError(f"public_url is {settings.public_url!r}, not such as https://llm.example.edu")
    if len({each.name for each in settings.oidc}) < len(settings.oidc):
        raise ConfigError("two oidc providers have the same name")


def check_amounts(settings: Settings) -> None:
    rows: list[tuple[str, LimitFields]] = [(f"group {name!r}", group) for name, group in settings.groups.items()]
    rows += [(f"user {each.name!r}", each) for each in settings.users]
    rows += [(f"key {each.name!r}", each) for each in settings.keys]
    for where, row in rows:
        for field_name in row.__struct_fields__:
            value = getattr(row, field_name)
            if isinstance(value, int) and value < 1:
                raise ConfigError(f"{where}: {field_name} is {value}, less than 1")
