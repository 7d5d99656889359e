"""Shell. What is wrong with the database at the moment: said once when it begins, once when it is over.

Tried again after 1 s, 2 s, … 30 s. FAILURES is everything after which trying again can help.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError

from mrproxy.storage.failures import DatabaseCorrupt, DatabaseError, DatabaseFull

Value = str | int | float | bool | None

# A batch takes 0.1 to 0.4 s; a database that needs so long for one is as good as gone, and is asked again.
ANSWER_SECONDS = 30.0
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0

# Beside what is known of databases: a statement that one of them refuses would be a bug of ours, but work that waits
# loses nothing, and a control process that ends over and over would take its pages with it.
FAILURES = (DatabaseError, SQLAlchemyError, PostgresError, InterfaceError, OSError, trio.TooSlowError)


class StorageLog(Protocol):
    def info(self, event: str, **fields: Value) -> None: ...
    def error(self, event: str, **fields: Value) -> None: ...


class Outage:
    """The trouble of one task. `failing` and `again` are the log's words for its begin and its end."""

    def __init__(self, log: StorageLog, failing: str, again: str = "") -> None:
        self.problem = ""
        self.delay_seconds = 0.0
        self._log = log
        self._failing = failing
        self._again = again

    def fail(self, exc: BaseException) -> None:
        if self.problem != kind_of(exc):
            self._log.error(self._failing, problem=kind_of(exc), reason=reason_of(exc))
        self.problem = kind_of(exc)
        self.delay_seconds = min(2 * self.delay_seconds or FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)

    def succeed(self) -> None:
        if self.problem and self._again:
            self._log.info(self._again, after=self.problem)
        self.problem, self.delay_seconds = "", 0.0


async def sweep_for_ever(sweep: Callable[[], Awaitable[object]], outage: Outage, every_seconds: float) -> None:
    """What fails is tried again at the next sweep, and said once."""
    while True:
        await trio.sleep(every_seconds)
        try:
            await sweep()
        except FAILURES as exc:
            outage.fail(exc)
        else:
            outage.succeed()


def kind_of(exc: BaseException) -> str:
    """One word that may be shown to strangers; the reason names users and hosts, and is for the log."""
    match exc:
        case DatabaseFull():
            return "full"
        case DatabaseCorrupt():
            return "corrupt"
        case DatabaseError() | trio.TooSlowError():
            return "unavailable"
        case _:
            return "failing"


def reason_of(exc: BaseException) -> str:
    """One line. What a statement's parameters were stands in the lines below, and is nobody's business."""
    if isinstance(exc, trio.TooSlowError):
        return f"no answer within {ANSWER_SECONDS:g} s"
    return (str(exc).splitlines() or [""])[0]
