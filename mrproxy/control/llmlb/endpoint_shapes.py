"""Pure. An endpoint as llmlb shows it: what is stored, and what the workers see at this moment.

    pending    no worker has probed it yet
    online     a worker would send requests there
    offline    it is disabled, drained, overridden by the configuration, or probes fail
    error      probes succeed and requests fail: its breaker is open

`latency_ms` is the time to the first token that routing reckons with, where llmlb measures its probe. `error_count` is
how many workers would not use it now. Read next: `endpoints.py`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from mrproxy.control.admin.shapes import CONFIGURATION, MANAGED, Source, moment
from mrproxy.control.reports import is_routable
from mrproxy.control.status import BackendStatus, without_userinfo
from mrproxy.link.snapshot import BackendSpec
from mrproxy.storage.backends import ManagedBackend

# Our kinds in their words; they know no `anthropic`, and name no type where none was found yet.
TYPES = {"openai": "openai_compatible", "auto": "unknown"}
PENDING, ONLINE, OFFLINE, ERROR = "pending", "online", "offline", "error"
USUAL_INTERVAL_SECONDS, USUAL_TIMEOUT_SECONDS = 30, 120
OVERRIDDEN = "the configuration has an endpoint of this name"


class ModelShown(msgspec.Struct, frozen=True, kw_only=True):
    """`capabilities`: chat or embeddings, by the name, as there."""

    model_id: str
    capabilities: list[str]
    max_tokens: int | None = None
    last_checked: datetime | None = None
    canonical_name: str | None = None


class EndpointShown(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is ours: what is configured is changed in the configuration."""

    id: str
    name: str
    base_url: str
    status: str
    endpoint_type: str
    health_check_interval_secs: int
    inference_timeout_secs: int
    latency_ms: float | None
    last_seen: datetime | None
    last_error: str | None
    error_count: int
    registered_at: datetime | None
    notes: str | None
    capabilities: tuple[str, ...]
    model_count: int
    source: Source


class EndpointDetails(EndpointShown, frozen=True, kw_only=True):
    models: list[ModelShown]


class EndpointsShown(msgspec.Struct, frozen=True):
    endpoints: list[EndpointShown]
    total: int


class EndpointModels(msgspec.Struct, frozen=True):
    endpoint_id: str
    models: list[ModelShown]


class InfoFound(msgspec.Struct, frozen=True):
    model_count: int


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    latency_ms: float | None = None
    error: str | None = None
    models_found: list[str] = []
    endpoint_info: InfoFound | None = None


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    """Against what the workers had: `updated` are those that they had already."""

    synced_models: list[ModelShown]
    added: int
    removed: int
    updated: int


@dataclass(frozen=True, slots=True)
class Known:
    """One endpoint: `row` of the database, or `spec` of the configuration. `live` None: no worker has it."""

    id: str
    name: str
    url: str
    kind: str
    row: ManagedBackend | None = None
    spec: BackendSpec | None = None
    live: BackendStatus | None = None
    is_overridden: bool = False

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int | None:
        parts = urlsplit(self.url)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)

    @property
    def models(self) -> list[str]:
        return [] if self.live is None else self.live["models"]

    @property
    def is_online(self) -> bool:
        return self.live is not None and is_routable(self.live["state"])


def status_of(known: Known) -> str:
    """One of their four words."""
    if known.is_overridden or (known.row is not None and not known.row.is_enabled):
        return OFFLINE
    if known.live is None:
        return PENDING
    state = known.live["state"]
    if is_routable(state):
        return ONLINE
    if state == "down" and not known.live["last_probe_error"]:
        return PENDING
    return ERROR if state == "open" else OFFLINE


def type_of(known: Known) -> str:
    """What a probe has found, where the kind was left to it."""
    kind = known.live["kind"] if known.live is not None and known.kind == "auto" else known.kind
    return TYPES.get(kind, kind)


def fields_shown(known: Known, now_utc: float) -> dict[str, object]:
    """Of `EndpointShown`."""
    row, live = known.row, known.live
    ttft_seconds = None if live is None else live["ttft_seconds"]
    interval_seconds = None if row is None else row.health_check_interval_seconds
    timeout_seconds = None if row is None else row.inference_timeout_seconds
    return {
        "id": known.id,
        "name": known.name,
        "base_url": without_userinfo(known.url),
        "status": status_of(known),
        "endpoint_type": type_of(known),
        "health_check_interval_secs": whole(interval_seconds, USUAL_INTERVAL_SECONDS),
        "inference_timeout_secs": whole(timeout_seconds, USUAL_TIMEOUT_SECONDS),
        "latency_ms": None if ttft_seconds is None else round(ttft_seconds * 1000, 3),
        "last_seen": moment(now_utc) if known.is_online else None,
        "last_error": OVERRIDDEN if known.is_overridden else live and (live["last_probe_error"] or None),
        "error_count": 0 if live is None else sum(not is_routable(state) for state in live["workers"].values()),
        "registered_at": moment(row.created_utc) if row is not None else None,
        "notes": (row.notes or None) if row is not None else None,
        "capabilities": (row.capabilities or ()) if row is not None else (),
        "model_count": len(known.models),
        "source": CONFIGURATION if row is None else MANAGED,
    }


def shown(known: Known, now_utc: float) -> EndpointShown:
    return msgspec.convert(fields_shown(known, now_utc), EndpointShown)


def details(known: Known, now_utc: float) -> EndpointDetails:
    models = [model_shown(name) for name in known.models]
    return msgspec.convert(fields_shown(known, now_utc) | {"models": models}, EndpointDetails)


def model_shown(name: str, max_tokens: int | None = None, checked: datetime | None = None) -> ModelShown:
    return ModelShown(model_id=name, capabilities=[capability_of(name)], max_tokens=max_tokens, last_checked=checked)


def capability_of(model: str) -> str:
    """By the last part of its name."""
    leaf = model.rpartition("/")[2].lower()
    is_embedding = leaf.startswith("embed") or "-embed" in leaf or "_embed" in leaf
    return "embeddings" if is_embedding else "chat"


def served_names(found: Sequence[str], allowed: Sequence[str] | None, aliases: Mapping[str, str]) -> dict[str, str]:
    """What workers offer of a server's models: public name → the server's own."""
    own = {name: name for name in found if allowed is None or name in allowed}
    return own | {public: name for public, name in aliases.items() if name in own}


def whole(seconds: float | None, usual: int) -> int:
    return usual if seconds is None else math.ceil(seconds)
