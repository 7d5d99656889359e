"""Sweeps: what is deleted or too old is forgotten, whole chains of it, and a database that is away ends nothing."""

from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mrproxy.storage import forgetting
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.forgetting import SWEEP_SECONDS, Forgetting
from mrproxy.storage.responses import GRACE_SECONDS, delete_response, store_responses
from tests.fakes.log import MemoryLog
from tests.storage.test_responses import deletion, event, find, row


async def test_a_sweep_empties_what_is_deleted_and_removes_what_is_old(database: Database, monkeypatch) -> None:
    monkeypatch.setattr(forgetting, "BATCH_RESPONSES", 2)
    monkeypatch.setattr(forgetting, "PAUSE_SECONDS", 0)
    chain = [event("r0")] + [event(f"r{number}", f"r{number - 1}") for number in range(1, 6)]
    lasting = [event("a", expires_utc=1e9), event("b", "a", expires_utc=1e9), event("c", expires_utc=1e9)]
    await database.transact(store_responses, chain + lasting)
    await database.transact(delete_response, deletion("c"))
    now_utc = 60.0 + GRACE_SECONDS
    assert await Forgetting(database, lambda: now_utc, MemoryLog()).sweep() == (1, 6)
    assert await database.read(row, "r0") is None
    assert await database.read(row, "c") is None or (await database.read(row, "c"))[1] == b""
    assert await find(database, "b", now_utc=now_utc) == ["a", "b"]


class Away:
    def __init__(self) -> None:
        self.asked = 0

    async def transact(self, *args: Any) -> int:
        self.asked += 1
        if self.asked < 3:
            raise DatabaseUnavailable("nobody answers")
        return 0


async def test_a_sweep_that_fails_is_said_once_and_tried_again(autojump_clock: MockClock) -> None:
    database, log = Away(), MemoryLog()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Forgetting(database, lambda: 0.0, log).run)  # type: ignore[arg-type]
        await trio.sleep(3.5 * SWEEP_SECONDS)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert database.asked == 4
    assert len(log.events("old responses cannot be removed")) == 1
