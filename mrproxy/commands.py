"""Shell. The worker's own Unix socket: what it counts, who waits, and commands to it (drain a backend, reload).

Same connections and parser as the front door, on a socket that only the owner of the data directory can open; so no
key is asked. JSON in and out. Asked by the control plane, by `mrproxy backend` and `mrproxy top`.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import msgspec
import trio

from mrproxy.accept.client import Client
from mrproxy.accept.door import Door
from mrproxy.accept.heads import Head
from mrproxy.answers import JSON, encode_answer
from mrproxy.errors import ClientError
from mrproxy.ledger.sharing import SharedLedger
from mrproxy.link.shares import Parcel
from mrproxy.stages import Stages

Reload = Callable[[], Awaitable[str]]


class Commands:
    """Serves one worker's socket. `reload` answers with the reason why not, or an empty text."""

    def __init__(self, stages: Stages, door: Door, generation: Callable[[], int], reload: Reload) -> None:
        self._stages = stages
        self._door = door
        self._generation = generation
        self._reload = reload

    async def serve_connection(self, client: Client) -> None:
        """Requests on one connection. Raises Departed."""
        while True:
            try:
                head = await client.next_head()
                if head is None:
                    return
                body = await client.read_body(head)
            except ClientError as error:
                await client.send_all(_answer(error.status, {"error": error.message}, keep_alive=False))
                return
            client.begin()
            status, value = await self._run(client, head, body)
            keep_alive = head.http.keep_alive and not client.is_draining
            await client.send_all(_answer(status, value, keep_alive=keep_alive))
            client.end()
            if not keep_alive:
                return

    async def _run(self, client: Client, head: Head, body: bytes) -> tuple[int, object]:
        match head.http.method, head.http.path.split(b"/")[1:]:
            case b"GET", [b"counters"]:
                return 200, self.counters()
            case b"GET", [b"status"]:
                return 200, {"worker": self._stages.worker, "generation": self._generation(), "serving": True}
            case b"GET", [b"queue"]:
                return 200, {"flows": self._stages.scheduler.statistics()}
            case b"POST", [b"reload"]:
                await client.fiber.become_task()
                reason = await self._reload()
                return (400, {"error": reason}) if reason else (200, {"generation": self._generation()})
            case b"POST", [b"shares"]:
                return self._share(body)
            case b"DELETE", [b"responses", owner, name]:
                return self._forget(unquote(owner.decode("latin-1")), unquote(name.decode("latin-1")))
            case b"POST", [b"backends", name, (b"drain" | b"undrain") as verb]:
                return self._drain(unquote(name.decode("latin-1")), is_draining=verb == b"drain")
            case b"POST", [b"backends", name, b"probe"]:
                return self._probe(unquote(name.decode("latin-1")))
        return 404, {"error": "unknown command"}

    def _share(self, body: bytes) -> tuple[int, object]:
        """What other workers took; answered with what this one took (mrproxy/control/sharing.py)."""
        ledger = self._stages.ledger
        if not isinstance(ledger, SharedLedger):
            return 404, {"error": "this worker is the only one"}
        try:
            parcel = msgspec.json.decode(body, type=Parcel)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            return 400, {"error": str(exc)}
        return 200, ledger.exchange(parcel, self._stages.poller.clock())

    def _forget(self, owner: str, name: str) -> tuple[int, object]:
        """A response that its caller has deleted through another worker."""
        return 200, {"forgotten": self._stages.responses.delete(owner, name, trio.current_time())}

    def _drain(self, name: str, *, is_draining: bool) -> tuple[int, object]:
        backend = self._stages.registry.backends.get(name)
        if backend is None:
            return 404, {"error": f"no backend named {name}"}
        backend.is_draining = is_draining
        backend.changed()
        return 200, backend.statistics(trio.current_time())

    def _probe(self, name: str) -> tuple[int, object]:
        """Now, rather than at the next interval; what comes of it is seen in the counters."""
        backend = self._stages.registry.backends.get(name)
        if backend is None:
            return 404, {"error": f"no backend named {name}"}
        backend.probe_soon()
        return 200, {"probing": name}

    def counters(self) -> dict[str, object]:
        """Everything this worker counts; mrproxy/control/reports.py reads it."""
        stages, now = self._stages, trio.current_time()
        counters, journal = stages.counters, stages.journal
        backends = stages.registry.backends.values()
        captures = stages.captures
        spool = stages.archive.spool if stages.archive is not None else None
        return {
            "worker": stages.worker,
            "requests": [[*key, count] for key, count in counters.requests.items()],
            "histograms": counters.histograms(),
            "counters": counters.totals()
            | {
                "journal_records_total": journal.records,
                "journal_bytes_total": journal.written_bytes,
                "journal_lost_total": journal.lost_records,
            }
            | ({} if captures is None else {"captures_total": captures.written, "captures_lost_total": captures.lost})
            | ({} if spool is None else {"spooled_total": spool.written, "spooled_lost_total": spool.lost}),
            "refused": counters.refused,
            "limit_shadow": counters.limit_shadow,
            "usage_states": counters.usage_states,
            "gauges": {
                "in_flight": sum(backend.in_flight for backend in backends),
                "waiting": stages.scheduler.waiting_total,
                "connections": len(self._door.clients),
                "open_relays": sum(len(backend.pump.relays) for backend in backends),
                "event_loop_lag_seconds": counters.event_loop_lag_seconds,
                "event_loop_lag_worst_seconds": counters.event_loop_lag_worst_seconds,
            },
            "backends": [backend.statistics(now) for backend in backends],
            "snapshot": {"generation": self._generation(), "loaded": True},
        }


def _answer(status: int, value: object, *, keep_alive: bool) -> bytes:
    lines = b"" if keep_alive else b"connection: close\r\n"
    return encode_answer(status, JSON, msgspec.json.encode(value), lines)
