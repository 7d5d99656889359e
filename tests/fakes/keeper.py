"""The control plane's part of what is stored, in the test's own loop: its socket, and a database behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from mrproxy.clock import utc_now
from mrproxy.control.server import serve_control
from mrproxy.link.state import Answer, Question, Unavailable
from mrproxy.storage.spooled import SpoolIngestion
from mrproxy.storage.state import StateKeeper
from mrproxy.storage.urls import locate
from tests.fakes.log import MemoryLog
from tests.storage.tables import opened_with_tables

KEEP_SECONDS = 1000.0


@dataclass
class Keeper:
    """`questions` is what workers asked; `is_away`: the database does not answer."""

    real: StateKeeper
    questions: list[Question] = field(default_factory=list)
    is_away: bool = False

    async def answer(self, question: Question) -> Answer:
        self.questions.append(question)
        return Unavailable() if self.is_away else await self.real.answer(question)


@dataclass(frozen=True)
class FewSettings:
    drain_seconds: float = 1.0
    access_log: bool = False


@asynccontextmanager
async def run_keeper(directory: Path) -> AsyncIterator[Keeper]:
    """For the gateway whose data is in `directory`. What the body raises comes out as it is."""
    for name in ("run", "journal"):
        (directory / name).mkdir(exist_ok=True)
    failure: Exception | None = None
    async with opened_with_tables(locate("", directory)) as database, trio.open_nursery() as nursery:
        spooled = SpoolIngestion(directory / "journal", database, MemoryLog())
        keeper = Keeper(StateKeeper(database, spooled.wait_current, utc_now, KEEP_SECONDS))
        nursery.start_soon(spooled.run)
        await nursery.start(serve, directory, keeper)
        try:
            yield keeper
        except Exception as exc:
            failure = exc
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def serve(directory: Path, keeper: Keeper, *, task_status: trio.TaskStatus[None]) -> None:
    await serve_control(
        FewSettings(),
        directory,
        drain=trio.Event(),
        log=MemoryLog(),
        state=keeper.answer,
        exit_hard=lambda status: None,
        task_status=task_status,
    )
