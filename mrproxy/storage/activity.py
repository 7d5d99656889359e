"""Shell. What goes on right now, and who was there on each day: numbers for a front page.

`sum_ended` looks at records of the last LOOKED_BACK_SECONDS only: a request that ran longer is counted by its end there
no more than by its beginning. Read next: `usage_reports.py`.
"""

from typing import NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.schema import records
from mrproxy.storage.usage import usage_daily
from mrproxy.storage.usage_reports import total

LOOKED_BACK_SECONDS = 900.0


class Ended(NamedTuple):
    """Of requests that ended in a stretch of time."""

    requests: int
    tokens: int
    queue_seconds: float


async def sum_ended(connection: AsyncConnection, since_utc: float, now_utc: float) -> Ended:
    """Those that ended since then. `queue_seconds` is the mean."""
    c = records.c
    tokens = func.coalesce(c.prompt_tokens, 0) + func.coalesce(c.completion_tokens, 0)
    chosen = select(func.count(), total(tokens), func.coalesce(func.avg(c.queue_seconds), 0.0)).where(
        c.started_utc >= now_utc - LOOKED_BACK_SECONDS, c.started_utc + c.total_seconds >= since_utc
    )
    return Ended(*(await connection.execute(chosen)).one())


async def count_users_by_day(connection: AsyncConnection, since_day: str) -> list[tuple[str, int]]:
    """How many users asked on each day (UTC) from that one on; a key without a user counts as one."""
    c = usage_daily.c
    who = case((c.user == "", c.key_id), else_=c.user)
    chosen = select(c.day, func.count(who.distinct())).where(c.day >= since_day).group_by(c.day).order_by(c.day)
    return [(day, count) for day, count in await connection.execute(chosen)]
