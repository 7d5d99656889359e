"""Shell. Looking for a text in records and in captured bodies: newest first, a bounded stretch at a time.

No index helps to find a part of a text. So a page looks at no more than the next SCANNED_RECORDS records that pass the
other filters, or SCANNED_BODIES where bodies are read too, and says where it stopped: it may be short, or empty, and
still have a following one. Whoever wants all goes on until there is none.
Letters of ASCII are alike in both cases; others are as written.
Read next: `records.py`, for the filters; `bodies.py`.
"""

import string

from sqlalchemy import ColumnElement, Subquery, collate, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.bodies import Place, read_texts
from mrproxy.storage.export import FIELDS
from mrproxy.storage.records import (
    KEYS,
    PAGE_RECORDS,
    Cursor,
    Page,
    RecordFilter,
    order,
    page_of,
    read_page,
    where,
)
from mrproxy.storage.rows import Row
from mrproxy.storage.schema import records

# About 50 ms of a database's time; a second of decompressing and looking.
SCANNED_RECORDS = 20_000
SCANNED_BODIES = 500
LOOKED_AT = ("request_id", "model", "user", "code")
# Bodies of so many records are in memory at a time.
CHUNK_RECORDS = 25
_ID, _STARTED = FIELDS.index("request_id"), FIELDS.index("started_utc")
_LOOKED_AT = [FIELDS.index(name) for name in LOOKED_AT]
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


async def search_page(
    connection: AsyncConnection,
    wanted: RecordFilter,
    text: str,
    in_bodies: bool = False,
    behind: Cursor | None = None,
    limit: int = PAGE_RECORDS,
) -> Page:
    """For `Database.read`. An empty text is in everything."""
    if not text:
        return await read_page(connection, wanted, behind, limit, True)
    if in_bodies:
        return await _search_bodies(connection, wanted, text, behind, limit)
    scanned = _stretch(wanted, behind)
    fields = [records.c[name] for name in FIELDS]
    has_text = _has(text, is_postgres=connection.dialect.name == "postgresql")
    chosen = select(records.c.id, *fields).join(scanned, records.c.id == scanned.c.id).where(has_text)
    found = (await connection.execute(chosen.order_by(*order(True)).limit(limit))).all()
    page = page_of(found, is_full=len(found) == limit)
    return page if page.following else page._replace(following=await _end_of(connection, scanned))


def _stretch(wanted: RecordFilter, behind: Cursor | None) -> Subquery:
    return select(*KEYS).where(where(wanted, behind, True)).order_by(*order(True)).limit(SCANNED_RECORDS).subquery()


def _has(text: str, *, is_postgres: bool) -> ColumnElement[bool]:
    columns = [records.c[name] for name in LOOKED_AT]
    # SQLite's lower() knows ASCII only; so does PostgreSQL's in this collation.
    lower = [func.lower(collate(column, "C") if is_postgres else column) for column in columns]
    return or_(*(column.contains(lowered(text), autoescape=True) for column in lower))


async def _end_of(connection: AsyncConnection, scanned: Subquery) -> Cursor | None:
    """Where the stretch ended; None if it was the last one."""
    if (await connection.execute(select(func.count()).select_from(scanned))).scalar_one() < SCANNED_RECORDS:
        return None
    last = select(scanned.c.started_utc, scanned.c.id).order_by(scanned.c.started_utc, scanned.c.id).limit(1)
    return Cursor(*(await connection.execute(last)).one())


async def _search_bodies(
    connection: AsyncConnection, wanted: RecordFilter, text: str, behind: Cursor | None, limit: int
) -> Page:
    rows: list[Row] = []
    ids: list[int] = []
    for _ in range(0, SCANNED_BODIES, CHUNK_RECORDS):
        chunk = await read_page(connection, wanted, behind, CHUNK_RECORDS, True)
        texts = await read_texts(connection, [place_of(row) for row in chunk.rows])
        for index, row in enumerate(chunk.rows):
            body = texts.get(place_of(row), "")
            if any(lowered(text) in lowered(each) for each in (*(str(row[at]) for at in _LOOKED_AT), body)):
                rows.append(row)
                ids.append(chunk.ids[index])
                if len(rows) == limit:
                    return Page(rows, chunk.cursor_at(index), ids)
        behind = chunk.following
        if behind is None:
            break
    return Page(rows, behind, ids)


def place_of(row: Row) -> Place:
    request_id, started_utc = row[_ID], row[_STARTED]
    assert isinstance(request_id, str)
    assert isinstance(started_utc, float)
    return Place(request_id, started_utc)


def lowered(text: str) -> str:
    return text.translate(_LOWER)
