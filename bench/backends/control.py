"""Shell. How a test or a benchmark talks with a mock engine beside its dialect.

GET  /_mock/stats     counters, open connections, models in memory, and who left early (monotonic stamps)
GET  /_mock/sent      per finished answer: tokens (0 if not streamed), payload bytes, CRC-32 without the usage event
GET  /_mock/requests  the last requests (?last=20, ?id=the x-request-id): path, headers, body, true token counts
POST /_mock/faults    {"kind", "probability", "count", "after_tokens"} or a list of them: the new rules; {} clears them
POST /_mock/reset     counters to zero, requests forgotten
POST /_mock/refuse    {"seconds"}: stop listening for so long; connections are refused, those that exist stay
"""

from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from bench.backends.engine import Engine
from bench.backends.faults import FaultPlan, parse_rule
from bench.backends.stats import Stats
from bench.backends.transcript import Transcript
from bench.http1 import Request

DEFAULT_LAST = 20


class Listener(Protocol):
    """The server, as far as it can be told something."""

    def refuse(self, seconds: float, now: int) -> bool: ...


class Control:
    def __init__(
        self, listener: Listener, engine: Engine, stats: Stats, faults: FaultPlan, transcript: Transcript
    ) -> None:
        self._listener = listener
        self._engine = engine
        self._stats = stats
        self._faults = faults
        self._transcript = transcript

    def answer(self, request: Request, now: int) -> bytes:
        url = urlsplit(request.path.decode("latin-1"))
        match url.path.removeprefix("/_mock/"):
            case "stats":
                return _reply(200, self._summarize(now))
            case "sent":
                return _reply(200, self._stats.sent)
            case "requests":
                return self._show_requests(parse_qs(url.query))
            case "reset":
                return self._reset()
            case "faults":
                return self._set_faults(request.body)
            case "refuse":
                return self._refuse(request.body, now)
        return _reply(404, {"error": "no such control route"})

    def _summarize(self, now: int) -> dict[str, Any]:
        summary = self._stats.summary(self._engine.running, self._engine.waiting, now)
        summary["models"] = {
            lane.model: {
                "is_loaded": lane.is_loaded,
                "num_ctx": lane.num_ctx,
                "loads": lane.loads,
                "context_reloads": lane.context_reloads,
            }
            for lane in self._engine.residency.lanes.values()
        }
        return summary

    def _show_requests(self, query: dict[str, list[str]]) -> bytes:
        last = query.get("last", [str(DEFAULT_LAST)])[0]
        if not last.isdigit():
            return _reply(400, {"error": "last must be a number"})
        return _reply(200, self._transcript.last(int(last), query.get("id", [""])[0].lower()))

    def _reset(self) -> bytes:
        open_connections = self._stats.connections_open
        self._stats.reset()
        self._stats.connections_open = open_connections
        self._transcript.reset()
        for lane in self._engine.residency.lanes.values():
            lane.loads = lane.context_reloads = 0
        return _reply(200, {})

    def _refuse(self, body: bytes, now: int) -> bytes:
        seconds = float(msgspec.json.decode(body or b"{}").get("seconds", 1.0))
        if not self._listener.refuse(seconds, now):
            return _reply(409, {"error": "not listening"})
        return _reply(200, {"seconds": seconds})

    def _set_faults(self, body: bytes) -> bytes:
        try:
            value = msgspec.json.decode(body or b"{}")
            wanted = value if isinstance(value, list) else [value] if value else []
            self._faults.rules = [parse_rule(rule) for rule in wanted]
        except (ValueError, AttributeError) as exc:
            return _reply(400, {"error": str(exc)})
        return _reply(200, {"rules": len(self._faults.rules)})


def _reply(status: int, value: Any) -> bytes:
    body = msgspec.json.encode(value)
    return b"HTTP/1.1 %d Mock\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )
