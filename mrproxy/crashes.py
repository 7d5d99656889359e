"""Shell. What the borders of a worker report: a bug, or descriptors that ran out. Never a request's content."""

from typing import Protocol

from mrproxy.accept.client import Client
from mrproxy.counters import Counters
from mrproxy.sockets import Source
from mrproxy.telemetry.unexpected import describe
from mrproxy.upstream.bulk import Bulk
from mrproxy.upstream.pump import Relay
from mrproxy.upstream.rest import Rest
from mrproxy.upstream.shot import Shot


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
        kind, reason, line, _ = describe(error)
        self._log.error("unexpected error", where=where, kind=kind, reason=reason, line=line)

    def end_source(self, source: Source, error: Exception) -> None:
        """A bug in the code of one socket's events: it ends that one."""
        self.report(type(source).__name__, error)
        if isinstance(source, Relay | Shot | Bulk | Rest):
            source.crash()
        elif isinstance(source, Client):
            source.leave()
