"""Shell. Backends that were added by an API; those of the configuration are not here.

Kinds, URLs and names are what the configuration takes (`config/tables.py`). A backend's API key goes in and never
comes out, except into the snapshot (`managed.py`) and for asking the backend: it is stored encrypted (`secrets.py`).
The rules of the package `people` hold here, too.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import ColumnElement, Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.config import Backend
from mrproxy.config.tables import check_backend
from mrproxy.storage.facts import begin_change
from mrproxy.storage.people.checks import (
    MAX_INTEGER,
    Check,
    check_all,
    check_count,
    check_flag,
    check_name,
    check_names,
    check_number,
    check_secret,
    check_text,
    clean,
    or_none,
)
from mrproxy.storage.people.columns import pack
from mrproxy.storage.people.errors import Invalid, NotFound, Taken
from mrproxy.storage.people.pages import AnyRow, contains, count_rows, read_page, update_row
from mrproxy.storage.people.values import Page
from mrproxy.storage.schema_control import backends
from mrproxy.storage.secrets import SecretBox


class BackendFields(msgspec.Struct, frozen=True, kw_only=True):
    """`models`, `aliases`, `num_ctx`, `num_ctx_of`: as in `link.snapshot.BackendSpec`. No `name`: one is made."""

    name: str = ""
    kind: str
    url: str
    max_concurrent: int | None = None
    models: tuple[str, ...] | None = None
    aliases: dict[str, str] = {}
    num_ctx: int | None = None
    num_ctx_of: dict[str, int] = {}
    capabilities: tuple[str, ...] | None = None
    gpu_indices: tuple[int, ...] | None = None
    is_enabled: bool = True
    priority: int = 0
    notes: str = ""
    node_id: int | None = None
    gpu_memory_gb: float | None = None
    gpu_type: str | None = None
    health_check_interval_seconds: float | None = None
    inference_timeout_seconds: float | None = None


class NewBackend(BackendFields, frozen=True, kw_only=True):
    """The one value that has the API key, on its way in."""

    api_key: str | None = None


class ManagedBackend(BackendFields, frozen=True, kw_only=True):
    id: int
    uuid: str
    has_api_key: bool
    created_utc: float
    updated_utc: float
    version: int


class BackendFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`search`: part of name, URL or notes, in any case."""

    kind: str | None = None
    is_enabled: bool | None = None
    search: str = ""


def check_aliases(field: str, value: object) -> dict[str, str]:
    return _mapping(field, value, lambda each: check_text(field, each, 512))


def check_lengths(field: str, value: object) -> dict[str, int]:
    return _mapping(field, value, lambda each: check_count(field, each))


def check_indices(field: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or len(value) > 1024:
        raise Invalid(field, "must be a list of numbers")
    return tuple(check_count(field, each, 0, 65535) for each in value)


CHECKS: dict[str, Check] = {
    "name": check_name,
    "kind": check_text,
    "url": lambda field, value: check_text(field, value, 2048),
    "max_concurrent": or_none(check_count),
    "api_key": or_none(check_secret),
    "models": or_none(check_names),
    "aliases": or_none(check_aliases),
    "num_ctx": or_none(check_count),
    "num_ctx_of": or_none(check_lengths),
    "capabilities": or_none(check_names),
    "gpu_indices": or_none(check_indices),
    "is_enabled": check_flag,
    "priority": lambda field, value: check_count(field, value, -MAX_INTEGER),
    "notes": check_text,
    "node_id": or_none(check_count),
    "gpu_memory_gb": or_none(check_number),
    "gpu_type": or_none(lambda field, value: check_text(field, value, 200)),
    "health_check_interval_seconds": or_none(lambda field, value: check_number(field, value, 0.01)),
    "inference_timeout_seconds": or_none(lambda field, value: check_number(field, value, 0.01)),
}
IN_JSON: dict[str, Any] = {
    "models": tuple[str, ...] | None,
    "aliases": dict[str, str],
    "num_ctx_of": dict[str, int],
    "capabilities": tuple[str, ...] | None,
    "gpu_indices": tuple[int, ...] | None,
}
MAPPINGS = ("aliases", "num_ctx_of")


async def create_backend(
    connection: AsyncConnection, wanted: NewBackend, box: SecretBox, now_utc: float
) -> ManagedBackend:
    """Raises Taken (name, url), Invalid."""
    given = msgspec.structs.asdict(wanted)
    if not wanted.name:
        given["name"] = _checked_together(given).name
    values = check_all(given, CHECKS)
    values["url"] = _checked_together(values).url
    await begin_change(connection)
    await _refuse_taken(connection, values)
    made = insert(backends).values(**_columns(values, box), uuid=str(uuid4()), created_utc=now_utc, updated_utc=now_utc)
    return await get_backend(connection, (await connection.execute(made.returning(backends.c.id))).scalar_one())


async def find_backend(connection: AsyncConnection, backend_id: int) -> ManagedBackend | None:
    return await _find(connection, backends.c.id == backend_id)


async def find_backend_by_name(connection: AsyncConnection, name: str) -> ManagedBackend | None:
    return await _find(connection, backends.c.name == clean(name))


async def find_backend_by_uuid(connection: AsyncConnection, uuid: str) -> ManagedBackend | None:
    return await _find(connection, backends.c.uuid == clean(uuid))


async def get_backend(connection: AsyncConnection, backend_id: int) -> ManagedBackend:
    """Raises NotFound."""
    backend = await find_backend(connection, backend_id)
    if backend is None:
        raise NotFound("backend", backend_id)
    return backend


async def api_key_of(connection: AsyncConnection, backend_id: int, box: SecretBox) -> str | None:
    """In clear, for asking the backend. Raises SecretUnreadable."""
    sealed = select(backends.c.api_key_encrypted).where(backends.c.id == backend_id)
    found = (await connection.execute(sealed)).scalar_one_or_none()
    return None if found is None else box.open(found)


async def list_backends(
    connection: AsyncConnection, wanted: BackendFilter, behind: int | None = None, limit: int = 100, skip: int = 0
) -> Page[ManagedBackend]:
    return await read_page(connection, _selection(wanted), backends.c.id, backend_of, behind, limit, skip=skip)


async def count_backends(connection: AsyncConnection, wanted: BackendFilter) -> int:
    return await count_rows(connection, _selection(wanted).with_only_columns(backends.c.id))


async def change_backend(
    connection: AsyncConnection,
    backend_id: int,
    changes: dict[str, object],
    version: int | None,
    box: SecretBox,
    now_utc: float,
) -> ManagedBackend:
    """`is_enabled` and `api_key` (None removes it) are among what can be changed.

    Raises NotFound, Changed, Taken, Invalid.
    """
    values = check_all(changes, CHECKS)
    await begin_change(connection)
    old = msgspec.structs.asdict(await get_backend(connection, backend_id))
    checked = _checked_together(old | values)
    if "url" in values:
        values["url"] = checked.url
    await _refuse_taken(connection, values, backend_id)
    key = (backends.c.id, backend_id)
    await update_row(connection, backends, "backend", key, _columns(values, box), version, now_utc)
    return await get_backend(connection, backend_id)


async def delete_backend(
    connection: AsyncConnection, backend_id: int, version: int | None, now_utc: float
) -> ManagedBackend:
    """What it was. Raises NotFound, Changed."""
    await begin_change(connection)
    await update_row(connection, backends, "backend", (backends.c.id, backend_id), {}, version, now_utc)
    backend = await get_backend(connection, backend_id)
    await connection.execute(delete(backends).where(backends.c.id == backend_id))
    return backend


def backend_of(row: AnyRow) -> ManagedBackend:
    fields = row._mapping
    plain = {name: fields[name] for name in ManagedBackend.__struct_fields__ if name in fields and name not in IN_JSON}
    lists = {name: unpacked(name, fields[name]) for name in IN_JSON}
    return ManagedBackend(**plain | lists | {"has_api_key": fields["api_key_encrypted"] is not None})


def unpacked(name: str, text: str | None) -> object:
    if text is None:
        return {} if name in MAPPINGS else None
    return msgspec.json.decode(text, type=IN_JSON[name])


def _columns(values: Mapping[str, object], box: SecretBox) -> dict[str, Any]:
    columns = {name: pack(value) if name in IN_JSON else value for name, value in values.items() if name != "api_key"}
    if "api_key" in values:
        key = values["api_key"]
        columns["api_key_encrypted"] = None if key is None else box.seal(str(key))
    return columns


def _checked_together(values: Mapping[str, Any]) -> Backend:
    """As if it stood in the configuration file. Raises Invalid."""
    lengths = values["num_ctx_of"] or values["num_ctx"]
    fields = {name: values[name] for name in ("kind", "url", "name", "max_concurrent")}
    try:
        return check_backend(Backend(**fields, num_ctx=lengths))
    except ValueError as exc:
        begins = {"unknown kind": "kind", "max_concurrent": "max_concurrent", "num_ctx": "num_ctx"}
        blamed = next((field for words, field in begins.items() if str(exc).startswith(words)), "url")
        raise Invalid(blamed, f"cannot be: {exc}") from exc


async def _find(connection: AsyncConnection, condition: ColumnElement[bool]) -> ManagedBackend | None:
    row = (await connection.execute(select(backends).where(condition))).first()
    return None if row is None else backend_of(row)


async def _refuse_taken(connection: AsyncConnection, values: Mapping[str, object], but: int | None = None) -> None:
    for field in ("name", "url"):
        if field in values:
            same = select(backends.c.id).where(backends.c[field] == values[field])
            found = (await connection.execute(same)).scalar_one_or_none()
            if found is not None and found != but:
                raise Taken(field, values[field])


def _selection(wanted: BackendFilter) -> Select[Any]:
    chosen = select(backends)
    if wanted.kind is not None:
        chosen = chosen.where(backends.c.kind == clean(wanted.kind))
    if wanted.is_enabled is not None:
        chosen = chosen.where(backends.c.is_enabled == wanted.is_enabled)
    if wanted.search:
        chosen = chosen.where(contains(wanted.search, backends.c.name, backends.c.url, backends.c.notes))
    return chosen


def _mapping(field: str, value: object, check: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > 1000:
        raise Invalid(field, "must be a mapping of at most 1000 names")
    return {check_text(field, name, 512): check(each) for name, each in value.items()}
