"""Shell. Lists in pages, and changes that name the version they are of: what all entities share.

A page goes on behind the last row of the one before it (keyset pagination): rows that come or go meanwhile neither
shift nor repeat what is still to be seen. `skip` is there for APIs of others that count rows.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Row, Select, Table, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.people.checks import MAX_SEARCH_CHARACTERS, check_text
from mrproxy.storage.people.errors import Changed, NotFound
from mrproxy.storage.people.values import Page

T = TypeVar("T")

# What a driver returns has no better type.
AnyRow = Row[Any]
MAX_PAGE = 1_000


async def read_page(
    connection: AsyncConnection,
    selection: Select[Any],
    key: Column[Any],
    make: Callable[[AnyRow], T],
    behind: int | str | None,
    limit: int,
    *,
    skip: int = 0,
    is_newest_first: bool = False,
) -> Page[T]:
    """`limit` is brought between 1 and MAX_PAGE. One row more is read, to know whether there is another page."""
    limit = max(1, min(limit, MAX_PAGE))
    if behind is not None:
        selection = selection.where(key < behind if is_newest_first else key > behind)
    ordered = selection.order_by(key.desc() if is_newest_first else key).limit(limit + 1).offset(skip)
    found = (await connection.execute(ordered)).all()
    following = found[limit - 1]._mapping[key] if len(found) > limit else None
    return Page([make(row) for row in found[:limit]], following)


async def count_rows(connection: AsyncConnection, selection: Select[Any]) -> int:
    counted = select(func.count()).select_from(selection.order_by(None).subquery())
    return int((await connection.execute(counted)).scalar_one())


def contains(wanted: str, *columns: Column[Any]) -> ColumnElement[bool]:
    """In any case, as far as the database knows cases (SQLite: ASCII). What LIKE takes for a pattern is escaped."""
    text = check_text("search", wanted, MAX_SEARCH_CHARACTERS)
    return or_(*(column.icontains(text, autoescape=True) for column in columns))


async def update_row(
    connection: AsyncConnection,
    table: Table,
    kind: str,
    key: tuple[Column[Any], int | str],
    values: Mapping[str, object],
    version: int | None,
    now_utc: float,
) -> None:
    """In one's turn. Raises NotFound and, when the row is not at `version` any more, Changed."""
    column, wanted = key
    current = (await connection.execute(select(table.c.version).where(column == wanted))).scalar_one_or_none()
    if current is None:
        raise NotFound(kind, wanted)
    if version is not None and version != current:
        raise Changed(current)
    changed = update(table).where(column == wanted)
    await connection.execute(changed.values(**values, updated_utc=now_utc, version=current + 1))
