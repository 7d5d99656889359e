"""Shell. The data directory, and the compilation of configuration and stored keys into their part of the snapshot.

    data_dir/               0700
        secret              0600  32 random bytes: under it keys are digested; losing it invalidates all stored keys
        keys.json           0600  keys made by `mrproxy key create` or at the first start, digested
        configured.json     0600  what is compiled here; managed.json is the database's part
        snapshot.json       0600  what workers serve from: both, merged (`link/publishing.py`)
        run/                      pid file, lock, Unix sockets
        journal/                  segments
        logs/                     events of each process (`telemetry/log_file.py`)

`compile_snapshot` fills in the defaults of keys and backends; what groups give to users is known when both are merged.
Read next: `mrproxy/supervisor.py`, which calls this at start and on SIGHUP.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from mrproxy.clock import Clock
from mrproxy.config import Backend, ConfigError, Key, LimitFields, Settings
from mrproxy.config.load import parse_expiry
from mrproxy.identity.digest import SECRET_BYTES, digest_key, generate_key, generate_secret
from mrproxy.link.merging import FALLBACK_GROUP
from mrproxy.link.publishing import CONFIGURED_NAME, SNAPSHOT_NAME
from mrproxy.link.snapshot import BackendSpec, GroupSpec, KeySpec, Limits, Snapshot, UserSpec, replace_file

KEYS_FORMAT = 1
OWNER = "admin"  # user and group of the first and of the bootstrap key
# With these two, so that scripts and containers can administer a gateway that has no other keys yet.
OWNER_SCOPES = ("inference", "admin")


class StoredKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key in keys.json. The key itself was shown once and is nowhere."""

    id: str
    name: str
    digest: str
    created_utc: float
    user: str | None = None
    group: str | None = None
    models: tuple[str, ...] | None = None
    expires_utc: float | None = None
    limits: Limits = Limits()
    scopes: tuple[str, ...] = ("inference",)
    addresses: tuple[str, ...] | None = None


class KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    format: int = KEYS_FORMAT
    keys: tuple[StoredKey, ...] = ()


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The paths, in one place."""

    root: Path

    @property
    def secret(self) -> Path:
        return self.root / "secret"

    @property
    def keys(self) -> Path:
        return self.root / "keys.json"

    @property
    def snapshot(self) -> Path:
        return self.root / SNAPSHOT_NAME

    @property
    def configured(self) -> Path:
        return self.root / CONFIGURED_NAME

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def pid_file(self) -> Path:
        return self.run / "supervisor.pid"

    @property
    def lock(self) -> Path:
        return self.run / "supervisor.lock"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    def worker_socket(self, worker: str) -> Path:
        return self.run / f"worker-{worker}.sock"


def open_data_directory(path: str) -> DataDirectory:
    """Create what is missing, readable by nobody else. Raises ConfigError."""
    directory = DataDirectory(Path(path).absolute())
    try:
        directory.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.run.mkdir(mode=0o700, exist_ok=True)
        directory.journal.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"data_dir {path}: {exc.strerror}") from exc
    return directory


def read_secret(directory: DataDirectory) -> bytes:
    """The data directory's secret, made at the first call. Raises ConfigError when it was tampered with."""
    try:
        secret = directory.secret.read_bytes()
    except FileNotFoundError:
        secret = generate_secret()
        replace_file(directory.secret, secret)
    except OSError as exc:
        raise ConfigError(f"{directory.secret}: {exc.strerror}") from exc
    if len(secret) != SECRET_BYTES:
        raise ConfigError(
            f"{directory.secret}: {len(secret)} bytes instead of {SECRET_BYTES}; restore it from a backup"
        )
    return secret


def read_keys(directory: DataDirectory) -> tuple[StoredKey, ...] | None:
    """The stored keys; None where there has never been a file. Raises ConfigError."""
    try:
        file = msgspec.json.decode(directory.keys.read_bytes(), type=KeyFile)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{directory.keys}: {exc.strerror}") from exc
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"{directory.keys}: {exc}") from exc
    if file.format != KEYS_FORMAT:
        raise ConfigError(f"{directory.keys}: format {file.format}; this version reads {KEYS_FORMAT}")
    return file.keys


def write_keys(directory: DataDirectory, keys: tuple[StoredKey, ...]) -> None:
    encoded = msgspec.json.encode(KeyFile(keys=keys))
    replace_file(directory.keys, msgspec.json.format(encoded, indent=1) + b"\n")


@contextmanager
def keys_locked(directory: DataDirectory) -> Iterator[None]:
    """Two `mrproxy key create` at once must not lose one of the keys: read, change and write are one step."""
    with open(directory.run / "keys.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What `create_key` is asked for."""

    name: str
    user: str | None = None
    group: str | None = None
    models: tuple[str, ...] | None = None
    expires_utc: float | None = None
    limits: Limits = Limits()
    scopes: tuple[str, ...] = ("inference",)
    addresses: tuple[str, ...] | None = None


def create_key(directory: DataDirectory, wanted: NewKey, clock: Clock) -> tuple[str, StoredKey]:
    """Store a new key; returns it in clear, for the only time, with what was stored."""
    if wanted.group is not None and wanted.user is None:
        raise ConfigError("a group belongs to a user: name one")
    key = generate_key()
    with keys_locked(directory):
        stored = store_key(directory, key, wanted, clock)
    return key, stored


def store_key(directory: DataDirectory, key: str, wanted: NewKey, clock: Clock) -> StoredKey:
    digest = digest_key(read_secret(directory), key.encode()).hex()
    stored = StoredKey(
        id=id_of(digest),
        name=wanted.name,
        digest=digest,
        created_utc=clock(),
        user=wanted.user,
        group=wanted.group,
        models=wanted.models,
        expires_utc=wanted.expires_utc,
        limits=wanted.limits,
        scopes=wanted.scopes,
        addresses=wanted.addresses,
    )
    write_keys(directory, (*(read_keys(directory) or ()), stored))
    return stored


def revoke_key(directory: DataDirectory, id_or_name: str) -> StoredKey:
    """Remove one key by its id, or by its name where that is unambiguous. Raises ConfigError."""
    with keys_locked(directory):
        keys = read_keys(directory) or ()
        found = [each for each in keys if each.id == id_or_name] or [each for each in keys if each.name == id_or_name]
        if len(found) != 1:
            count = "no key is" if not found else f"{len(found)} keys are"
            raise ConfigError(f"{count} called {id_or_name!r}; see `mrproxy key list` and use the id")
        write_keys(directory, tuple(each for each in keys if each is not found[0]))
    return found[0]


def first_key(settings: Settings, directory: DataDirectory, clock: Clock) -> str | None:
    """At the very first start without any key: make one and return it, to be printed once.

    An existing but empty keys.json means that somebody revoked the last key, and is respected.
    """
    if settings.keys or settings.bootstrap_api_key or read_keys(directory) is not None:
        return None
    key, _ = create_key(directory, NewKey(name="first", user=OWNER, group=OWNER, scopes=OWNER_SCOPES), clock)
    return key


def id_of(digest: str) -> str:
    """Twelve hex digits of the digest: the same key has the same id in configuration, journal and metrics, for good."""
    return digest[:12]


def compile_snapshot(settings: Settings, secret: bytes, stored_keys: tuple[StoredKey, ...]) -> Snapshot:
    """The configured part, of generation 0. Raises ConfigError when what is configured contradicts itself."""
    keys = [key_of(each, secret) for each in settings.keys]
    keys += [spec_of(each) for each in stored_keys]
    if settings.bootstrap_api_key:
        digest = digest_key(secret, settings.bootstrap_api_key.encode()).hex()
        keys.append(KeySpec(id_of(digest), "bootstrap", digest, OWNER, scopes=OWNER_SCOPES))
    refuse_twins(keys)
    groups_named = named_groups(settings, stored_keys)
    return Snapshot(
        generation=0,
        created_utc=0.0,
        settings=settings_for_workers(settings),
        groups=tuple(GroupSpec(name, group.weight, limits_of(group)) for name, group in settings.groups.items()),
        users=tuple(UserSpec(each.name, each.group, each.weight, limits_of(each)) for each in settings.users),
        keys=tuple(in_its_group(each, groups_named) for each in keys),
        backends=tuple(backend_of(each, settings) for each in settings.backends),
    )


def settings_for_workers(settings: Settings) -> Settings:
    """The scalars without secrets: the tables arrive compiled. Paths hold in every working directory."""
    data_dir = str(Path(settings.data_dir).absolute())
    plain = replace(settings, data_dir=data_dir, bootstrap_api_key="", admin_password="", database_url="")
    return replace(plain, backends=(), groups={}, users=(), keys=(), oidc=())


def refuse_twins(keys: list[KeySpec]) -> None:
    seen: dict[str, str] = {}
    for key in keys:
        if key.digest in seen:
            raise ConfigError(f"keys {seen[key.digest]!r} and {key.name!r} are the same key")
        seen[key.digest] = key.name


def named_groups(settings: Settings, stored_keys: tuple[StoredKey, ...]) -> dict[str, str]:
    """User → group, as keys name them: for users that are listed nowhere."""
    groups = {OWNER: OWNER}
    groups |= {each.user: each.group for each in stored_keys if each.user and each.group}
    return groups | {each.user: each.group for each in settings.keys if each.user and each.group}


def in_its_group(key: KeySpec, groups_named: dict[str, str]) -> KeySpec:
    group = FALLBACK_GROUP if key.user is None else groups_named.get(key.user, FALLBACK_GROUP)
    return msgspec.structs.replace(key, group=group)


def limits_of(row: LimitFields) -> Limits:
    return Limits(
        row.requests_per_minute, row.tokens_per_minute, row.concurrent_requests, row.token_budget, row.budget_period
    )


def key_of(key: Key, secret: bytes) -> KeySpec:
    digest = key.digest or digest_key(secret, (key.key or "").encode()).hex()
    return KeySpec(
        id=id_of(digest),
        name=key.name or key.user or id_of(digest),
        digest=digest,
        user=key.user,
        models=key.models,
        expires_utc=None if key.expires is None else parse_expiry(key.expires, f"key {key.name!r}"),
        limits=limits_of(key),
        scopes=key.scopes,
        addresses=key.addresses,
    )


def spec_of(stored: StoredKey) -> KeySpec:
    return KeySpec(
        id=stored.id,
        name=stored.name,
        digest=stored.digest,
        user=stored.user,
        models=stored.models,
        expires_utc=stored.expires_utc,
        limits=stored.limits,
        scopes=stored.scopes,
        addresses=stored.addresses,
    )


def backend_of(backend: Backend, settings: Settings) -> BackendSpec:
    slots = backend.max_concurrent
    if slots is None:
        ollama = backend.kind == "ollama"
        slots = settings.default_max_concurrent_ollama if ollama else settings.default_max_concurrent
    lengths = backend.num_ctx
    return BackendSpec(
        backend.name,
        backend.kind,
        backend.url,
        slots,
        backend.api_key,
        backend.models,
        backend.aliases,
        None if isinstance(lengths, dict) else lengths,
        lengths if isinstance(lengths, dict) else {},
        backend.first_byte_deadline_seconds,
        backend.probe_interval_seconds,
    )


def supervisor_pid(directory: DataDirectory) -> int | None:
    """The process id of the supervisor that runs on this directory, or None.

    The lock decides, not the pid file: one left behind by `kill -9` may name a stranger by now.
    """
    try:
        with open(directory.lock, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            return int(directory.pid_file.read_text())
        except (OSError, ValueError):
            return None
    except OSError:
        return None
    return None
