"""One of each task, on one directory; each has tests of its own."""

from pathlib import Path

import pytest
import trio

from mrproxy.config import Settings
from mrproxy.link.journal import Writer
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.migrate import count_rows, migrate
from mrproxy.storage.takeover import Takeover
from mrproxy.storage.urls import locate
from tests.fakes.log import MemoryLog
from tests.link.journal_examples import a_record


@pytest.mark.slow
async def test_what_workers_wrote_is_in_the_database_while_it_runs_and_after(tmp_path: Path, nursery: trio.Nursery):
    (tmp_path / "journal").mkdir()
    log = MemoryLog()
    async with open_bridge() as bridge, open_database(locate("", tmp_path), bridge) as database:

        async def prepare() -> None:
            await migrate(database)

        takeover = Takeover(Settings(), tmp_path, database, prepare, lambda: 5.0, log)
        writer = Writer(tmp_path / "journal", "w1", 1 << 20)
        writer.append(a_record())
        async with trio.open_nursery() as running:
            running.start_soon(takeover.run)
            while takeover.ingestion.statistics(0.0).records < 1:
                await trio.lowlevel.checkpoint()
            running.cancel_scope.cancel()
        writer.append(a_record(request_id="last"))
        writer.close()
        await takeover.take_to_end()
        assert (await count_rows(database))["records"] == 2
    assert [line for line in log.lines if line[0] == "error"] == []
