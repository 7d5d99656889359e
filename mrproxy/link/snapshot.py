"""Shell. The snapshot: everything a worker needs to serve, in one file that replaces itself atomically.

The supervisor writes it (later: the control plane), workers read it at start and on SIGHUP. A worker that finds it
can serve without anybody else being up. It holds digests of keys and the backends' own keys, so its mode is 0600.
Unknown fields are ignored and missing ones have defaults: a worker one version behind still starts.
Read next: `mrproxy/provision.py`, which compiles it.
"""

import os
from pathlib import Path

import msgspec

from mrproxy.config import Settings

FORMAT = 1


class SnapshotError(Exception):
    """The file is missing, unreadable, or not a snapshot of this format."""


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """None means unlimited. A budget is for a calendar month (UTC) or for a `lifetime`."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    token_budget: int | None = None
    budget_period: str = "lifetime"


class GroupSpec(msgspec.Struct, frozen=True):
    """`limits` are for each member that sets none of its own, `shared` is one pot for all of them."""

    name: str
    weight: int = 1
    limits: Limits = Limits()
    shared: Limits = Limits()
    captures_bodies: bool = False


class UserSpec(msgspec.Struct, frozen=True):
    """`weight` None: the group's. `limits` are complete: the group's are already filled in where the user sets none."""

    name: str
    group: str
    weight: int | None = None
    limits: Limits = Limits()


class KeySpec(msgspec.Struct, frozen=True):
    """`digest` is `identity.digest.digest_key(...).hex()`; `user` None: the key is a flow of its own, of `group`.

    `models` is what key, user and group allow together. `addresses`: networks (CIDR) it may come from; None is any.
    """

    id: str
    name: str
    digest: str
    user: str | None = None
    models: tuple[str, ...] | None = None
    expires_utc: float | None = None
    limits: Limits = Limits()
    group: str = "other"
    scopes: tuple[str, ...] = ("inference",)
    addresses: tuple[str, ...] | None = None


class ModelSpec(msgspec.Struct, frozen=True):
    """A model takes `budget_weight` tokens of a budget for each of its own."""

    name: str
    budget_weight: float = 1.0


class BackendSpec(msgspec.Struct, frozen=True):
    """`kind` may be `auto`: then the first probe that is answered decides. `models` None: all that it has.

    `aliases`: public name → the backend's own. `num_ctx`: context length sent to Ollama, for all models or each.
    """

    name: str
    kind: str
    url: str
    max_concurrent: int
    api_key: str | None = None
    models: tuple[str, ...] | None = None
    aliases: dict[str, str] = {}
    num_ctx: int | None = None
    num_ctx_of: dict[str, int] = {}

    def context_length(self, model: str) -> int | None:
        """Configured for a public model. Ollama takes `name` for `name:latest`: it is one model under both."""
        lengths = self.num_ctx_of
        if not lengths or model in lengths:
            return lengths.get(model, self.num_ctx)
        other = model.removesuffix(":latest") if model.endswith(":latest") else f"{model}:latest"
        return lengths.get(other, self.num_ctx)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`settings` has no secrets and no tables: those are the four tuples, compiled."""

    format: int = FORMAT
    generation: int
    created_utc: float
    settings: Settings = Settings()
    groups: tuple[GroupSpec, ...] = ()
    users: tuple[UserSpec, ...] = ()
    keys: tuple[KeySpec, ...] = ()
    backends: tuple[BackendSpec, ...] = ()
    models: tuple[ModelSpec, ...] = ()


def encode(snapshot: Snapshot) -> bytes:
    return msgspec.json.format(msgspec.json.encode(snapshot), indent=1) + b"\n"


def decode(data: bytes) -> Snapshot:
    """Raises SnapshotError."""
    try:
        snapshot = msgspec.json.decode(data, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise SnapshotError(f"not a snapshot: {exc}") from exc
    if snapshot.format != FORMAT:
        raise SnapshotError(f"snapshot format {snapshot.format}; this version reads {FORMAT}")
    return snapshot


def read(path: Path) -> Snapshot:
    """Raises SnapshotError."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise SnapshotError(f"{path}: {exc.strerror}") from exc
    try:
        return decode(data)
    except SnapshotError as exc:
        raise SnapshotError(f"{path}: {exc}") from exc


def write(path: Path, snapshot: Snapshot) -> None:
    """Replace the file atomically; readers see the old one or the new one. Raises OSError and leaves the old one."""
    replace_file(path, encode(snapshot))


def replace_file(path: Path, data: bytes) -> None:
    """Write, fsync, rename, fsync the directory: after a power cut there is the old file or the new one, whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
