"""Shell. Sums of usage by day, and what requests cost: written with the records that they are of.

Theory of operation:
1. A batch is added up in memory first, by day, user, key, group, model and backend; then each sum is one row to add to.
   That happens in the transaction that inserts the records and moves the positions: so each counts once, too.
2. Rows are added to in the order of their keys. Two gateways on one PostgreSQL lock them in the same order, and neither
   waits for the other in a circle.
3. Prices are read in the same transaction: what a request cost is what was asked for its model when it was taken over.
   Later prices change nothing.
4. An error is a status from 400 on, or any code. A day is a day in UTC.

Read next: `usage_reports.py`, which asks for the sums.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import bindparam, or_, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.rows import COLUMNS, COST, Row
from mrproxy.storage.schema import schema_control

usage_daily, models = schema_control.usage_daily, schema_control.models

# What a price is for, and what costs are counted in: a million tokens, a millionth of the currency.
PRICE_TOKENS = 1_000_000
# A thousand million of the currency for one request: beyond is a mistake that must not carry a sum over its edge.
MOST_COST = 10**15
_MOST_SECONDS = 1e9
_DAY_SECONDS = 86_400
_LAST_DAY = date.max.toordinal() - date(1970, 1, 1).toordinal()

NAMES = ("user", "key_id", "group", "model", "backend")
KEYS = ("day", *NAMES)
SUMS = ("requests", "errors", "prompt_tokens", "completion_tokens", "charged_tokens", "cost", "total_seconds")
# A sum's whole row, in the order of KEYS and SUMS.
SumRow = tuple[str | int | float, ...]

_names_of = itemgetter(*(COLUMNS.index(name) for name in NAMES))
_values_of = itemgetter(
    *(
        COLUMNS.index(name)
        for name in ("started_utc", "status", "code", "prompt_tokens", "completion_tokens", "charged_tokens", "cost")
    ),
    COLUMNS.index("total_seconds"),
)
_MODEL, _PROMPT, _COMPLETION = (COLUMNS.index(name) for name in ("model", "prompt_tokens", "completion_tokens"))


class Price(NamedTuple):
    """Of a million tokens, in millionths of the currency; None is free if the other is not None."""

    prompt: int | None
    completion: int | None


def cost_of(price: Price, prompt_tokens: int | None, completion_tokens: int | None) -> int:
    """In millionths of the currency, rounded once per request, half up."""
    exact = (prompt_tokens or 0) * (price.prompt or 0) + (completion_tokens or 0) * (price.completion or 0)
    return max(0, min((exact + PRICE_TOKENS // 2) // PRICE_TOKENS, MOST_COST))


def priced(rows: list[Row], prices: Mapping[str, Price]) -> list[Row]:
    """The rows with their costs; null where the model has no price."""
    if not prices:
        return rows
    found = []
    for row in rows:
        price = prices.get(row[_MODEL])  # type: ignore[arg-type]
        if price is not None:
            cost = cost_of(price, row[_PROMPT], row[_COMPLETION])  # type: ignore[arg-type]
            row = (*row[:COST], cost, *row[COST + 1 :])
        found.append(row)
    return found


def sums_of(rows: Sequence[Row]) -> list[SumRow]:
    """Sorted by their keys."""
    sums: dict[tuple[str, ...], list[int | float]] = {}
    for row in rows:
        started_utc, status, code, prompt, completion, charged, cost, seconds = _values_of(row)
        key = (day_of(started_utc // _DAY_SECONDS), *_names_of(row))
        entry = sums.get(key)
        if entry is None:
            entry = sums[key] = [0, 0, 0, 0, 0, 0, 0.0]
        prompt, completion = prompt or 0, completion or 0
        entry[0] += 1
        entry[1] += bool(status >= 400 or code)
        entry[2] += prompt
        entry[3] += completion
        entry[4] += prompt + completion if charged is None else charged
        entry[5] += cost or 0
        entry[6] += max(0.0, min(seconds, _MOST_SECONDS))
    return sorted((*key, *entry) for key, entry in sums.items())


@lru_cache(maxsize=64)
def day_of(days: float) -> str:
    """`YYYY-MM-DD`, so many whole days after 1970 began; what no calendar has becomes its first or last day."""
    return date.fromordinal(date(1970, 1, 1).toordinal() + int(max(0, min(days, _LAST_DAY)))).isoformat()


_COLUMNS = (*KEYS, *SUMS)
_added = sqlite.insert(usage_daily).values({name: bindparam(name) for name in _COLUMNS})
ADD_SQLITE = str(
    _added.on_conflict_do_update(
        index_elements=KEYS, set_={name: usage_daily.c[name] + _added.excluded[name] for name in SUMS}
    ).compile(dialect=sqlite.dialect(paramstyle="qmark"))
)
_TYPES = ("text",) * len(KEYS) + ("bigint",) * (len(SUMS) - 1) + ("double precision",)
_ARRAYS = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_TYPES, 1))
# One statement for all: `unnest` makes rows of arrays, which asyncpg sends in binary. (`user` and `group` are quoted.)
ADD_POSTGRES = (
    'INSERT INTO usage_daily AS u ("{}") SELECT * FROM unnest({}) ON CONFLICT ("{}") DO UPDATE SET {}'.format(
        '", "'.join(_COLUMNS),
        _ARRAYS,
        '", "'.join(KEYS),
        ", ".join(f"{name} = u.{name} + excluded.{name}" for name in SUMS),
    )
)


# What follows runs on the asyncio side, in the transaction of a batch.


async def load_prices(connection: AsyncConnection) -> dict[str, Price]:
    """Of the models that have one."""
    c = models.c
    has_price = or_(c.prompt_price.is_not(None), c.completion_price.is_not(None))
    found = await connection.execute(select(c.name, c.prompt_price, c.completion_price).where(has_price))
    return {name: Price(prompt, completion) for name, prompt, completion in found}


async def add_sums(connection: AsyncConnection, sums: list[SumRow]) -> None:
    """Each to what its row has already."""
    if connection.dialect.name == "postgresql":
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.execute(ADD_POSTGRES, *zip(*sums, strict=True))
    else:
        await connection.exec_driver_sql(ADD_SQLITE, sums)
