"""Shell. What libraries say through `logging`, as lines of our own log: one each, no traceback, no secret.

Without this, Quart's and Hypercorn's tracebacks would go to the standard error as they are: many lines between lines of
JSON, written whether the pipe takes them or not, with whatever the values in them quote.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mrproxy.telemetry.unexpected import describe


class LibraryLog(Protocol):
    def warning(self, event: str, **fields: str) -> None: ...
    def error(self, event: str, **fields: str) -> None: ...


class Handler(logging.Handler):
    """From level warning on; an exception is an `unexpected error`, with the way to it."""

    def __init__(self, log: LibraryLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            kind, reason, line, way = describe(error)
            said = record.getMessage()
            self._log.error(
                "unexpected error", where=record.name, said=said, kind=kind, reason=reason, line=line, way=way
            )
            return
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say("said by a library", where=record.name, said=record.getMessage())


@contextmanager
def heard(log: LibraryLog) -> Iterator[None]:
    """While in it, what any library of this process says goes to `log`."""
    handler = Handler(log)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
