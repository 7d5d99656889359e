"""Shell. Every administrative action, in a chain: whoever changes or removes an entry afterwards is found out.

1. An entry is appended in the transaction of what it tells: there is neither an action without entry nor the reverse.
2. Its hash covers all its fields and the hash of the entry before it; numbers are consecutive, from 1. So a change, a
   removal in the middle and an insertion each break the chain at a place that `verify` names.
3. Removing the newest entries leaves a chain that is whole. So does computing all hashes anew. Therefore the last hash
   is kept outside of the database as well (`audit-head.json`), and the log must go on from there for ever.
4. What an entry shows of before and after is what differs, without secrets, whatever the caller hands over.

Who can write to the database and to the data directory can forge everything; send the log elsewhere, too.
Read next: `facts.py`, for the turn that makes appending one at a time.
"""

import struct
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import msgspec
from sqlalchemy import Select, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.snapshot import replace_file
from mrproxy.storage.database import Database
from mrproxy.storage.facts import take_turn
from mrproxy.storage.people.checks import MAX_TEXT_CHARACTERS, clean
from mrproxy.storage.people.pages import AnyRow, contains, count_rows, read_page
from mrproxy.storage.people.values import Page
from mrproxy.storage.schema_control import audit_log

GENESIS = "0" * 64
HEAD_NAME = "audit-head.json"
VERIFY_ROWS = 1_000
# Exact names of fields that never get into an entry, at any depth.
SECRETS = frozenset(
    (
        "password",
        "password_hash",
        "new_password",
        "hash",
        "digest",
        "secret",
        "client_secret",
        "cookie",
        "code",
        "key",
        "api_key",
        "api_key_encrypted",
        "token",
        "access_token",
        "refresh_token",
        "authorization",
    )
)
# What the hash covers, in this order for good: a column that is added later has to stay outside, or come with a new
# kind of hash.
HASHED = (
    "id",
    "at_utc",
    "actor_kind",
    "actor",
    "action",
    "entity_kind",
    "entity",
    "before",
    "after",
    "address",
    "request_id",
    "detail",
)


class Acting(Protocol):
    """Who did it. `kind`: user, key, local, anonymous, system."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def request_id(self) -> str: ...


class Program(msgspec.Struct, frozen=True):
    """This program itself, as one who acts."""

    kind: str = "system"
    name: str = "mrproxy"
    address: str = ""
    request_id: str = ""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """`before` None: it was made; `after` None: it is gone. Otherwise both have the fields that differ."""

    id: int
    at_utc: float
    actor_kind: str
    actor: str
    action: str
    entity_kind: str
    entity: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str
    request_id: str
    detail: str
    hash: str


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`since_utc` is included, `until_utc` is not. `search`: part of actor, action, entity or detail, in any case."""

    actor_kind: str | None = None
    actor: str | None = None
    action: str | None = None
    entity_kind: str | None = None
    entity: str | None = None
    since_utc: float | None = None
    until_utc: float | None = None
    search: str = ""


class Head(msgspec.Struct, frozen=True):
    """The newest entry that somebody has seen."""

    id: int
    hash: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`first_bad_id` None: all `count` entries are as they were written, and `head` is the last of them."""

    count: int
    first_bad_id: int | None = None
    reason: str = ""
    head: Head | None = None


class HeadLost(Exception):
    """What was the newest entry is not there any more, or another one. The message is a sentence."""


async def append(
    connection: AsyncConnection,
    actor: Acting,
    action: str,
    entity_kind: str,
    entity: object,
    before: object,
    after: object,
    now_utc: float,
    detail: str = "",
) -> int:
    """Write one entry; its number. `before` and `after`: a mapping or a Struct, or None."""
    shown = [None if each is None else without_secrets(msgspec.to_builtins(each)) for each in (before, after)]
    if shown[0] is not None and shown[1] is not None:
        shown = differences(shown[0], shown[1])
    await take_turn(connection)
    last = await read_head_of(connection)
    row: dict[str, Any] = {
        "id": 1 if last is None else last.id + 1,
        "at_utc": float(now_utc),
        "actor_kind": clean(str(actor.kind)),
        "actor": clean(actor.name),
        "action": clean(action),
        "entity_kind": clean(entity_kind),
        "entity": clean(str(entity)),
        "before": None if shown[0] is None else msgspec.json.encode(shown[0]).decode(),
        "after": None if shown[1] is None else msgspec.json.encode(shown[1]).decode(),
        "address": clean(actor.address),
        "request_id": clean(actor.request_id),
        "detail": clean(detail, MAX_TEXT_CHARACTERS),
    }
    chained = hash_of(row, GENESIS if last is None else last.hash)
    await connection.execute(insert(audit_log).values(**row, hash=chained))
    number: int = row["id"]
    return number


async def find_entry(connection: AsyncConnection, entry_id: int) -> AuditEntry | None:
    row = (await connection.execute(select(audit_log).where(audit_log.c.id == entry_id))).first()
    return None if row is None else entry_of(row)


async def list_entries(
    connection: AsyncConnection, wanted: AuditFilter, behind: int | None = None, limit: int = 100, skip: int = 0
) -> Page[AuditEntry]:
    """The newest first."""
    return await read_page(
        connection, _selection(wanted), audit_log.c.id, entry_of, behind, limit, skip=skip, is_newest_first=True
    )


async def count_entries(connection: AsyncConnection, wanted: AuditFilter) -> int:
    return await count_rows(connection, _selection(wanted).with_only_columns(audit_log.c.id))


async def count_by(connection: AsyncConnection, column: str) -> dict[str, int]:
    """How many entries there are with each value of `actor_kind`, `action` or `entity_kind`; most first."""
    value = audit_log.c[column]
    counted = select(value, func.count()).group_by(value).order_by(func.count().desc(), value)
    return {row[0]: row[1] for row in await connection.execute(counted)}


async def verify(database: Database, head: Head | None = None) -> Verdict:
    """Read all of it, page by page, up to the first entry that is wrong. `head`: what is known of before.

    Entries that are appended meanwhile are looked at, too. Raises DatabaseError.
    """
    chain = Chain(head)
    while rows := await database.read(_read_rows, chain.last.id, VERIFY_ROWS):
        for row in rows:
            if reason := chain.receive(row):
                return Verdict(count=chain.last.id, first_bad_id=chain.last.id + 1, reason=reason)
    if reason := chain.end():
        return Verdict(count=chain.last.id, first_bad_id=chain.last.id + 1, reason=reason)
    return Verdict(count=chain.last.id, head=chain.last if chain.last.id else None)


class Chain:
    """Takes entries in the order of their numbers. `last` is the last one that was right."""

    def __init__(self, head: Head | None) -> None:
        self.last = Head(0, GENESIS)
        self._head = head

    def receive(self, row: Mapping[str, Any]) -> str:
        """What is wrong with it; empty: nothing."""
        if row["id"] != self.last.id + 1:
            return "the entry is missing"
        if row["hash"] != hash_of(row, self.last.hash):
            return "the entry, or the one before it, was changed"
        if self._head is not None and row["id"] == self._head.id and row["hash"] != self._head.hash:
            return f"another entry stood here when {HEAD_NAME} was written"
        self.last = Head(row["id"], row["hash"])
        return ""

    def end(self) -> str:
        if self._head is not None and self.last.id < self._head.id:
            return f"the log ends before entry {self._head.id}, which {HEAD_NAME} knows: its end was removed"
        return ""


def hash_of(row: Mapping[str, Any], previous: str) -> str:
    """SHA-256 over the hash before and each field in the order of HASHED, every one behind its length.

    Texts are UTF-8, numbers 8 bytes, big-endian; a field that is null has a length that nothing else has.
    """
    parts = [previous.encode("ascii", "replace")]
    for name in HASHED:
        value = row[name]
        if value is None:
            parts.append(b"\xff" * 8)
            continue
        if name == "id":
            data = struct.pack(">q", value)
        elif name == "at_utc":
            data = struct.pack(">d", value)
        else:
            data = value.encode("utf-8", "surrogatepass")
        parts += (struct.pack(">Q", len(data)), data)
    return sha256(b"".join(parts)).hexdigest()


def without_secrets(value: Any) -> Any:
    """The same without fields that have the name of a secret, and with texts that a database can hold."""
    match value:
        case dict():
            return {clean(str(name)): without_secrets(each) for name, each in value.items() if name not in SECRETS}
        case list() | tuple():
            return [without_secrets(each) for each in value]
        case str():
            return clean(value, MAX_TEXT_CHARACTERS)
        case _:
            return value


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Both, reduced to the fields in which they differ."""
    absent = object()
    changed = [name for name in before | after if before.get(name, absent) != after.get(name, absent)]
    return [{name: side[name] for name in changed if name in side} for side in (before, after)]


def entry_of(row: AnyRow) -> AuditEntry:
    fields = dict(row._mapping)
    for name in ("before", "after"):
        fields[name] = None if fields[name] is None else shown_of(fields[name])
    return AuditEntry(**fields)


def shown_of(text: str) -> dict[str, Any]:
    """What cannot be read was tampered with; it is shown as it is, and `verify` says so."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"unreadable": text}


# The head outside of the database.


async def read_head_of(connection: AsyncConnection) -> Head | None:
    """The newest entry in the table."""
    newest = select(audit_log.c.id, audit_log.c.hash).order_by(audit_log.c.id.desc()).limit(1)
    row = (await connection.execute(newest)).first()
    return None if row is None else Head(row[0], row[1])


async def follow_head(connection: AsyncConnection, known: Head | None) -> Head | None:
    """The newest entry. Raises HeadLost where the log does not go on from the one that is known."""
    if known is not None:
        there = select(audit_log.c.hash).where(audit_log.c.id == known.id)
        found = (await connection.execute(there)).scalar_one_or_none()
        if found != known.hash:
            raise HeadLost(f"entry {known.id} of the audit log is {'not there' if found is None else 'another one'}")
    return await read_head_of(connection)


def load_head(data_dir: Path) -> Head | None:
    """None where there has never been one. Raises HeadLost for a file that is damaged, and OSError."""
    try:
        return msgspec.json.decode((data_dir / HEAD_NAME).read_bytes(), type=Head)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise HeadLost(f"{HEAD_NAME} cannot be read: {exc}") from exc


def save_head(data_dir: Path, head: Head) -> None:
    """Raises OSError."""
    replace_file(data_dir / HEAD_NAME, msgspec.json.encode(head) + b"\n")


async def _read_rows(connection: AsyncConnection, behind: int, limit: int) -> list[Mapping[str, Any]]:
    # By `behind` and order, not by expected numbers: what lies before 1 is not to be overlooked either.
    chosen = select(audit_log).order_by(audit_log.c.id).limit(limit)
    if behind:
        chosen = chosen.where(audit_log.c.id > behind)
    return [dict(row) for row in (await connection.execute(chosen)).mappings()]


def _selection(wanted: AuditFilter) -> Select[Any]:
    chosen, table = select(audit_log), audit_log.c
    for column in (table.actor_kind, table.actor, table.action, table.entity_kind, table.entity):
        value = getattr(wanted, column.name)
        if value is not None:
            chosen = chosen.where(column == clean(value))
    if wanted.since_utc is not None:
        chosen = chosen.where(table.at_utc >= wanted.since_utc)
    if wanted.until_utc is not None:
        chosen = chosen.where(table.at_utc < wanted.until_utc)
    if wanted.search:
        chosen = chosen.where(contains(wanted.search, table.actor, table.action, table.entity, table.detail))
    return chosen
