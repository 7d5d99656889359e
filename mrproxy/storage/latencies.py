"""Shell. How long requests to some backends took, counted in buckets: what was added to the records since last time.

For metrics, which only grow: whoever adds up what comes here has counted each record once, because rows get their
numbers when they are taken over. On PostgreSQL a batch may become visible after one with higher numbers; where several
gateways fill one database, such a batch can be missed.
Read next: `mrproxy/control/llmlb/cloud.py`.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.schema import records


class Latencies(NamedTuple):
    """`bucket` is the index of the first bound that is not exceeded, or how many bounds there are."""

    backend: str
    status: int
    bucket: int
    requests: int
    seconds: float


class LatencyPage(NamedTuple):
    """`last_number` is where to go on; None as long as there are no records at all."""

    sums: list[Latencies]
    last_number: int | None


async def sum_latencies(
    connection: AsyncConnection,
    backends: Collection[str],
    bounds_seconds: Sequence[float],
    since_utc: float,
    behind_number: int | None,
) -> LatencyPage:
    """For `Database.read`. A stream's latency ends with its first byte. `behind_number` None: all since `since_utc`."""
    c = records.c
    newest = (await connection.execute(select(func.max(c.id)))).scalar_one()
    if newest is None or not backends:
        return LatencyPage([], newest)
    seconds = case((c.stream, func.coalesce(c.first_byte_seconds, c.total_seconds)), else_=c.total_seconds)
    bucket = case(*((seconds <= bound, index) for index, bound in enumerate(bounds_seconds)), else_=len(bounds_seconds))
    conditions = [c.backend.in_(backends), c.started_utc >= since_utc, c.id <= newest]
    if behind_number is not None:
        conditions.append(c.id > behind_number)
    # By its label: PostgreSQL takes two equal expressions with parameters for different ones.
    chosen = select(c.backend, c.status, bucket.label("bucket"), func.count(), func.sum(seconds))
    found = await connection.execute(chosen.where(*conditions).group_by(c.backend, c.status, "bucket"))
    return LatencyPage([Latencies(*row) for row in found], newest)
