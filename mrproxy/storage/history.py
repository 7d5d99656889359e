"""Shell. Records for those who count pages: a part of a model's name, an address, good or bad; so many to be skipped.

Skipping costs what is skipped, so nobody skips more than is counted (`outcomes.COUNTED_RECORDS`); whoever wants all
goes on behind the last row instead (`records.py`).
Read next: `outcomes.py`, for counting.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.export import FIELDS
from mrproxy.storage.outcomes import COUNTED_RECORDS
from mrproxy.storage.records import RecordFilter, order, where
from mrproxy.storage.rows import Row
from mrproxy.storage.schema import records

_c = records.c
_GOOD = and_(_c.status < 400, _c.code == "")


@dataclass(frozen=True, slots=True)
class HistoryFilter(RecordFilter):
    """`model_part` is somewhere in the model's name, in any case as far as the database knows cases."""

    model_part: str | None = None
    client_address: str | None = None
    is_success: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found = RecordFilter.conditions(self)
        if self.model_part is not None:
            found.append(_c.model.icontains(self.model_part, autoescape=True))
        if self.client_address is not None:
            found.append(_c.client_address == self.client_address)
        if self.is_success is not None:
            found.append(_GOOD if self.is_success else not_(_GOOD))
        return found


async def read_numbered_page(connection: AsyncConnection, wanted: RecordFilter, skip: int, limit: int) -> list[Row]:
    """For `Database.read`: newest first, with FIELDS. Beyond COUNTED_RECORDS there is nothing."""
    if skip >= COUNTED_RECORDS:
        return []
    chosen = select(*(_c[name] for name in FIELDS)).where(where(wanted, None, True))
    found = await connection.execute(chosen.order_by(*order(True)).limit(limit).offset(skip))
    return [tuple(row) for row in found]
