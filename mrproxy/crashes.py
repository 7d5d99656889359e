"""Shell. What the borders of a worker report: a bug, or descriptors that ran out. Never a request's content."""

from pathlib import Path
from typing import Protocol

from mrproxy.accept.client import Client
from mrproxy.counters import Counters
from mrproxy.sockets import Source
from mrproxy.upstream.bulk import Bulk
from mrproxy.upstream.pump import Relay
from mrproxy.upstream.rest import Rest
from mrproxy.upstream.shot import Shot

_MAX_REASON_CHARACTERS = 300


class CrashLog(Protocol):
    """At level error: a human must act."""

    def error(self, event: str, *, where: str, kind: str, reason: str, line: str) -> None: ...


class Crashes:
    """One worker's: counted, and said with the line that they are from."""

    def __init__(self, counters: Counters, log: CrashLog) -> None:
        self.counters = counters
        self._log = log

    def report(self, where: str, error: Exception) -> None:
        self.counters.crashes += 1
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place is not None else ""
        reason = str(error)[:_MAX_REASON_CHARACTERS]
        self._log.error("unexpected error", where=where, kind=type(error).__name__, reason=reason, line=line)

    def end_source(self, source: Source, error: Exception) -> None:
        """A bug in the code of one socket's events: it ends that one."""
        self.report(type(source).__name__, error)
        if isinstance(source, Relay | Shot | Bulk | Rest):
            source.crash()
        elif isinstance(source, Client):
            source.leave()
