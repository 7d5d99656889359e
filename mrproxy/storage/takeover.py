"""Shell. What goes by itself between the workers' files and the database: records, bodies, responses; and what is old.

Each task tries again by itself whatever fails, so none ends another. Read next: `ingest.py`, the first of them.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from mrproxy.clock import Clock
from mrproxy.config import Settings
from mrproxy.storage.captures import CaptureIngestion
from mrproxy.storage.database import Database
from mrproxy.storage.forgetting import Forgetting
from mrproxy.storage.ingest import Ingestion
from mrproxy.storage.outage import StorageLog
from mrproxy.storage.retention import Keep, Retention
from mrproxy.storage.spooled import SpoolIngestion
from mrproxy.storage.state import StateKeeper


class Takeover:
    """Of one data directory. `prepare` makes the tables."""

    def __init__(
        self,
        settings: Settings,
        data_dir: Path,
        database: Database,
        prepare: Callable[[], Awaitable[object]],
        clock: Clock,
        log: StorageLog,
    ) -> None:
        journal = data_dir / "journal"
        keep = Keep(
            settings.journal_keep_seconds,
            settings.records_keep_days,
            settings.bodies_keep_days,
            settings.usage_keep_days,
        )
        self.ingestion = Ingestion(journal, database, clock, log, prepare)
        self._bodies = CaptureIngestion(journal, database, log)
        self._responses = SpoolIngestion(journal, database, log)
        self._retention = Retention(journal, self.ingestion, database, keep, clock, log)
        self._forgetting = Forgetting(database, clock, log)
        self.keeper = StateKeeper(database, self._responses.wait_current, clock, settings.response_keep_seconds)

    async def run(self) -> None:
        """For ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ingestion.run, name="ingestion")
            nursery.start_soon(self._responses.run, name="stored responses")
            nursery.start_soon(self._bodies.run, name="captured bodies")
            nursery.start_soon(self._retention.run, name="retention")
            nursery.start_soon(self._forgetting.run, name="old responses")

    async def take_to_end(self) -> None:
        """What is there when nobody writes any more."""
        await self.ingestion.ingest_to_end()
        await self._responses.take_to_end()
        await self._bodies.take_to_end()
