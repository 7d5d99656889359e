"""Shell. The table `bodies`: what was asked and answered, of the requests whose bodies are kept.

Bodies are compressed one by one (zlib): JSON of chats becomes a fifth to a third. A request's body and its record are
found by each other: the request's id and the moment it began, for a caller may use an id again.
Read next: `captures.py`, where they come from; `retention.py`, which removes them.
"""

import base64
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.link.capture import CapturedBodies
from mrproxy.storage.bulk_insert import BulkInsert
from mrproxy.storage.database import Database
from mrproxy.storage.records import Cursor
from mrproxy.storage.rows import LAST_UTC, storable
from mrproxy.storage.schema import records, schema_control

bodies = schema_control.bodies

# Each may be some hundred KiB.
PAGE_BODIES = 20
# What a search looks at of each body.
SEARCHED_BYTES = 256 * 1024
COLUMNS = ("request_id", "started_utc", "user", "request", "request_truncated", "answer", "answer_truncated")
BodyRow = tuple[str, float, str, bytes, bool, bytes, bool]
_PLACE = (bodies.c.request_id, bodies.c.started_utc)
# zlib's default is 6: a tenth smaller than 1 for three times the time.
_LEVEL = 6


class Place(NamedTuple):
    """Which request."""

    request_id: str
    started_utc: float


@dataclass(frozen=True, slots=True)
class StoredBodies:
    """Of one request. What is said of its record is None where that has been deleted."""

    request_id: str
    started_utc: float
    user: str
    request: bytes
    request_truncated: bool
    answer: bytes
    answer_truncated: bool
    key_id: str | None = None
    model: str | None = None
    dialect: str | None = None
    operation: str | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class BodyFilter:
    """None does not matter. `since_utc` is included, `until_utc` is not."""

    since_utc: float | None = None
    until_utc: float | None = None
    user: str | None = None
    request_id: str | None = None

    def conditions(self) -> Iterable[ColumnElement[bool]]:
        if self.since_utc is not None:
            yield bodies.c.started_utc >= self.since_utc
        if self.until_utc is not None:
            yield bodies.c.started_utc < self.until_utc
        if self.user is not None:
            yield bodies.c.user == self.user
        if self.request_id is not None:
            yield bodies.c.request_id == self.request_id


class BodyPage(NamedTuple):
    """`following` is None after the last page."""

    bodies: Sequence[StoredBodies]
    following: Cursor | None


def row_of(captured: CapturedBodies) -> BodyRow:
    """In the order of COLUMNS; the same values as in the request's record."""
    return (
        str(storable(captured.request_id)),
        max(0.0, min(captured.started_utc, LAST_UTC)),
        str(storable(captured.user)),
        zlib.compress(as_bytes(captured.request, captured.request_is_base64), _LEVEL),
        captured.request_truncated,
        zlib.compress(as_bytes(captured.answer, captured.answer_is_base64), _LEVEL),
        captured.answer_truncated,
    )


def as_bytes(text: str, is_base64: bool) -> bytes:
    """What was captured, again as bytes; of base64 that is none, the text."""
    if is_base64:
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            pass
    return text.encode("utf-8", "replace")


def text_of(body: bytes) -> tuple[str, bool]:
    """The text, and whether it is base64 because the body is not UTF-8."""
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True


async def each_body_page(
    database: Database, wanted: BodyFilter, take: Callable[[Sequence[StoredBodies]], object]
) -> int:
    """Hand all that is wanted to `take`, oldest first; how many it was. No transaction is open between two pages."""
    count, behind = 0, None
    while True:
        page = await database.read(read_body_page, wanted, behind)
        take(page.bodies)
        count += len(page.bodies)
        behind = page.following
        if behind is None:
            return count


# What follows runs on the asyncio side.

insert_bodies = BulkInsert(bodies, COLUMNS).insert


async def missing_bodies(connection: AsyncConnection, rows: list[BodyRow]) -> list[BodyRow]:
    """Those that do not stand in the table."""
    chosen = select(*_PLACE).where(tuple_(*_PLACE).in_([row[:2] for row in rows]))
    there = {tuple(found) for found in await connection.execute(chosen)}
    return [row for row in rows if row[:2] not in there]


async def read_body_page(
    connection: AsyncConnection,
    wanted: BodyFilter,
    behind: Cursor | None = None,
    limit: int = PAGE_BODIES,
    is_newest_first: bool = False,
) -> BodyPage:
    """For `Database.read`."""
    keys = (bodies.c.started_utc, bodies.c.id)
    conditions = list(wanted.conditions())
    if behind is not None:
        here = tuple_(*behind)
        conditions.append(tuple_(*keys) < here if is_newest_first else tuple_(*keys) > here)
    order = [key.desc() for key in keys] if is_newest_first else list(keys)
    of_record = (records.c[name] for name in ("key_id", "model", "dialect", "operation", "status"))
    is_same = and_(records.c.request_id == bodies.c.request_id, records.c.started_utc == bodies.c.started_utc)
    chosen = select(bodies.c.id, *(bodies.c[name] for name in COLUMNS), *of_record).outerjoin(records, is_same)
    found = (await connection.execute(chosen.where(and_(True, *conditions)).order_by(*order).limit(limit))).all()
    following = Cursor(found[-1].started_utc, found[-1].id) if len(found) == limit else None
    return BodyPage([_stored(row) for row in found], following)


async def read_bodies(connection: AsyncConnection, place: Place) -> StoredBodies | None:
    """Of one request, if they were kept."""
    until_utc = place.started_utc + 1e-3
    page = await read_body_page(connection, BodyFilter(place.started_utc, until_utc, request_id=place.request_id))
    return next((found for found in page.bodies if found.started_utc == place.started_utc), None)


async def read_texts(connection: AsyncConnection, places: Sequence[Place]) -> dict[Place, str]:
    """The beginnings of both bodies of each request that has any, as one text."""
    if not places:
        return {}
    chosen = select(*_PLACE, bodies.c.request, bodies.c.answer).where(tuple_(*_PLACE).in_(places))
    found = await connection.execute(chosen)
    return {Place(row[0], row[1]): f"{_beginning(row[2])}\n{_beginning(row[3])}" for row in found}


def _beginning(compressed: bytes) -> str:
    try:
        return zlib.decompressobj().decompress(compressed, SEARCHED_BYTES).decode("utf-8", "replace")
    except zlib.error:
        return ""


def _stored(row: Any) -> StoredBodies:
    return StoredBodies(
        row.request_id,
        row.started_utc,
        row.user,
        _decompressed(row.request),
        row.request_truncated,
        _decompressed(row.answer),
        row.answer_truncated,
        row.key_id,
        row.model,
        row.dialect,
        row.operation,
        row.status,
    )


def _decompressed(compressed: bytes) -> bytes:
    """Nothing of what somebody damaged."""
    try:
        return zlib.decompress(compressed)
    except zlib.error:
        return b""
