"""Pure. The tables of the configuration file: `[[backends]]`, `[groups.NAME]`, `[[users]]`, `[[keys]]`, `[[oidc]]`.

These are what a person writes; `mrproxy/link/snapshot.py` has what a worker needs. `mrproxy/provision.py` makes the
second from the first: it fills defaults in, digests keys and joins users to groups.

Unknown fields are refused: a misspelt limit that is silently ignored is no limit.
"""

import re
from ipaddress import ip_network
from typing import Literal
from urllib.parse import urlsplit

import msgspec

KINDS = ("vllm", "openai", "llamacpp", "ollama", "anthropic", "auto")


class LimitFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The four limits that groups, users and keys share. Absent: unlimited. A budget is for a month or for ever."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    token_budget: int | None = None
    budget_period: Literal["lifetime", "monthly"] = "lifetime"


class Backend(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One inference endpoint. `models` is an allow list; `aliases` maps a public name to the backend's own.

    `num_ctx` is for kind `ollama`: the context length of all its models, or of each by its public name.
    """

    kind: str
    url: str
    name: str = ""
    max_concurrent: int | None = None
    api_key: str | None = None
    models: tuple[str, ...] | None = None
    aliases: dict[str, str] = {}
    num_ctx: int | dict[str, int] | None = None
    first_byte_deadline_seconds: float | None = None
    probe_interval_seconds: float | None = None


class Group(LimitFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Users' weight, and the limits of each user that sets none of its own."""

    weight: int = 1


class User(LimitFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    group: str = "other"
    weight: int | None = None


class Key(LimitFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key in clear or, better, its digest. `expires` is RFC 3339; `group` is for a user that `[[users]]` lacks.

    `scopes` are words of `control/permissions.py`; one that nobody knows allows nothing. `addresses` absent: any.
    """

    name: str = ""
    key: str | None = None
    digest: str | None = None
    user: str | None = None
    group: str | None = None
    models: tuple[str, ...] | None = None
    expires: str | None = None
    scopes: tuple[str, ...] = ("inference",)
    addresses: tuple[str, ...] | None = None


class Oidc(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One OpenID Connect provider, found by discovery at its issuer. Read by the control process alone.

    `group_claim` may be a path (`realm_access.roles`). `default_group` empty: who is in no mapped group is refused.
    `allowed_domains`: of verified addresses; empty allows all. `links_by_email`: a verified address makes somebody the
    user who has it and neither a password nor an identity; for a provider that may speak for these addresses.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: str | None = None
    label: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    group_claim: str = ""
    group_map: dict[str, str] = {}
    default_group: str = "other"
    allowed_domains: tuple[str, ...] = ()
    links_by_email: bool = False


def parse_backend_option(text: str) -> Backend:
    """`KIND=URL[,max_concurrent=N][,name=X]`, as `--backend` takes it. Raises ValueError with the reason."""
    head, *options = text.split(",")
    kind, equals, url = head.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not KIND=URL; KIND is one of {', '.join(KINDS)}")
    name, max_concurrent = "", None
    for option in options:
        match option.partition("="):
            case ("name", "=", value) if value:
                name = value
            case ("max_concurrent", "=", value) if value.isascii() and value.isdigit():
                max_concurrent = int(value)
            case _:
                raise ValueError(f"{option!r} is neither max_concurrent=N nor name=X")
    return check_backend(Backend(kind=kind, url=url, name=name, max_concurrent=max_concurrent))


def check_backend(backend: Backend) -> Backend:
    """The backend with a normal URL and a name. Raises ValueError with the reason."""
    if backend.kind not in KINDS:
        raise ValueError(f"unknown kind {backend.kind!r}; known are {', '.join(KINDS)}")
    if backend.max_concurrent is not None and backend.max_concurrent < 1:
        raise ValueError("max_concurrent must be at least 1")
    if any(
        each is not None and each <= 0 for each in (backend.first_byte_deadline_seconds, backend.probe_interval_seconds)
    ):
        raise ValueError("deadlines and intervals must be above 0")
    if backend.num_ctx is not None:
        if backend.kind not in ("ollama", "auto"):
            raise ValueError("num_ctx is for backends of kind ollama")
        lengths = backend.num_ctx.values() if isinstance(backend.num_ctx, dict) else (backend.num_ctx,)
        if any(length < 1 for length in lengths):
            raise ValueError("num_ctx must be at least 1")
    url = normal_url(backend.url)
    return msgspec.structs.replace(backend, url=url, name=backend.name or name_for(backend.kind, url))


def check_key(key: Key) -> Key:
    """The key, its networks written as they are everywhere. Raises ValueError with the reason."""
    if not key.scopes or not all(re.fullmatch(r"[A-Za-z0-9.:_*-]+", each) for each in key.scopes):
        raise ValueError("scopes must be at least one, of letters, digits and . : _ * -")
    if key.addresses is None:
        return key
    return msgspec.structs.replace(key, addresses=tuple(str(ip_network(each)) for each in key.addresses))


LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_oidc(provider: Oidc) -> Oidc:
    """The provider with all that can be filled in. Raises ValueError with the reason."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", provider.name):
        raise ValueError("name must be of small letters, digits and -, since it stands in the path of /login/oidc/NAME")
    parts = urlsplit(provider.issuer)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError(f"issuer {provider.issuer!r} is not an https:// URL")  # OpenID Connect Core 1.0 §2: iss
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"issuer {provider.issuer!r} must be a host and a path alone")
    if not provider.client_id:
        raise ValueError("client_id is empty")
    if "openid" not in provider.scopes or any(not re.fullmatch(r"[!#-\[\]-~]+", each) for each in provider.scopes):
        raise ValueError("scopes must contain openid, and words only")  # RFC 6749 §3.3
    domains = tuple(each.lower().lstrip("@") for each in provider.allowed_domains)
    return msgspec.structs.replace(provider, label=provider.label or provider.name, allowed_domains=domains)


def normal_url(url: str) -> str:
    """Scheme, host, port and path prefix without the trailing `/` or `/v1`.

    People paste the base URL that they give to an SDK, and that ends in `/v1`; request targets bring it themselves.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http:// or https:// URL")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{url!r} must have no credentials, query or fragment (use api_key)")
    _ = parts.port  # raises ValueError when it is no number below 65536
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def name_for(kind: str, url: str) -> str:
    """A name that survives reordering of the file: `vllm-9001` on this machine, `vllm-gpu1-8000` on another."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = (parts.hostname or "").replace(":", "-")
    if host in ("localhost", "127.0.0.1", "--1"):
        return f"{kind}-{port}"
    return f"{kind}-{host}-{port}"
