"""Shell. The snapshot: everything a worker needs to serve, in one file that replaces itself atomically.

    configured.json   a Snapshot of the configuration, written by the supervisor        ┐ `publishing.py` merges them
    managed.json      `Managed`: what the database says, written by the control plane   ┘ into snapshot.json

A worker that finds snapshot.json can serve without anybody else being up. These files hold digests of keys and the
backends' own keys, so their mode is 0600. Unknown fields are ignored and missing ones have defaults: a worker one
version behind still starts. Each user and each key has a line of its own, behind everything else: people can compare
two files, and `catalogue.py` takes a hundred thousand of them over a few at a time.
Read next: `merging.py`, `catalogue.py`; `mrproxy/provision.py`, which compiles the configured part.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from mrproxy.config import Settings

FORMAT = 1
_Part = TypeVar("_Part", "Snapshot", "Managed", "Preamble")


class SnapshotError(Exception):
    """The file is missing, unreadable, or not a snapshot of this format."""


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """None means unlimited. A budget is for a calendar month (UTC) or for a `lifetime`."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    token_budget: int | None = None
    budget_period: str = "lifetime"


class GroupSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`limits` are for each member that sets none of its own, `shared` is one pot for all of them."""

    name: str
    weight: int = 1
    limits: Limits = Limits()
    shared: Limits = Limits()
    captures_bodies: bool = False


class UserSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`weight` None: the group's. In a merged snapshot `limits` are complete: the group's where the user sets none."""

    name: str
    group: str
    weight: int | None = None
    limits: Limits = Limits()


class KeySpec(msgspec.Struct, frozen=True, omit_defaults=True):
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


class ModelSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model takes `budget_weight` tokens of a budget for each of its own."""

    name: str
    budget_weight: float = 1.0


class BackendSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """`kind` may be `auto`: then the first probe that is answered decides. `models` None: all that it has.

    `aliases`: public name → the backend's own. `num_ctx`: context length sent to Ollama, for all models or each.
    The two deadlines are the backend's own; None: what the settings say.
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
    first_byte_deadline_seconds: float | None = None
    probe_interval_seconds: float | None = None

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


class Managed(msgspec.Struct, frozen=True, kw_only=True):
    """The database's part. Users' limits may leave open what `merging.merge` fills in from their groups."""

    format: int = FORMAT
    generation: int
    groups: tuple[GroupSpec, ...] = ()
    users: tuple[UserSpec, ...] = ()
    keys: tuple[KeySpec, ...] = ()
    backends: tuple[BackendSpec, ...] = ()
    models: tuple[ModelSpec, ...] = ()


class Preamble(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself; reading it alone is quick, however many keys follow."""

    format: int = FORMAT
    generation: int
    created_utc: float = 0.0


_LINES = ("groups", "backends", "models", "users", "keys")  # an entry is a line; in this order, at the end
_encode_lines = msgspec.json.Encoder().encode_lines
# Where users and keys are: no text in JSON has a line's end in it, so nothing else looks like these.
USERS_BEGIN, KEYS_BEGIN, KEYS_END = b'\n"users":[\n', b'\n],\n"keys":[\n', b"\n]}\n"


def encode(snapshot: Snapshot | Managed) -> bytes:
    """JSON, in the layout that `catalogue.py` reads by lines."""
    plain = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__ if name not in _LINES}
    tables = [msgspec.json.encode(plain)[:-1]]
    tables += [b'"%b":[\n%b]' % (name.encode(), _lines(getattr(snapshot, name))) for name in _LINES]
    return b",\n".join(tables) + b"}\n"


def _lines(entries: Sequence[msgspec.Struct]) -> bytes:
    return _encode_lines(entries)[:-1].replace(b"\n", b",\n") + b"\n" if entries else b""


def decode(data: bytes) -> Snapshot:
    """Raises SnapshotError."""
    return _decoded(data, Snapshot)


def _decoded(data: bytes, kind: type[_Part]) -> _Part:
    try:
        part = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise SnapshotError(f"not a snapshot: {exc}") from exc
    if part.format != FORMAT:
        raise SnapshotError(f"snapshot format {part.format}; this version reads {FORMAT}")
    return part


def read(path: Path) -> Snapshot:
    """Raises SnapshotError."""
    return _read(path, Snapshot)


def read_preamble(path: Path) -> Preamble:
    """Raises SnapshotError."""
    return _read(path, Preamble)


def read_managed(path: Path) -> Managed | None:
    """None where there has never been any. Raises SnapshotError."""
    return _read(path, Managed) if path.exists() else None


def _read(path: Path, kind: type[_Part]) -> _Part:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise SnapshotError(f"{path}: {exc.strerror}") from exc
    try:
        return _decoded(data, kind)
    except SnapshotError as exc:
        raise SnapshotError(f"{path}: {exc}") from exc


def write(path: Path, snapshot: Snapshot) -> None:
    """Replace the file atomically; readers see the old one or the new one. Raises OSError and leaves the old one."""
    replace_file(path, encode(snapshot))


def write_managed(path: Path, managed: Managed) -> None:
    """The same for the database's part."""
    replace_file(path, encode(managed))


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
