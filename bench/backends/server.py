"""Shell. A mock engine's front: listening socket, connections, faults before the answer.

Read next: `control.py`, the routes under /_mock/.
"""

import socket
import struct
import time
from typing import Protocol

from bench.backends.control import Control
from bench.backends.emitter import Sequence
from bench.backends.engine import Engine
from bench.backends.faults import Fault, FaultPlan, parse_fault
from bench.backends.settings import EngineSettings
from bench.backends.stats import Stats
from bench.backends.transcript import Transcript
from bench.backends.work import Reply, Work
from bench.http1 import Request, RequestReader, WireError
from bench.reactor import READ, WRITE, Reactor

RECEIVE_BYTES = 65536
_WEB_PAGE = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"


class Dialect(Protocol):
    def answer(self, request: Request, now_utc: int) -> Reply | Work: ...
    def error(self, status: int, message: str, now_utc: int, param: str | None = None, extra: bytes = b"") -> Reply: ...
    def busy(self, now_utc: int, path: bytes) -> Reply: ...


class Connection:
    """One client. `sequence` is the request under way; while it is, further (pipelined) requests wait in the reader."""

    __slots__ = (
        "_fd",
        "_is_open",
        "_outbox",
        "_reactor",
        "_reader",
        "_server",
        "_socket",
        "closes",
        "is_hung",
        "sequence",
    )

    def __init__(self, server: "MockServer", sock: socket.socket, reactor: Reactor) -> None:
        self._server = server
        self._socket = sock
        self._fd = sock.fileno()
        self._reactor = reactor
        self._reader = RequestReader()
        self._outbox = b""
        self._is_open = True
        self.sequence: Sequence | None = None
        self.is_hung = False
        self.closes = False
        reactor.register(self._fd, self.on_event)

    @property
    def is_lagging(self) -> bool:
        return bool(self._outbox)

    def on_event(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & ~WRITE and self._is_open:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # A half-close counts as leaving, for uvicorn and for Go's net/http alike.
            self.close()
            return
        self._reader.receive_data(data)
        self._next_request()

    def _next_request(self) -> None:
        while self._is_open and self.sequence is None and not self.is_hung:
            try:
                request = self._reader.next_request()
            except (WireError, ValueError):
                self.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                self.close()
                return
            if request is None:
                return
            self.closes = not request.keep_alive
            self._server.serve(request, self)
            if self.sequence is None and self.closes and not self.is_hung:
                self.close()

    def send(self, data: bytes) -> None:
        if not self._is_open:
            return
        if self._outbox:
            self._outbox += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent != len(data):
            self._outbox = data[sent:]
            self._reactor.modify(self._fd, READ | WRITE)

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._outbox)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._outbox = self._outbox[sent:]
        if not self._outbox:
            self._reactor.modify(self._fd, READ)

    def finish(self) -> None:
        """The answer under way is complete."""
        self.sequence = None
        if self.closes:
            self.close()
        elif self._is_open:
            self._next_request()

    def reset(self) -> None:
        """Close with RST instead of FIN: what is unsent is thrown away."""
        if self._is_open:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._reactor.unregister(self._fd)
        self._socket.close()
        self._server.forget(self, time.monotonic_ns())


class MockServer:
    def __init__(
        self, settings: EngineSettings, dialect: Dialect, engine: Engine, stats: Stats, reactor: Reactor
    ) -> None:
        self._settings = settings
        self._dialect = dialect
        self._engine = engine
        self._stats = stats
        self._reactor = reactor
        self.faults = FaultPlan(settings.seed)
        self._transcript = Transcript()
        self._control = Control(self, engine, stats, self.faults, self._transcript)
        self._connections: set[Connection] = set()
        self._listener: socket.socket | None = None

    def listen(self, host: str, port: int) -> int:
        """Bind and start accepting; returns the port."""
        listener = socket.create_server((host, port), backlog=4096, reuse_port=False)
        listener.setblocking(False)
        self._listener = listener
        self._reactor.register(listener.fileno(), self._accept)
        return int(listener.getsockname()[1])

    def refuse(self, seconds: float, now: int) -> bool:
        """Stop listening for so long; connections are refused, those that exist stay. False if it does not listen."""
        if self._listener is None:
            return False
        host, port = self._listener.getsockname()[:2]
        self._reactor.unregister(self._listener.fileno())
        self._listener.close()
        self._listener = None

        def listen_again(_due: int) -> int:
            self.listen(host, port)
            return 0

        self._reactor.call_at(now + int(seconds * 1e9), listen_again)
        return True

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.close()

    def _accept(self, _events: int) -> None:
        assert self._listener is not None
        for _ in range(64):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(Connection(self, sock, self._reactor))
            self._stats.connections_total += 1
            self._stats.connections_open += 1

    def forget(self, connection: Connection, now: int) -> None:
        self._connections.discard(connection)
        self._stats.connections_open -= 1
        sequence, connection.sequence = connection.sequence, None
        if sequence is not None:
            self._engine.abort(sequence, now)
        elif connection.is_hung:
            self._stats.aborted_total += 1
            self._stats.aborted.append({"id": "", "route": "", "model": "", "phase": "hung", "tokens": 0, "at_ns": now})

    def serve(self, request: Request, connection: Connection) -> None:
        now = time.monotonic_ns()
        now_utc = int(time.time())
        path = request.path
        if path.startswith(b"/_mock/"):
            connection.send(self._control.answer(request, now))
            return
        self._stats.requests[(request.method + b" " + path).decode("latin-1")] += 1
        outcome = self._dialect.answer(request, now_utc)
        fault = self._choose_fault(request, outcome)
        if fault is not None and self._strike(fault, connection, now_utc):
            self._transcript.note(request, None, 0)
            return
        if isinstance(outcome, Work):
            self._submit(request, outcome, connection, fault, now, now_utc)
        else:
            self._transcript.note(request, None, outcome.status)
            self._reply(outcome, connection)

    def _submit(
        self, request: Request, work: Work, connection: Connection, fault: Fault | None, now: int, now_utc: int
    ) -> None:
        sequence = self._engine.submit(work, connection, fault, now)
        if sequence is None:
            busy = self._dialect.busy(now_utc, work.route.encode())
            self._transcript.note(request, None, busy.status)
            self._reply(busy, connection)
            return
        self._transcript.note(request, sequence, 200)
        self._stats.statuses[200] += 1
        if sequence.is_alive:
            connection.sequence = sequence

    def _reply(self, reply: Reply, connection: Connection) -> None:
        self._stats.statuses[reply.status] += 1
        connection.send(reply.data)

    def _choose_fault(self, request: Request, outcome: Reply | Work) -> Fault | None:
        """Header, then model suffix, then the rules; only requests that ask the model for something are struck."""
        asked = request.header(b"x-mock-fault")
        if asked:
            return parse_fault(asked.decode("latin-1"))
        if isinstance(outcome, Work):
            if outcome.fault:
                return parse_fault(outcome.fault)
            return self.faults.choose() if self.faults.rules else None
        return None

    def _strike(self, fault: Fault, connection: Connection, now_utc: int) -> bool:
        """Faults that take the place of the answer; False for those that strike later."""
        self._stats.faults[fault.kind] += 1
        if fault.kind == "refuse":
            connection.reset()
        elif fault.kind == "hang":
            connection.is_hung = True
        elif fault.kind == "malformed":
            connection.send(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n")
            connection.close()
        elif fault.kind == "html":
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(_WEB_PAGE)
            self._reply(Reply(head + _WEB_PAGE), connection)
        elif fault.kind.startswith("status_"):
            status = int(fault.kind[7:])
            extra = b"Retry-After: 1\r\n" if status == 429 else b""
            self._reply(self._dialect.error(status, f"mock fault: {fault.kind}", now_utc, None, extra), connection)
        else:
            return False
        return True
