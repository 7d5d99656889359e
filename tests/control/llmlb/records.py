"""Records for these tests, as ingestion would write them."""

from typing import Any

from sqlalchemy import insert

from mrproxy.link.capture import CapturedBodies
from mrproxy.link.records import JournalRecord
from mrproxy.storage.bodies import insert_bodies
from mrproxy.storage.bodies import row_of as body_row_of
from mrproxy.storage.rows import COLUMNS, row_of
from mrproxy.storage.schema import records
from mrproxy.storage.usage import add_sums, sums_of
from tests.control.api.conftest import NOW
from tests.control.llmlb.conftest import Desk
from tests.link.journal_examples import a_record


def made(number: int, **fields: Any) -> JournalRecord:
    """One second after the other, up to now."""
    plain = {
        "request_id": f"r-{number}",
        "started_utc": NOW - 30.0 + number,
        "backend": "gpu-a",
        "model": "m1",
        "operation": "chat",
        "status": 200,
        "code": "",
        "stream": False,
        "total_seconds": 0.5,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "client_address": "192.0.2.1",
    }
    return a_record(**plain | fields)


async def add(desk: Desk, *wanted: JournalRecord) -> None:
    """With the sums that they belong to."""

    async def write(connection: Any) -> None:
        rows = [row_of(each, 0.0) for each in wanted]
        await connection.execute(insert(records), [dict(zip(COLUMNS, row, strict=True)) for row in rows])
        await add_sums(connection, sums_of(rows))

    await desk.house.plane.store.transact(write)  # type: ignore[union-attr]


async def keep_bodies(desk: Desk, record: JournalRecord, request: str, answer: str) -> None:
    names = (record.request_id, record.started_utc, record.key_id, record.user, record.model, record.status)
    captured = CapturedBodies(*names, request, False, answer, False)
    row = body_row_of(captured)
    await desk.house.plane.store.transact(lambda connection: insert_bodies(connection, [row]))  # type: ignore[union-attr]
